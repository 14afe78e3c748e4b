"""Freed memory that is kept: a fresh process counts how often the system has to clear a page for it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from doremi.training.memory import keep_freed_memory
if {keep}:
    keep_freed_memory()
size, faults = 64 << 20, []
for _ in range(4):
    bytearray(size)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[3] - faults[1], size // resource.getpagesize())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no switch for it")
@pytest.mark.parametrize("keep", [True, False])
def test_a_block_is_cleared_once_where_it_is_kept(keep: bool) -> None:
    words = [sys.executable, "-c", PROGRAM.format(keep=keep)]
    faults, pages = map(int, subprocess.run(words, check=True, capture_output=True, text=True).stdout.split())
    if keep:
        assert faults < pages / 100
    else:
        assert faults > pages  # two blocks, each of them anew
