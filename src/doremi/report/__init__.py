"""The report: one self-contained HTML page made from a run directory alone.

    run directory -> facts.py (what there is) -> page.py, notes.py, stages.py (words)  -> page.html, style.css
                                                 tables.py, judgement.py, made.py (tables)
                                                 figures.py, walks.py, curves.py (pictures) -> plots.py -> svg.py

Needs neither torch nor a network, runs no script, and makes the same page from the same files.
"""

from __future__ import annotations

from pathlib import Path

from doremi.files import write_bytes
from doremi.rundir.layout import RunDirectory


def write_report(run: RunDirectory) -> Path:
    """Write `report.html` into the run directory, atomically, and return its path.

    An unfinished run gives a page of what there is, which says in words what is missing. Raises `RunError` where
    there is no run directory and `DamageError` where a file of the run cannot be read.
    """
    from doremi.report.page import render

    path = run.root / "report.html"
    write_bytes(path, render(run).encode("utf-8"))
    return path
