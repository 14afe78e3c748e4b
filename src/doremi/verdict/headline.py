"""The verdict in three lines: what to use, how much better it is than the data as it is, what would settle the rest."""

from __future__ import annotations

from doremi.statistics.values import WithoutLent
from doremi.verdict.values import Verdict

FEWEST_SEEDS = 3  # two show noise, but so badly that hardly anything is ever proved


def headline(verdict: Verdict) -> tuple[str, str, str]:
    """One sentence or two each."""
    chosen = verdict.recommendation
    return f"Use {chosen.mixture}.", " ".join([_better(verdict), *_outside(verdict)]), _settle(verdict)


def lent(verdict: Verdict) -> list[str]:
    """What is left without the models that found mixtures were learned against, a sentence or two for each mixture."""
    return [_lent(one, verdict.baseline) for one in verdict.without_lent]


def _lent(one: WithoutLent, baseline: str) -> str:
    if one.relative is None:
        return f"{one.candidate} was learned against all models of {baseline} that it is compared with."
    ends = "One seed gives no range."
    if one.interval is not None:
        ends = f"The range is {one.interval[0]:+.2%} to {one.interval[1]:+.2%}."
    return (
        f"{one.candidate} was learned against some models of {baseline}. Without their seeds it differs by "
        f"{one.relative:+.2%}. {ends}"
    )


def _better(verdict: Verdict) -> str:
    chosen, baseline = verdict.recommendation, verdict.baseline
    if chosen.mixture == baseline:
        return f"{baseline} is what the others are measured by."
    wanted = (chosen.mixture, baseline, chosen.target)
    for one in verdict.comparisons:
        if (one.candidate, one.opponent, one.target) == wanted:
            fewer = "fewer" if one.relative <= 0 else "more"
            sure = "One seed gives no range."
            if one.interval is not None:
                scale = one.relative / one.difference if one.difference else 0.0
                low, high = (end * scale for end in one.interval)
                sure = f"The range is {low:+.2%} to {high:+.2%} ({verdict.sure})."
            return (
                f"By the {chosen.target} average it has {abs(one.relative):.2%} {fewer} bits per byte than "
                f"{baseline}. {sure}"
            )
    return f"It has the trainings of {baseline}."


def _outside(verdict: Verdict) -> list[str]:
    """Why what others are measured by may not be used itself."""
    return [f"{one.name} breaks the limits and is not for use." for one in verdict.candidates if not one.allowed]


def _settle(verdict: Verdict) -> str:
    """What would prove the claim that failed, and what the noise means: seeds for one per cent."""
    if len(verdict.seeds) < 2:
        return f"Train at least {FEWEST_SEEDS} seeds to know more."
    told = [one.words() for one in (verdict.settle, verdict.noise) if one]
    return " ".join(dict.fromkeys(told)) or "There is nothing else to compare with."
