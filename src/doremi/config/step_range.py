"""A range of steps as people write it."""

from __future__ import annotations


def first_and_last(steps: str) -> tuple[int, int]:
    """`5:8` as numbers, both included and counted from 1; `ValueError` for anything else."""
    first, _, last = steps.partition(":")
    found = (int(first), int(last)) if first.isdecimal() and last.isdecimal() else (0, 0)
    if not 1 <= found[0] <= found[1]:
        raise ValueError(f"{steps!r} is no range of steps: write 5:8 for the fifth to the eighth")
    return found
