"""Shared by all tests: offline, two threads, and the place of the corpus that exists only here and in CI."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# under `nohup`, as some CI machines start us, signals are ignored, and what is ignored at the start stays so
for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it leaves in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

# what is kept for a later command is kept in a folder of these tests alone
CACHES = tempfile.TemporaryDirectory(prefix="doremi-caches-")
os.environ["XDG_CACHE_HOME"] = CACHES.name

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """Nothing waits for the disk: no test of this process cuts the power, and a tiny run syncs some 200 times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def shared_corpus() -> Path:
    """The twelve-domain corpus beside the checkout; the test is skipped where it is missing."""
    folder = SHARED / "corpus"
    if not folder.is_dir():
        pytest.skip("the shared corpus is not on this machine")
    return folder
