"""What a command prints when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from doremi.config import RunConfig
    from doremi.corpus.value import Corpus
    from doremi.verdict import Verdict


def corpus_table(corpus: Corpus) -> str:
    """One row a domain."""
    lines = [f"{'domain':<24} {'documents':>10} {'bytes':>14} {'tokens':>14} {'validation tokens':>18}"]
    for name, entry in corpus.entries.items():
        part = entry.train
        lines.append(
            f"{name:<24} {part.documents:>10,} {part.bytes:>14,} {part.tokens:>14,} {entry.validation.tokens:>18,}"
        )
    return "\n".join([*lines, f"corpus: {corpus.folder}"])


def result(config: RunConfig, verdict: Verdict, *words: str) -> str:
    """Found mixtures, the verdict, `words` of how it came about, and where the report is."""
    from doremi.cli.status import mixture_tables
    from doremi.rundir.layout import RunDirectory
    from doremi.verdict import format_table

    report = f"report: {(config.root / 'report.html').resolve()}"
    return "\n".join([mixture_tables(RunDirectory(config.root)), format_table(verdict), *words, report])
