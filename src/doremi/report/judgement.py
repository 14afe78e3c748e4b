"""The verdict as tables: candidates side by side, and each against its opponents with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from doremi.report.facts import Facts
from doremi.report.tables import Cell, Span, Table, lowest
from doremi.report.words import (
    ABSENT,
    NBSP,
    count,
    fixed,
    listed,
    number,
    numbers,
    passes,
    percent,
    signed,
    signed_percent,
)
from doremi.statistics.table import Target
from doremi.statistics.values import Claim, Comparison
from doremi.verdict.values import CandidateResult, Interval, StepsToBaseline, Verdict


def candidate_table(facts: Facts) -> Table | None:
    """One row a candidate: means, worst, regret, domains better than the reference, steps to baseline."""
    verdict = facts.verdict
    if verdict is None:
        return None
    levels = [_levels(one) for one in verdict.candidates]
    best = [lowest(column) for column in zip(*levels, strict=True)]
    rows = [_candidate(facts, verdict, one, best) for one in verdict.candidates]
    titles = (
        "Rank: uniform, natural, worst", "Mean, uniform", "Mean, natural", "Worst domain",
        f"Largest regret against {facts.baseline_name}",
        "Domains better than reference", f"Steps to the final loss of {facts.baseline_name}",
        "Most epochs, in training",
    )  # fmt: skip
    caption = "Candidates in bits per byte, lower is better. The best of each column is boxed."
    return Table("candidates", caption, [("Mixture", "text"), *((t, "number") for t in titles)], rows)


def _levels(one: CandidateResult) -> list[float]:
    """Both means and the worst domain."""
    return [one.mean["uniform"].bits_per_byte, one.mean["natural"].bits_per_byte, one.worst.bits_per_byte]


def _candidate(facts: Facts, verdict: Verdict, one: CandidateResult, best: Sequence[float]) -> list[Cell]:
    """`best` are the lowest of the candidates' two means and worst domains."""
    base = one.name == facts.baseline_name
    epochs = [x for x in one.epochs if math.isfinite(x)]
    at = _levels(one)
    return [
        Cell(one.name, small=_kind(facts, one)),
        Cell(", ".join(count(place) for place in (one.rank.uniform, one.rank.natural, one.rank.worst))),
        _mean_cell(facts, verdict, one, "uniform", at[0] == best[0]),
        _mean_cell(facts, verdict, one, "natural", at[1] == best[1]),
        Cell(fixed(one.worst.bits_per_byte, 4), small=one.worst.domain, best=at[2] == best[2]),
        Cell(ABSENT) if base else Cell(signed(one.worst_regret.bits_per_byte, 4), small=one.worst_regret.domain),
        _better(one, facts),
        Cell(ABSENT) if base else _steps(one.steps_to_baseline),
        Cell(passes(max(epochs)) if epochs else ABSENT, small=_in_the_final_run(facts, one)),
    ]


def _in_the_final_run(facts: Facts, one: CandidateResult) -> str:
    """The most epochs at the budget, and of which domain; nothing where there is no budget."""
    held = numbers(one.epochs_at_budget, len(facts.domains))
    known = [(x, domain) for x, domain in zip(held, facts.domains, strict=True) if math.isfinite(x)]
    most = max(known, default=None)
    return "" if most is None else f"{passes(most[0])} at {count(facts.budget())} tokens: {most[1]}"


def _kind(facts: Facts, one: CandidateResult) -> str:
    """What a candidate is beside its name; one that limits changed is no longer what it is called."""
    if one.interval_of == "method":
        return "the method, with a search for each seed"
    if not one.allowed:
        return "the reference mixture, which limits do not allow"
    if one.limited:
        return "as limits allow it"
    return "the reference mixture" if one.name == facts.reference_name else ""


def _mean_cell(facts: Facts, verdict: Verdict, one: CandidateResult, target: Target, best: bool) -> Cell:
    value, wanted = fixed(one.mean[target].bits_per_byte, 4), (one.name, facts.baseline_name, target)
    pair = next((c for c in verdict.comparisons if (c.candidate, c.opponent, c.target) == wanted), None)
    if pair is None:
        return Cell(value, best=best)
    small = f"{signed_percent(pair.relative)}{NBSP}{pair.outcome}"
    return Cell(value, small=small, best=best, outcome=pair.outcome)


def _better(one: CandidateResult, facts: Facts) -> Cell:
    better = one.domains_better_than_reference
    if one.name == facts.reference_name:
        return Cell(ABSENT)
    return Cell(f"{count(better)} of {len(facts.domains):,}")


def _steps(steps: StepsToBaseline) -> Cell:
    """The step, and below it its interval."""
    if steps.step is None:
        return Cell("not reached", small=f"in {count(steps.of)}")
    ends = (steps.earliest, steps.latest)
    between = " to ".join("?" if end is None else count(end) for end in ends)
    return Cell(f"{count(steps.step)} of {count(steps.of)}", small=between if ends != (None, None) else "")


