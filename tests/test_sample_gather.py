"""Stretches of mapped files, written one behind the other by the system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doremi.corpus.store import mapped
from doremi.drawing import gather
from doremi.drawing.gather import write_stretches
from doremi.errors import DamageError

PAGE = os.sysconf("SC_PAGESIZE")


def files_in(folder: Path) -> list[memoryview]:
    rng = np.random.default_rng(0)
    for number in range(3):
        (folder / f"{number}.bin").write_bytes(rng.bytes(3000 + number))
    return [mapped(folder / f"{number}.bin") for number in range(3)]


@pytest.mark.parametrize("most", [None, 1, 700])
def test_stretches_of_any_size_in_any_order(most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the system takes at most so many bytes at a time, as it may, and less than a stretch."""
    files, rng, many = files_in(tmp_path), np.random.default_rng(1), 200 if most else 2500
    start, file = rng.integers(0, 2000, many), rng.integers(0, 3, many)
    size = np.where(rng.random(many) < 0.1, 0, rng.integers(1, 90, many))
    descriptor = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    if most is not None:
        write = gather._written

        def some(descriptor: int, table: Any) -> int:
            part = table[: max(1, int(np.searchsorted(np.cumsum(table[:, 1]), most)))].copy()
            part[-1, 1] = min(int(part[-1, 1]), most)
            return write(descriptor, part)

        monkeypatch.setattr(gather, "_written", some)
    write_stretches(descriptor, files, file, start, size)
    os.close(descriptor)
    rows = zip(file.tolist(), start.tolist(), size.tolist(), strict=True)
    assert (tmp_path / "out").read_bytes() == b"".join(
        files[one][first : first + length] for one, first, length in rows
    )


def test_a_file_that_is_cut_off_and_a_disk_that_is_full(tmp_path: Path) -> None:
    """An error, where a memory map alone would end the process."""
    (tmp_path / "long.bin").write_bytes(bytes(4 * PAGE))
    files, one = [mapped(tmp_path / "long.bin")], np.array([1])
    os.truncate(tmp_path / "long.bin", PAGE)
    descriptor = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(DamageError, match="a token file was cut off meanwhile"):
        write_stretches(descriptor, files, 0 * one, 2 * PAGE * one, PAGE * one)
    with pytest.raises(DamageError, match="a token file is shorter than it was"):
        write_stretches(descriptor, files, 0 * one, 3 * PAGE * one, (PAGE + 1) * one)
    os.close(descriptor)
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left"):
        write_stretches(full, files, 0 * one, 0 * one, 10 * one)
    os.close(full)
