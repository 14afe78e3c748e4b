"""The verdict in three lines: what to use, how much better it is than the data as it is, what would settle the rest."""

from __future__ import annotations

import math

from doremi.events.words import duration
from doremi.statistics.choice import OTHER
from doremi.statistics.looks import PLAN
from doremi.statistics.table import Target
from doremi.statistics.values import Claim, Comparison, WithoutLent
from doremi.verdict.price import Price
from doremi.verdict.values import Verdict

FEWEST_SEEDS = 3  # two show noise, but so badly that hardly anything is ever proved


def headline(verdict: Verdict, price: Price) -> tuple[str, str, str]:
    """A sentence or a few each; the average that decides, and what the other one says, are in the second."""
    better = " ".join([_better(verdict), *_outside(verdict)])
    return f"Use {verdict.recommendation.mixture}.", better, _settle(verdict, price)


def noise(verdict: Verdict, price: Price) -> str:
    """What the noise means, in seeds and time; nothing with one seed."""
    if verdict.noise is None:
        return ""
    return f"{verdict.noise.words(len(verdict.seeds), price.one_seed)} {verdict.noise.longer_words()}"


def exploratory(verdict: Verdict) -> list[str]:
    """What the figures of a look that nobody planned are worth."""
    if verdict.exploratory is None or len(verdict.seeds) < 2:
        return []
    return ["This look was not planned. Its ranges and limits are estimates, which do not hold with their per cent."]


def no_noise(verdict: Verdict) -> str:
    """Why there are no ranges, where there are none."""
    return "one seed shows no noise" if len(verdict.seeds) < 2 else "the seeds show no noise"


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


# -- how much better ---------------------------------------------------------------------------------------------------


def _better(verdict: Verdict) -> str:
    """Of the recommended mixture; of the first found one, where nothing beats the data as it is."""
    chosen, target = verdict.recommendation, verdict.recommendation.target
    if chosen.mixture == verdict.baseline:
        first, names = "It is your data as it is.", [one.candidate for one in verdict.comparisons]
    else:
        first, names = "", [chosen.mixture]
    pairs = {(one.candidate, one.opponent, one.target): one for one in verdict.comparisons}
    shown = next((name for name in names if (name, verdict.baseline, target) in pairs), None)
    if shown is None:
        return first or f"It has the trainings of {verdict.baseline}, your data as it is."
    who = "it" if shown == chosen.mixture else shown
    data = "natural, your data as it is" if verdict.baseline == "natural" else f"{verdict.baseline}, the reference"
    against = f"bits per byte than {verdict.baseline if first else data}"
    one, other = pairs[shown, verdict.baseline, target], pairs.get((shown, verdict.baseline, OTHER[target]))
    parts = [first, f"By the {target} average {who} has {_amount(one)} {against}. {_range(verdict, one)}"]
    parts += [f"{_other(verdict, other, OTHER[target], who)}"] if other is not None else []
    return " ".join(filter(None, parts))


def _outside(verdict: Verdict) -> list[str]:
    """Why what others are measured by may not be used itself."""
    return [f"{one.name} breaks the limits and is not for use." for one in verdict.candidates if not one.allowed]


def _amount(one: Comparison) -> str:
    return f"{abs(one.relative):.2%} {'fewer' if one.relative <= 0 else 'more'}"


def relative_ends(one: Comparison) -> tuple[float, float] | None:
    """The interval of a comparison as a share of the opponent's bits per byte."""
    if one.interval is None:
        return None
    scale = one.relative / one.difference if one.difference else math.nan
    return one.interval[0] * scale, one.interval[1] * scale


def _range(verdict: Verdict, one: Comparison) -> str:
    ends = relative_ends(one)
    if ends is None:
        return (
            "One seed gives no range." if len(verdict.seeds) < 2 else "The seeds show no noise, which gives no range."
        )
    return f"The range is {_between(*ends)} ({verdict.sure})."


def _between(low: float, high: float) -> str:
    """An interval of changes, in words that need no sign."""
    if high <= 0:
        return f"{-high:.2%} to {-low:.2%} fewer"
    if low >= 0:
        return f"{low:.2%} to {high:.2%} more"
    return f"{-low:.2%} fewer to {high:.2%} more"


