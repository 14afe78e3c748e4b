"""The verdict as pictures: candidates against the baseline, and where each moves loss, domain by domain."""

from __future__ import annotations

import math
from collections.abc import Sequence

from doremi.report import plots
from doremi.report.facts import Facts
from doremi.report.figures import Figure, percent_tick
from doremi.report.tables import Cell, Table, shown
from doremi.report.words import ABSENT, factor, percent, signed_percent
from doremi.statistics.choice import OTHER
from doremi.statistics.table import TARGETS, Target
from doremi.statistics.values import CandidateDomains, Comparison, DomainDifference, Ends
from doremi.verdict.headline import no_noise, relative_ends
from doremi.verdict.values import Verdict

Pairs = dict[tuple[str, str, Target], Comparison]
_LIFT = 0.16  # of a row, that two marks stand above and below its middle


def forest_figure(facts: Facts) -> Figure | None:
    """Every candidate against the baseline on both averages. None before the verdict, and with nobody to compare."""
    verdict = facts.verdict
    if verdict is None or not verdict.comparisons:
        return None
    target, pairs = verdict.recommendation.target, _pairs(verdict)
    names = list(dict.fromkeys(one.candidate for one in verdict.comparisons if one.opponent == verdict.baseline))
    held = {which: [pairs.get((name, verdict.baseline, which)) for name in names] for which in TARGETS}
    marks = [_marks(held[target], "s0", True, _LIFT), _marks(held[OTHER[target]], "ink", False, -_LIFT)]
    title = f"Each mixture against {verdict.baseline}"
    caption = (
        f"Change of the bits per byte, where fewer are better. Lines are {verdict.sure} intervals over seeds and "
        "validation documents. For each mixture, all of one average hold at once."
    )
    if all(one.interval is None for one in verdict.comparisons):
        caption = (
            f"Change of the bits per byte, where fewer are better. There are no intervals, as {no_noise(verdict)}."
        )
    legend = [("s0", "dot", f"{target} average, which decides"), ("ink", "hollow", f"{OTHER[target]} average")]
    legend += [("line", "zone", f"within {percent(verdict.margin, 1)}")] if verdict.margin else []
    return Figure(
        "forest",
        title,
        caption,
        svg=plots.forest("forest", title, names, marks, percent_tick, margin=verdict.margin),
        legend=legend,
        table=_comparisons(verdict, pairs),
    )


def _pairs(verdict: Verdict) -> Pairs:
    return {(one.candidate, one.opponent, one.target): one for one in verdict.comparisons}


def _marks(held: Sequence[Comparison | None], tone: str, filled: bool, lift: float) -> plots.Ranges:
    ends = [relative_ends(one) if one else None for one in held]
    return plots.Ranges(
        [one.relative if one else math.nan for one in held],
        *([end[side] if end else math.nan for end in ends] for side in (0, 1)),
        tone=tone,
        filled=filled,
        lift=lift,
    )


def _comparisons(verdict: Verdict, pairs: Pairs) -> Table:
    """All pairs, those that the picture has no room for too; the average that decides first."""
    target = verdict.recommendation.target
    both = (target, OTHER[target])
    columns = [("Comparison", "text")]
    for which in both:
        columns += [
            (f"Change, {which} average", "number"), (f"{verdict.sure} interval, {which} average", "text"),
            (f"Outcome, {which} average", "text"),
        ]  # fmt: skip
    rows = [
        [
            Cell(f"{one} against {other}", small=_shown_only(pairs.get((one, other, target)))),
            *(cell for which in both for cell in _cells(pairs.get((one, other, which)), no_noise(verdict))),
        ]
        for one, other in dict.fromkeys((one, other) for one, other, _ in pairs)
    ]
    caption = f"Below zero, the first of the two is better. Nothing is claimed by the {OTHER[target]} average."
    return Table("comparisons", caption, columns, rows)


def _shown_only(one: Comparison | None) -> str:
    return "" if one is None or one.family == "primary" else "shown only, nothing is claimed"


def _cells(one: Comparison | None, why: str) -> list[Cell]:
    if one is None:
        return [Cell(ABSENT)] * 3
    ends = _to(relative_ends(one), why)
    return [Cell(signed_percent(one.relative)), Cell(ends), Cell(one.outcome, outcome=one.outcome)]


def _to(ends: Ends | None, why: str) -> str:
    """An interval in words, or why there is none."""
    return f"{signed_percent(ends[0])} to {signed_percent(ends[1])}" if ends else why


# -- domain by domain --------------------------------------------------------------------------------------------------


def profile_figures(facts: Facts) -> list[Figure]:
    """Of the recommended mixture and of what was found, each domain against the mean change over domains."""
    verdict = facts.verdict
    if verdict is None or len(facts.domains) < 2:  # one domain has nowhere to move loss to
        return []
    wanted = [verdict.recommendation.mixture, *facts.found]
    changes = {one.candidate: one for one in verdict.domain_changes}
    return [
        _profile(facts, verdict, changes[name], n) for n, name in enumerate(dict.fromkeys(wanted)) if name in changes
    ]


def _profile(facts: Facts, verdict: Verdict, one: CandidateDomains, n: int) -> Figure:
    held = {row.domain: row for row in one.domains}
    rows = [held[facts.domains[i]] for i in shown(facts) if facts.domains[i] in held]
    nan = (math.nan, math.nan)
    ends = [row.profile_interval or nan for row in rows]
    marks = plots.Ranges([row.profile for row in rows], [low for low, _ in ends], [high for _, high in ends], "s0")
    key, title = f"profile-{n}", f"Where {one.candidate} moves loss, against {verdict.baseline}"
    names, ratios = [row.domain for row in rows], [_ratio(row) for row in rows]
    svg = plots.forest(key, title, names, [marks], percent_tick, beside=ratios)
    return Figure(key, title, one.words, svg=svg, table=_profile_table(key, verdict, rows))


def _ratio(row: DomainDifference) -> str:
    return "new" if row.weight_ratio is None else factor(row.weight_ratio)


def _profile_table(key: str, verdict: Verdict, rows: Sequence[DomainDifference]) -> Table:
    why = "noise is as large as the loss" if verdict.noise else no_noise(verdict)
    columns = [
        ("Domain", "text"), (f"Weight / {verdict.baseline}", "number"), ("Change", "number"),
        ("Interval of the change", "text"),
        ("Less the mean change", "number"), ("Interval less the mean", "text"),
    ]  # fmt: skip
    cells = [
        [
            Cell(row.domain), Cell(_ratio(row)), Cell(signed_percent(row.level)), Cell(_to(row.level_interval, why)),
            Cell(signed_percent(row.profile)), Cell(_to(row.profile_interval, why)),
        ]
        for row in rows
    ]  # fmt: skip
    return Table(f"{key}-table", "Of the bits per byte. Below zero is better.", columns, cells)
