"""The verdict as plain text for a terminal: fixed width, ASCII, at most `WIDTH` columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 110
_NAME = 20
_HEADINGS = ("mixture", "rank", "mean (uniform)", "mean (natural)", "worst domain", "better", "steps to baseline")


def format_table(verdict: Mapping[str, Any]) -> str:
    """The table of candidates, a line for each comparison on the recommendation's target, the recommendation."""
    chosen = verdict["recommendation"]
    lines = [
        f"Bits per byte on the {verdict['split']} documents. Size {verdict['size']}, {verdict['tokens']} tokens each, "
        f"seeds {', '.join(map(str, verdict['seeds']))}",
        "",
        *_grid([_HEADINGS, *[_row(candidate, verdict) for candidate in verdict["candidates"]]]),
        "",
        f"Differences on the {chosen['target']} average, where fewer bits are better. "
        f"{verdict['confidence']:.0%} intervals, corrected for multiple comparisons within each group. "
        f"A tie is within {verdict['margin']:.2%}.",
        *_grid(_comparisons(verdict, chosen["target"])),
        *_worst(verdict, chosen["mixture"]),
        *_method([c["name"] for c in verdict["candidates"] if c.get("interval_of") == "method"]),
        *_sizes(verdict),
        *_equal_compute(verdict.get("equal_compute"), chosen["target"]),
        *_downstream(verdict.get("downstream")),
        "",
        f"{_lead(chosen)} {chosen['mixture']}. {chosen['reason']}",
        *_tied(chosen["tied_with"]),
        *_limited([c["name"] for c in verdict["candidates"] if c.get("limited")]),
    ]
    return "\n".join(folded for line in lines for folded in _fold(line)) + "\n"


def _row(candidate: Mapping[str, Any], verdict: Mapping[str, Any]) -> tuple[str, ...]:
    mean, worst, steps = candidate["mean"], candidate["worst"], candidate["steps_to_baseline"]
    better = candidate["domains_better_than_reference"]
    return (
        _short(candidate["name"]),
        str(candidate["rank"][verdict["recommendation"]["target"]]),
        f"{mean['uniform']['bits_per_byte']:.4f}",
        f"{mean['natural']['bits_per_byte']:.4f}",
        f"{worst['bits_per_byte']:.4f} {_short(worst['domain'])}",
        "-" if better is None else f"{better} of {len(verdict['domains'])}",
        f"{steps['step']:.0f} of {steps['of']} ({steps['speedup']:.2f}x)" if steps["reached"] else "not reached",
    )


def _comparisons(verdict: Mapping[str, Any], target: str) -> list[tuple[str, ...]]:
    bits = {candidate["name"]: candidate["mean"][target]["bits_per_byte"] for candidate in verdict["candidates"]}
    return [_comparison(one, bits[one["opponent"]]) for one in verdict["comparisons"] if one["target"] == target]


def _comparison(one: Mapping[str, Any], opponent: float) -> tuple[str, ...]:
    bounds = [bound / opponent for bound in one["interval"] or ()]
    return (
        f"{_short(one['candidate'])} vs {_short(one['opponent'])}",
        one["outcome"],
        f"{one['relative']:+.2%}",
        f"[{bounds[0]:+.2%}, {bounds[1]:+.2%}]" if bounds else "no interval",
    )


def _worst(verdict: Mapping[str, Any], name: str) -> list[str]:
    """Pairs of the recommended mixture: whose worst domain is worse, and where the first of a pair loses most."""
    rows = [_worst_row(one) for one in verdict["worst_comparisons"] if name in (one["candidate"], one["opponent"])]
    return ["Worst domains, bits per byte:", *_grid(rows)] if rows else []


def _worst_row(one: Mapping[str, Any]) -> tuple[str, ...]:
    loss, regret, name = one["loss"], one["regret"], _short(one["candidate"])
    most = f"{regret['difference']:+.4f} {_ends(regret['interval'])}"
    return (
        f"{name} vs {_short(one['opponent'])}",
        loss["outcome"],
        f"{loss['difference']:+.4f} {_ends(loss['interval'])}",
        f"{name} loses most on {_short(regret['domain'])}: {most}",
    )


def _ends(interval: Sequence[float] | None) -> str:
    return f"[{interval[0]:+.4f}, {interval[1]:+.4f}]" if interval else "no interval"


def _lead(chosen: Mapping[str, Any]) -> str:
    return "Undecided. Until then use" if chosen["outcome"] == "undecided" else "Use"


def _limited(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    named = ", ".join(_short(name) for name in names)
    return [f"Limits changed {named}. Each is now the nearest allowed mixture."]


def _method(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [f"{names[0]} has a search for each seed. Its intervals are of the method, and doremi's of one mixture."]


def _sizes(verdict: Mapping[str, Any]) -> list[str]:
    """Best to worst at each size, and whether that order holds."""
    sizes = verdict.get("sizes")
    if sizes is None:
        return []
    order = [" < ".join(map(_short, one["order"])) for one in sizes]
    lines = [f"At {one['size']} ({one['parameters']:,} parameters): {o}" for one, o in zip(sizes, order, strict=True)]
    holds = {True: "The ranking holds", False: "The ranking changes", None: "It is not known whether the ranking holds"}
    return ["", *lines, f"{holds[verdict['ranking']['holds']]}: {verdict['ranking']['reason']}"]


def _equal_compute(compute: Mapping[str, Any] | None, target: str) -> list[str]:
    """DoReMi against plain mixtures that trained on for what the search cost."""
    if compute is None:
        return []
    steps = {c["name"]: c["steps"] for c in compute["candidates"]}
    bits = {c["name"]: c["mean"][target] for c in compute["candidates"]}
    held = [c for c in compute["comparisons"] if c["target"] == target]
    rows = [(*_comparison(one, bits[one["opponent"]]), f"{steps[one['opponent']]} steps") for one in held]
    return ["", "At equal total compute (plain mixtures trained longer, for what the search cost)", *_grid(rows)]


def _downstream(tasks: Mapping[str, Any] | None) -> list[str]:
    """A grid for each metric: candidates down, tasks across; then the differences of the means."""
    if tasks is None:
        return []
    lines = ["", f"Downstream, {tasks['shots']} shot, mean over seeds"]
    for metric, found in tasks["metrics"].items():
        columns = ["mean", *found["tasks"]]
        better = "higher" if found["higher_is_better"] else "lower"
        rows = [[_short(name), *(f"{values[c]:.4f}" for c in columns)] for name, values in found["values"].items()]
        lines += ["", *_grid([[f"{metric.replace('_', ' ')}, {better} is better", *columns], *rows])]
        lines += _grid(
            [_task_difference(one) for one in found["comparisons"] if one["task"] == "mean"] or [["all at 0"]]
        )
    return lines


def _task_difference(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{_short(one['candidate'])} vs {_short(one['opponent'])}",
        one["outcome"],
        f"{one['difference']:+.4f}",
        _ends(one["interval"]),
    )


def _tied(names: Sequence[str]) -> list[str]:
    return [f"No significant difference from it: {', '.join(_short(name) for name in names)}."] if names else []


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    rows = [[_ascii(cell) for cell in row] for row in rows]
    if not rows:
        return ["(nothing to compare)"]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _fold(line: str) -> list[str]:
    return textwrap.wrap(_ascii(line), WIDTH) if len(line) > WIDTH else [_ascii(line)]


def _short(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 2] + ".."


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
