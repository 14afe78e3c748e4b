"""Mixtures that were imported into a run from the files of other programs, by the names that the user gave them."""

from __future__ import annotations

from pathlib import Path

from doremi.rundir.layout import RunDirectory


def imported_place(run: RunDirectory, name: str) -> Path:
    """Where a mixture lies under a name of the user's."""
    return run.root / "mixtures" / "imported" / f"{name}.json"


def imported_mixtures(run: RunDirectory) -> dict[str, Path]:
    """All of them, by their names."""
    return {path.stem: path for path in sorted(imported_place(run, "any").parent.glob("*.json"))}
