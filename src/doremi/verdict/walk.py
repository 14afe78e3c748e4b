"""The plan of looks walked: whether a run may begin with it, whether it goes on after a verdict, and why, in words."""

from __future__ import annotations

from dataclasses import dataclass

from doremi.config import RunConfig
from doremi.errors import ConfigError, RunError
from doremi.rundir.looks import read_goal, read_looks, write_goal
from doremi.statistics.decided import Standing, standings
from doremi.statistics.looks import PLAN, next_look
from doremi.verdict.values import Verdict, read_verdict


@dataclass(frozen=True)
class Step:
    """What follows a look: `seeds` that the next one is to have, None where the walk is over; `words` say why."""

    seeds: int | None
    words: str


def first_goal(config: RunConfig) -> int:
    """Seeds of the look that a run is at, the configured ones at least.

    `ConfigError` where looks are not planned, or where the plan has no look at so many seeds. `RunError` where the
    first verdict was not planned, so that none can prove anything.
    """
    if config.verdict.looks != "planned":
        raise ConfigError(
            f"verdict.looks is {config.verdict.looks}, so seeds that are added prove nothing. `--until decided` needs "
            "verdict.looks: planned, before the first verdict"
        )
    for record in read_looks(config.root).values():
        if record.seeds and record.looks != "planned":
            raise RunError(
                f"{config.root}: its first verdict had verdict.looks {record.looks}, and that cannot change after it. "
                "Give the run another name, or do without --until"
            )
    configured = config.candidates.seeds
    if configured > PLAN[-1]:
        raise ConfigError(f"candidates.seeds is {configured}, but the plan of looks ends at {PLAN[-1]} seeds")
    goal = max(configured, read_goal(config.root) or 0)
    return goal if goal in PLAN else next_look(goal) or PLAN[-1]


def set_off(config: RunConfig) -> int:
    """The run has the seeds of its next look from now on: how many. Errors as in `first_goal`."""
    goal = first_goal(config)
    write_goal(config.root, goal)
    return goal


def go_on(config: RunConfig) -> Step:
    """What follows the verdict that the run has; where that is a look, the run has its seeds from now on."""
    step = after(read_verdict(config.root))
    if step.seeds is not None:
        write_goal(config.root, step.seeds)
    return step


def after(verdict: Verdict) -> Step:
    """Whether the plan goes on after this look."""
    count, known = len(verdict.seeds), standings(verdict.claims, verdict.comparisons, verdict.recommendation.target)
    at = f"Look at {'1 seed' if count == 1 else f'{count} seeds'}:"
    if verdict.exploratory is not None:
        return Step(None, f"{at} it proves nothing. {verdict.exploratory}")
    if not known:
        return Step(None, f"{at} there is nothing to decide, as no mixture that a search has found is compared.")
    told = " ".join(dict.fromkeys(_words(verdict, one) for one in known))  # two claims are one with one plain mixture
    if not any(one.state == "open" for one in known):
        return Step(None, f"{at} decided. {told}")
    if (following := next_look(count)) is None:
        return Step(None, f"{at} {told} This was the last look of the plan. Further seeds would prove nothing.")
    return Step(following, f"{at} {told} The plan goes on to {following} seeds.")


def _words(verdict: Verdict, one: Standing) -> str:
    name, against = one.claim.candidate, " and ".join(filter(None, [", ".join(one.against[:-1]), one.against[-1]]))
    if one.state == "held":
        return f"{name} is better than {against}."
    if one.state == "open":
        return f"It is open whether {name} is better than {against} (p = {one.claim.p_value:.3f})."
    if one.state == "worse":
        return f"{name} is worse than {against}."
    return f"{name} is within {verdict.margin:.2%} of {against}, which is a tie."
