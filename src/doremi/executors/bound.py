"""Loaded first by the server that workers are forked from: it is killed when its command ends, however that ends.

By itself it would first load everything, and keep open what the command prints to. Workers do not inherit this. They
end at their next step, when they have saved.
"""

from __future__ import annotations

import ctypes
import signal

PR_SET_PDEATHSIG = 1  # of Linux; elsewhere the server ends a few seconds later

if hasattr(library := ctypes.CDLL(None), "prctl"):
    library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
