"""The verdict as tables: candidates side by side, and each against its opponents with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from doremi.report.facts import Facts
from doremi.report.tables import Cell, Span, Table, lowest
from doremi.report.words import (
    ABSENT,
    NBSP,
    TIMES,
    count,
    fixed,
    number,
    numbers,
    passes,
    percent,
    signed,
    signed_percent,
)
from doremi.verdict.values import CandidateResult, Comparison, StepsToBaseline, Target, Verdict, WorstComparison


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
    worst = _worst_comparison(facts, verdict, one)
    return [
        Cell(one.name, small=_kind(facts, one)),
        Cell(", ".join(count(place) for place in (one.rank.uniform, one.rank.natural, one.rank.worst))),
        _mean_cell(facts, verdict, one, "uniform", at[0] == best[0]),
        _mean_cell(facts, verdict, one, "natural", at[1] == best[1]),
        _worst(one, worst, best=at[2] == best[2]),
        Cell(ABSENT) if base else _regret(one, worst),
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


def _worst(one: CandidateResult, pair: WorstComparison | None, best: bool) -> Cell:
    """The worst domain's bits, and what they are against the baseline's worst."""
    outcome = pair.loss.outcome if pair else ""
    small = NBSP.join(filter(None, (one.worst.domain, outcome)))
    return Cell(fixed(one.worst.bits_per_byte, 4), small=small, best=best, outcome=outcome)


def _regret(one: CandidateResult, pair: WorstComparison | None) -> Cell:
    """The domain that is furthest behind the baseline, with the interval of how far."""
    low, high = numbers(pair.regret.interval if pair else None, 2)
    sure = f" ({signed(low, 4)} to {signed(high, 4)})" if math.isfinite(low) and math.isfinite(high) else ""
    return Cell(signed(one.worst_regret.bits_per_byte, 4), small=f"{one.worst_regret.domain}{sure}")


def _worst_comparison(facts: Facts, verdict: Verdict, one: CandidateResult) -> WorstComparison | None:
    wanted = (one.name, facts.baseline_name)
    return next((c for c in verdict.worst_comparisons if (c.candidate, c.opponent) == wanted), None)


def _better(one: CandidateResult, facts: Facts) -> Cell:
    better = one.domains_better_than_reference
    if one.name == facts.reference_name or better is None:
        return Cell(ABSENT)
    return Cell(f"{count(better)} of {len(facts.domains):,}")


def _steps(steps: StepsToBaseline) -> Cell:
    if not steps.reached:
        return Cell("not reached", small=f"in {count(steps.of)}")
    speedup = number(steps.speedup)
    small = f"{speedup:.2f}{TIMES} as fast" if math.isfinite(speedup) else ""
    return Cell(f"{count(steps.step)} of {count(steps.of)}", small=small)


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
        (f"{percent(verdict.confidence, 0)} interval", "text"),
        ("p, corrected", "number"),
    ]
    caption = f"By the {target} average. Below zero, the first of the two is better."
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
        Cell(f"{signed(low, 4)} to {signed(high, 4)}" if sure else "none with one seed"),
        Cell(_probability(one.p_adjusted)),
    ]


def _probability(value: float | None) -> str:
    return "<0.001" if number(value) < 0.0005 else fixed(value, 3)


def _ends(one: Comparison) -> tuple[float, float, float]:
    low, high = numbers(one.interval, 2)
    return low, number(one.difference), high


def _span(verdict: Verdict, one: Comparison, scale: float) -> Span:
    opponent = verdict.candidate(one.opponent)
    margin = opponent.mean[one.target].bits_per_byte * verdict.margin if opponent else math.nan
    places = [round(50 + 50 * x / scale, 1) if math.isfinite(x) else 50.0 for x in _ends(one)]
    return Span(*places, zero=50.0, margin=round(min(50.0, 50 * margin / scale), 1) if margin == margin else 0.0)