def claims_table(facts: Facts) -> Table | None:
    """What is proved, in the order in which it was tested."""
    if facts.verdict is None or not facts.verdict.claims:
        return None
    rows = [_claim(one) for one in facts.verdict.claims]
    columns = [
        ("Claim", "text"),
        ("Result", "text"),
        ("Difference to the strongest", "number"),
        ("By at least", "number"),
    ]
    caption = (
        "Claims are tested one after the other, and each only if the one before it is proved. All together are wrong "
        f"in at most {percent(1 - facts.verdict.confidence, 0)} of such runs."
    )
    return Table("claims", caption, columns, rows)


def _claim(one: Claim) -> list[Cell]:
    held = "proved" if one.held else "not proved" if one.tested else "not tested"
    least = one.at_least if one.held else None
    return [
        Cell(f"{one.candidate} is better than {listed(one.over)}"),
        Cell(held, outcome="win" if one.held else ""),
        Cell(signed_percent(one.relative)),
        Cell(ABSENT if least is None else percent(least, 2)),
    ]


def regret_table(facts: Facts) -> Table | None:
    """What choosing each candidate costs against the best, as bars."""
    verdict = facts.verdict
    if verdict is None:
        return None
    held = [one for one in verdict.choices[verdict.recommendation.target] if one.expected is not None]
    largest = max((one.expected or 0.0 for one in held), default=0.0)
    rows = [
        [
            Cell(one.candidate),
            Cell(percent(number(one.expected), 2), bar=(one.expected or 0.0) / largest if largest else 0.0),
            Cell(percent(number(one.at_most), 2)),
        ]
        for one in held
    ]
    caption = (
        f"By how much choosing a mixture is worse than the best, by the {verdict.recommendation.target} average. "
        "All limits hold at once."
    )
    columns = [("Mixture", "text"), ("Expected regret", "number"), ("At most", "number")]
    return Table("regret", caption, columns, rows) if rows else None


def comparison_tables(facts: Facts) -> list[Table]:
    """For each target, the recommendation's first: every candidate against its opponents, with intervals."""
    verdict = facts.verdict
    if verdict is None:
        return []
    first = verdict.recommendation.target
    held: set[Target] = {one.target for one in verdict.comparisons}
    targets = sorted(held, key=lambda target: (target != first, target))
    return [_comparisons(verdict, n, target) for n, target in enumerate(targets)]


def _comparisons(verdict: Verdict, n: int, target: Target) -> Table:
    pairs = [one for one in verdict.comparisons if one.target == target]
    scale = max((abs(x) for one in pairs for x in _ends(one) if math.isfinite(x)), default=0.0) * 1.05 or 1.0
    rows = [_comparison(verdict, one, scale) for one in pairs]
    titles = [
        ("Comparison", "text"),
        ("Outcome", "text"),
        ("Difference, bits per byte", "number"),
        ("Relative", "number"),
        ("Worse to the right", "interval"),
        (f"{verdict.sure} interval", "text"),
        ("For these documents only", "text"),
    ]
    secondary = "" if target == verdict.recommendation.target else " Nothing is claimed by this average."
    caption = f"By the {target} average. Below zero, the first of the two is better.{secondary}"
    return Table(f"comparisons-{n}", caption, titles, rows)


def _comparison(verdict: Verdict, one: Comparison, scale: float) -> list[Cell]:
    low, _, high = _ends(one)
    sure = math.isfinite(low) and math.isfinite(high)
    return [
        Cell(f"{one.candidate} against {one.opponent}"),
        Cell(one.outcome, outcome=one.outcome),
        Cell(signed(one.difference, 4)),
        Cell(signed_percent(one.relative)),
        Cell("", interval=_span(verdict, one, scale) if sure else None),
        Cell(_to(one.interval)),
        Cell(_to(one.fixed)),
    ]


def _to(interval: Interval) -> str:
    return f"{signed(interval[0], 4)} to {signed(interval[1], 4)}" if interval else "none with one seed"


def _ends(one: Comparison) -> tuple[float, float, float]:
    low, high = numbers(one.interval, 2)
    return low, number(one.difference), high


def _span(verdict: Verdict, one: Comparison, scale: float) -> Span:
    opponent = verdict.candidate(one.opponent)
    margin = opponent.mean[one.target].bits_per_byte * verdict.margin if opponent else math.nan
    places = [round(50 + 50 * x / scale, 1) if math.isfinite(x) else 50.0 for x in _ends(one)]
    return Span(*places, zero=50.0, margin=round(min(50.0, 50 * margin / scale), 1) if margin == margin else 0.0)
