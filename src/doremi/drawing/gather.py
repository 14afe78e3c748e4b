"""Stretches of mapped files written one behind the other, without an object of Python's for each.

The system takes a table of addresses and sizes (`writev`), and copies from where the files are mapped. Python's own
`writev` makes the table out of a memory view for each stretch, which costs more than copying a short document. Shapes:
R stretches.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from doremi.drawing.order import I64
from doremi.errors import DamageError

_AT_ONCE = 1024  # stretches: the least that systems set as their limit (IOV_MAX) today


def write_stretches(descriptor: int, files: Sequence[memoryview], file: I64, start: I64, size: I64) -> None:
    """Write `size` bytes from byte `start` of each stretch's file, `[R]` each.

    `OSError` as the system says it, `DamageError` where a file ends before, also one that was cut off since it was
    mapped.
    """
    if (start + size > np.array([len(one) for one in files])[file]).any():
        raise DamageError("a token file is shorter than it was; run the same command again to see which one")
    addresses = np.array([np.frombuffer(one, "u1").ctypes.data for one in files], np.int64)
    table = np.stack([addresses[file] + start, size], 1)  # rows as C has them
    first = 0
    while first < len(table):
        some = table[first : first + _AT_ONCE]
        written = _written(descriptor, some)
        whole = int(np.searchsorted(np.cumsum(some[:, 1]), written, side="right"))
        first += whole
        if whole < len(some):  # the system may take less than it is given
            done = written - int(some[:whole, 1].sum())
            some[whole] += done, -done


def _written(descriptor: int, table: Any) -> int:
    """How many bytes of the stretches in the table the system has taken."""
    written: int = _writev()(descriptor, table.ctypes.data, len(table))
    if written >= 0:
        return written
    if (number := ctypes.get_errno()) == errno.EINTR:  # a signal; its handler has been called
        return 0
    if number == errno.EFAULT:
        raise DamageError("a token file was cut off meanwhile; run the same command again to see which one")
    raise OSError(number, os.strerror(number))


@cache
def _writev() -> Any:
    """The system's own; each look for it takes longer than copying some documents."""
    writev = ctypes.CDLL(None, use_errno=True).writev
    writev.restype, writev.argtypes = ctypes.c_ssize_t, (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    return writev
