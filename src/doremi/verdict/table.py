"""The verdict as plain text for a terminal: fixed width, ASCII, at most `WIDTH` columns."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence

from doremi.statistics.table import Target
from doremi.statistics.values import Claim, Comparison
from doremi.verdict.headline import exploratory, headline, lent, no_noise, noise
from doremi.verdict.held_out import too_few
from doremi.verdict.price import Price
from doremi.verdict.values import (
    CandidateResult,
    Downstream,
    EqualCompute,
    Interval,
    StepsToBaseline,
    TaskComparison,
    Verdict,
)

WIDTH = 110
_NAME = 20
_GAP = "  "  # between the cells of a row, and nowhere else
_HEADINGS = (
    "mixture",
    "rank",
    "mean (uniform)",
    "mean (natural)",
    "worst domain",
    "domains better",
    "steps to baseline",
)
_CLAIMED = ("primary", "average", "compute")  # families of whose rows nothing more need be said


def format_table(verdict: Verdict, price: Price, width: int = WIDTH) -> str:
    """The candidates, all differences on the recommendation's target, claims, regret, domains, the recommendation.

    `width`: columns of the terminal, which sentences are folded to. Rows of tables keep theirs.
    """
    target = verdict.recommendation.target
    lines = [
        f"Bits per byte on the validation documents. Size {verdict.size}, {verdict.tokens} tokens each, "
        f"seeds {', '.join(map(str, verdict.seeds))}",
        "",
        *_grid([_HEADINGS, *[_row(candidate, verdict) for candidate in verdict.candidates]]),
        "",
        *exploratory(verdict),
        f"Differences on the {target} average, where fewer bits are better. {_intervals(verdict)} "
        f"A tie is within {verdict.margin:.2%}.",
        *_grid(_comparisons(verdict)),
        *_same(verdict),
        *(verdict.race.words() if verdict.race else ()),
        *lent(verdict),
        *filter(None, [too_few(verdict)]),
        *_claims(verdict),
        *_choices(verdict),
        "",
        *_domains(verdict),
        *_per_seed([one.name for one in verdict.candidates if one.interval_of == "method"]),
        *_sizes(verdict),
        *_equal_compute(verdict.equal_compute, target),
        *_downstream(verdict.downstream),
        "",
        *headline(verdict, price),
        verdict.recommendation.reason,
        *filter(None, [noise(verdict, price)]),
        *_limited([one.name for one in verdict.candidates if one.limited]),
    ]
    return "\n".join(folded for line in lines for folded in _fold(line, width)) + "\n"


def _intervals(verdict: Verdict) -> str:
    if all(one.interval is None for one in verdict.comparisons):
        return f"There are no intervals, as {no_noise(verdict)}."
    shown = any(one.family not in _CLAIMED for one in verdict.comparisons)
    secondary = " Nothing is claimed of rows that are shown only." if shown else ""
    return f"{verdict.sure} intervals that hold at once for each mixture.{secondary}"


def _row(candidate: CandidateResult, verdict: Verdict) -> tuple[str, ...]:
    worst, better = candidate.worst, f"{candidate.domains_better_than_reference} of {len(verdict.domains)}"
    itself = candidate.name == verdict.baseline
    return (
        _short(candidate.name),
        str(getattr(candidate.rank, verdict.recommendation.target)),
        f"{candidate.mean['uniform'].bits_per_byte:.4f}",
        f"{candidate.mean['natural'].bits_per_byte:.4f}",
        f"{worst.bits_per_byte:.4f} {_short(worst.domain)}",
        "-" if itself else better,
        "-" if itself else _steps(candidate.steps_to_baseline),
    )


def _steps(steps: StepsToBaseline) -> str:
    if steps.step is None:
        return "not reached"
    ends = (steps.earliest, steps.latest)
    between = " to ".join("?" if end is None else f"{end:.0f}" for end in ends)
    return f"{steps.step:.0f} of {steps.of}" + (f" ({between})" if ends != (None, None) else "")


def _comparisons(verdict: Verdict) -> list[tuple[str, ...]]:
    target = verdict.recommendation.target
    bits = {one.name: one.mean[target].bits_per_byte for one in verdict.candidates}
    return [_comparison(one, bits[one.opponent]) for one in verdict.comparisons if one.target == target]


def _comparison(one: Comparison, opponent: float) -> tuple[str, ...]:
    bounds = [bound / opponent for bound in one.interval or ()]
    return (
        f"{_short(one.candidate)} vs {_short(one.opponent)}",
        one.outcome,
        f"{one.relative:+.2%}",
        f"[{bounds[0]:+.2%}, {bounds[1]:+.2%}]" if bounds else "no interval",
        "" if one.family in _CLAIMED else "shown only",
    )


def _claims(verdict: Verdict) -> list[str]:
    """What is proved, what was tested in vain, and what was not tested."""
    rows = [_claim(one) for one in verdict.told_claims()]
    at = " at this look" if verdict.looks == "planned" else ""
    title = f"Claims, each only after the one before it. One-sided, {verdict.sure} for all together{at}."
    if verdict.race is not None:
        title += " They cover the finalists of the race only."
    return ["", title, *_grid(rows)] if rows else []


def _claim(one: Claim) -> tuple[str, ...]:
    over = _short(one.over[0]) if len(one.over) == 1 else f"each of {', '.join(map(_short, one.over))}"
    if not one.tested:
        return (f"{_short(one.candidate)} is better than {over}", "not tested", "")
    least = "" if one.at_least is None else f"by at least {one.at_least:.2%}" if one.held else f"p = {one.p_value:.3f}"
    return (f"{_short(one.candidate)} is better than {over}", "proved" if one.held else "not proved", least)


def _choices(verdict: Verdict) -> list[str]:
    """What choosing each candidate costs."""
    rows = [
        (_short(one.candidate), f"{one.expected:.2%} expected", f"at most {one.at_most:.2%}")
        for one in verdict.choices[verdict.recommendation.target]
        if one.expected is not None and one.at_most is not None
    ]
    title = f"Regret: how much worse than the best candidate. All limits hold at once ({verdict.sure})."
    return ["", title, *_grid(rows)] if rows else []


def _domains(verdict: Verdict) -> list[str]:
    return [one.words for one in verdict.domain_changes]


def _same(verdict: Verdict) -> list[str]:
    return [f"{name} has the trainings of {other}, so they are one candidate." for name, other in verdict.same]


def _signed(difference: float | None) -> str:
    return "-" if difference is None else f"{difference:+.4f}"


def _ends(interval: Interval) -> str:
    return f"[{interval[0]:+.4f}, {interval[1]:+.4f}]" if interval else "no interval"


def _limited(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    named = ", ".join(_short(name) for name in names)
    return [f"Limits changed {named}. Each is now the nearest allowed mixture."]


def _per_seed(names: Sequence[str]) -> list[str]:
    return [
        f"{name} has a search for each seed. Its intervals are of the method, and the others of one mixture."
        for name in names
    ]


def _sizes(verdict: Verdict) -> list[str]:
    """Best to worst at each size, and whether that order holds."""
    if verdict.sizes is None or verdict.ranking is None:
        return []
    lines = [
        f"At {one.size} ({one.parameters:,} parameters): {' < '.join(map(_short, one.order))}" for one in verdict.sizes
    ]
    holds = {True: "The ranking holds", False: "The ranking changes", None: "It is not known whether the ranking holds"}
    return ["", *lines, f"{holds[verdict.ranking.holds]}: {verdict.ranking.reason}"]


def _equal_compute(compute: EqualCompute | None, target: Target) -> list[str]:
    """Found mixtures against plain mixtures that trained on for what the search cost."""
    if compute is None:
        return []
    rows = [
        (*_comparison(one, opponent.mean[target]), f"{opponent.steps} steps")
        for one, opponent in compute.pairs()
        if one.target == target
    ]
    return ["", "At equal total compute (plain mixtures trained longer, for what the search cost)", *_grid(rows)]


def _downstream(tasks: Downstream | None) -> list[str]:
    """A grid for each metric: candidates down, tasks across; then the differences of the means."""
    if tasks is None:
        return []
    lines = ["", f"Downstream, {tasks.shots} shot, mean over seeds"]
    for name, metric in tasks.metrics.items():
        columns = ["mean", *metric.tasks]
        better = "higher" if metric.higher_is_better else "lower"
        rows = [[_short(mixture), *_values(values, columns)] for mixture, values in metric.values.items()]
        lines += ["", *_grid([[f"{name.replace('_', ' ')}, {better} is better", *columns], *rows])]
        lines += _grid([_task_difference(one) for one in metric.comparisons if one.task == "mean"] or [["all at 0"]])
    return lines


def _values(values: Mapping[str, float | None], columns: Sequence[str]) -> list[str]:
    held = [values[column] for column in columns]
    return ["-" if value is None else f"{value:.4f}" for value in held]


def _task_difference(one: TaskComparison) -> tuple[str, ...]:
    return (
        f"{_short(one.candidate)} vs {_short(one.opponent)}",
        one.outcome,
        _signed(one.difference),
        _ends(one.interval),
    )


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    rows = [[_ascii(cell) for cell in row] for row in rows]
    if not rows:
        return ["(nothing to compare)"]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _fold(line: str, width: int) -> list[str]:
    """Lines of at most `width` columns. A command in backquotes stays whole, so that it can be copied, if it fits."""
    room = WIDTH if _GAP in line else min(width, WIDTH)
    if len(line) <= room:
        return [_ascii(line)]
    kept = re.sub(r"`[^`]*`", lambda command: command[0].replace(" ", "\0"), _ascii(line))
    return [part.replace("\0", " ") for part in textwrap.wrap(kept, room, break_on_hyphens=False)]


def _short(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 2] + ".."


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
