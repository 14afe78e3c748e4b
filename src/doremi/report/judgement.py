"""The verdict as tables: candidates side by side, what is proved, and what choosing costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from doremi.report.facts import Facts
from doremi.report.tables import Cell, Table, lowest
from doremi.report.words import (
    ABSENT,
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
from doremi.statistics.choice import OTHER
from doremi.statistics.values import Choice, Claim
from doremi.verdict.values import CandidateResult, StepsToBaseline


def candidate_table(facts: Facts) -> Table | None:
    """One row a candidate: means, worst domain, regret, domains better than the reference, steps to baseline."""
    verdict = facts.verdict
    if verdict is None:
        return None
    levels = [_levels(one) for one in verdict.candidates]
    best = [lowest(column) for column in zip(*levels, strict=True)]
    rows = [_candidate(facts, one, best) for one in verdict.candidates]
    titles = (
        "Mean, uniform", "Mean, natural", "Worst domain",
        f"Largest regret against {facts.baseline_name}",
        "Domains better than reference", f"Steps to the final loss of {facts.baseline_name}",
        "Most epochs, in training",
    )  # fmt: skip
    caption = "Candidates in bits per byte, lower is better. The best of each column is boxed."
    return Table("candidates", caption, [("Mixture", "text"), *((t, "number") for t in titles)], rows)


def _levels(one: CandidateResult) -> list[float]:
    """Both means and the worst domain."""
    return [one.mean["uniform"].bits_per_byte, one.mean["natural"].bits_per_byte, one.worst.bits_per_byte]


def _candidate(facts: Facts, one: CandidateResult, best: Sequence[float]) -> list[Cell]:
    """`best` are the lowest of the candidates' two means and worst domains."""
    base = one.name == facts.baseline_name
    epochs = [x for x in one.epochs if math.isfinite(x)]
    at = _levels(one)
    return [
        Cell(one.name, small=_kind(facts, one)),
        Cell(fixed(at[0], 4), best=at[0] == best[0]),
        Cell(fixed(at[1], 4), best=at[1] == best[1]),
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
    rows = [_claim(one) for one in facts.verdict.told_claims()]
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
    if facts.verdict.race is not None:
        caption += " They cover the finalists of the race only."
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
    """What choosing each candidate costs against the best, as bars; by the other average too."""
    verdict = facts.verdict
    if verdict is None:
        return None
    target = verdict.recommendation.target
    other = {one.candidate: one for one in verdict.choices[OTHER[target]]}
    held = [one for one in verdict.choices[target] if one.expected is not None]
    shown = [*held, *(other[one.candidate] for one in held if one.candidate in other)]
    largest = max((one.expected or 0.0 for one in shown), default=0.0)
    rows = [
        [Cell(one.candidate), *_regret(one, largest, "found"), *_regret(other.get(one.candidate), largest, "natural")]
        for one in held
    ]
    titles = ((which, what) for which in (target, OTHER[target]) for what in ("Expected regret", "At most"))
    columns = [("Mixture", "text"), *((f"{what}, {which} average", "number") for which, what in titles)]
    caption = (
        "By how much choosing a mixture is worse than the best one here. The limits of one average hold at once "
        f"({verdict.sure})."
    )
    return Table("regret", caption, columns, rows) if rows else None


def _regret(one: Choice | None, largest: float, tone: str) -> list[Cell]:
    if one is None or one.expected is None:
        return [Cell(ABSENT)] * 2
    bar = one.expected / largest if largest else 0.0
    return [Cell(percent(one.expected), bar=bar, tone=tone), Cell(percent(number(one.at_most)))]
