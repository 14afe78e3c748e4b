"""What a run ends with on the terminal: its mixtures, the verdict, and where the page is."""

from __future__ import annotations

import shutil
import sys

from doremi.cli.status import mixture_tables
from doremi.config import RunConfig
from doremi.rundir.layout import RunDirectory
from doremi.verdict import Verdict, format_table, price
from doremi.verdict.table import WIDTH

NARROWEST = 40  # columns in which sentences can still be read


def result_text(config: RunConfig, verdict: Verdict, *words: str) -> str:
    """All of it; `words` say how it came about."""
    page = f"report: {(config.root / 'report.html').resolve()}"
    return "\n".join([mixture_tables(RunDirectory(config.root)), verdict_text(config, verdict), *words, page])


def verdict_text(config: RunConfig, verdict: Verdict) -> str:
    """The verdict as a table, with the times that this run's trainings have taken."""
    directory = RunDirectory(config.root)
    return format_table(verdict, price(directory, directory.nodes(), str(config.root)), _width())


def _width() -> int:
    """Columns of the terminal that reads it. A file or another program has as many as we like."""
    return max(NARROWEST, shutil.get_terminal_size().columns - 1) if sys.stdout.isatty() else WIDTH
