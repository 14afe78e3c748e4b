"""docs/results/card.md from the figures that calls have left: what was measured, in tables that name the card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from card.notes import figures_in

Figure = dict[str, object]
RATE = {
    "tokens_per_second": ("tokens/s each", "{:,.0f}"), "milliseconds": ("ms a step", "{:.2f}"),
    "host_milliseconds": ("host, ms", "{:.2f}"), "device_milliseconds": ("device, ms", "{:.2f}"),
    "idle_share": ("card idle", "{:.0%}"), "kernels": ("kernels", "{:.0f}"), "launches": ("launches", "{:.0f}"),
    "peak_gib": ("peak, GiB", "{:.1f}"), "warm_up_seconds": ("warm-up, s", "{:.0f}"),
}  # fmt: skip
STEPS = {
    "1": "Small models", "2": "The same numbers", "3": "The 120M shape", "4": "Main models thirty times as large",
}  # fmt: skip


def rows_of(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def rates(figures: Sequence[Figure]) -> str:
    """A row a case: its rate, and where its time goes."""
    header = ["case", "card", "tokens/s in all", *(title for title, _ in RATE.values())]
    rows = []
    for one in figures:
        cells = [form.format(one[key]) if key in one else "" for key, (_, form) in RATE.items()]
        rows.append([str(one["case"]), str(one["card"]), number(one["value"]), *cells])
    return rows_of(header, rows)


def plain(figures: Sequence[Figure]) -> str:
    """A row a figure, with all that was noted beside it."""
    known = {"figure", "value", "unit", "step", "card"}
    rows = []
    for one in figures:
        more = [f"{key.replace('_', ' ')} {number(one[key])}" for key in one if key not in known and one[key] != ""]
        words = [str(one["figure"]).replace("_", " "), str(one["card"]), number(one["value"]), str(one["unit"])]
        rows.append([*words, ", ".join(more)])
    return rows_of(["what", "card", "value", "unit", "beside"], rows)


def pivot(figures: Sequence[Figure], row: str, column: Callable[[Figure], str], digits: int) -> str:
    """Mean values, a row for each value of one field, a column for each of another."""
    columns = list(dict.fromkeys(map(column, figures)))
    lines = []
    for name in dict.fromkeys(one[row] for one in figures):
        cells = [[one["value"] for one in figures if one[row] == name and column(one) == c] for c in columns]
        lines.append([str(name), *(mean(values, digits) for values in cells)])
    return rows_of([row, *columns], lines)


def mean(values: Sequence[object], digits: int) -> str:
    known = [value for value in values if isinstance(value, int | float)]
    return f"{sum(known) / len(known):.{digits}f}" if known else ""


def study(figures: Sequence[Figure]) -> list[str]:
    """Mixtures, and bits a byte: the mean over domains by seed, and by domain the mean over seeds."""
    cards = ", ".join(dict.fromkeys(str(one["card"]) for one in figures))
    named = {
        name: [one for one in figures if one["figure"] == name] for name in dict.fromkeys(f["figure"] for f in figures)
    }
    parts = []
    for name, title, row, column, digits in (
        ("study_weight", "Mixtures, shares of tokens", "domain", lambda f: str(f["mixture"]), 3),
        ("study_mean_bits_per_byte", "Bits a byte, mean over domains", "seed", lambda f: str(f["mixture"]), 4),
        ("study_bits_per_byte", "Bits a byte, mean over seeds", "domain", lambda f: str(f["mixture"]), 4),
    ):  # fmt: skip
        if name in named:
            parts += [f"{title} ({cards}):", pivot(named[name], row, column, digits)]
    rest = [one for one in figures if not str(one["figure"]).startswith("study_")]
    return [*parts, *([plain(rest)] if rest else [])]


def table(folder: Path) -> str:
    """All that lies below a folder, step by step."""
    figures = figures_in(folder)
    parts = []
    for step, title in STEPS.items():
        mine = [one for one in figures if one["step"] == step]
        if not mine:
            continue
        parts.append(f"## {title}")
        if step == "4":
            parts += study(mine)
        else:
            cases = [one for one in mine if one["figure"] == "card_rate"]
            others = [one for one in mine if one["figure"] != "card_rate"]
            parts += [*([rates(cases)] if cases else []), *([plain(others)] if others else [])]
        if step == "4":
            texts = [path.read_text(encoding="utf-8").rstrip() for path in sorted(folder.rglob("study.txt"))]
            parts += [f"What `doremi run` ended with:\n\n```\n{text}\n```" for text in texts]
    return "\n\n".join(parts) or f"{folder}: no figures"