def _other(verdict: Verdict, one: Comparison, target: Target, who: str) -> str:
    """What the average that does not decide says of the same pair, and what it would recommend."""
    ends, prefers = relative_ends(one), verdict.recommendation.other_mixture
    between = f" ({_between(*ends)})" if ends else ""
    said = f"By the {target} average {who} has {_amount(one)}{between}"
    if prefers == verdict.recommendation.mixture:
        return f"{said}, and the choice is the same."
    return f"{said}, and the choice would be {prefers}."


# -- what would settle the rest ----------------------------------------------------------------------------------------


def _settle(verdict: Verdict, price: Price) -> str:
    """What would prove the first claim that failed, with its command and its time; else why nothing would."""
    if len(verdict.seeds) < 2:
        more = _takes(FEWEST_SEEDS - len(verdict.seeds), price)
        run = _run(price, f"candidates.seeds={FEWEST_SEEDS}")
        return f"Train at least {FEWEST_SEEDS} seeds to know more{more}: {run}."
    if verdict.settle is None:
        return " ".join([_nothing(verdict, price), *_which_average(verdict)])
    said = " ".join([*_open(verdict), verdict.settle.words(len(verdict.seeds))])
    return said if verdict.settle.seeds is None else f"{said} {_command(verdict, verdict.settle.seeds, price)}"


def _failed(verdict: Verdict) -> Claim | None:
    """The first claim that was tested in vain."""
    return next((one for one in verdict.claims if one.tested and not one.held), None)


def _open(verdict: Verdict) -> list[str]:
    """What it is that would be settled."""
    failed = _failed(verdict)
    if failed is None:
        return []
    every = "every plain finalist" if verdict.race else "every plain mixture"
    return [f"Not proved: {failed.candidate} is better than {failed.over[0] if len(failed.over) == 1 else every}."]


def _which_average(verdict: Verdict) -> list[str]:
    if verdict.recommendation.other_mixture == verdict.recommendation.mixture:
        return []
    return ["Which average counts is yours to say."]


def _takes(seeds: int, price: Price) -> str:
    return "" if price.one_seed is None else f", {duration(seeds * price.one_seed)}"


def _run(price: Price, *changes: str) -> str:
    return f"`doremi run {price.run} {' '.join(f'--set {change}' for change in changes)}`"


def _command(verdict: Verdict, wanted: int, price: Price) -> str:
    """Seeds that are added to a verdict of one look prove nothing, so that it takes a run of its own."""
    have = len(verdict.seeds)
    if verdict.looks == "once":
        return _own_run(verdict, max(wanted, FEWEST_SEEDS), price)
    later = [count for count in PLAN if count > have]
    if not later:
        return f"The plan of {PLAN[-1]} seeds is at its end."
    count = next((count for count in later if count >= wanted), later[-1])
    last = "" if count >= wanted else f" The plan ends at {count}, which may not be enough."
    run = f"`doremi run {price.run} --until decided`"
    return f"The plan's look at {count} can do it{_takes(count - have, price)}: {run}.{last}"


def _own_run(verdict: Verdict, count: int, price: Price) -> str:
    run = _run(price, "name=NEW", f"seed={max(verdict.seeds) + 1}", f"candidates.seeds={count}")
    search = " and its search" if price.one_seed else ""
    return f"A run of its own can do it{_takes(count, price)}{search}: {run}."


def _nothing(verdict: Verdict, price: Price) -> str:
    """Why more seeds would settle nothing."""
    failed = _failed(verdict)
    if failed is None:
        if verdict.exploratory is not None and verdict.claims:
            return f"This look was not planned, so it settles nothing. {_unplanned(verdict, price)}"
        return (
            "Nothing is left to prove." if verdict.claims else "No found mixture is compared, so nothing is to prove."
        )
    if verdict.noise is None:
        return f"The seeds show no noise, so nothing can be proved of {failed.candidate}."
    over = failed.over[0] if len(failed.over) == 1 else "the best plain mixture"
    if failed.relative >= 0:
        return f"{failed.candidate} does not look better than {over}. More seeds are not expected to change that."
    return f"{failed.candidate} differs from {over} by less than {verdict.margin:.2%}, which nobody needs to prove."


def _unplanned(verdict: Verdict, price: Price) -> str:
    """What does settle it, after a look that was not planned: the plan's next one, or a run of its own."""
    count = len(verdict.seeds)
    if verdict.looks == "planned" and count not in PLAN and count < PLAN[-1]:
        return _command(verdict, count, price)
    return _own_run(verdict, max(count, FEWEST_SEEDS), price)
