"""`doremi run --until decided`: train up to the next look of the plan, judge, and go on until the claims are decided.

Where the walk is stands in looks.json. So it goes on wherever it was stopped, and every other command knows how many
seeds the run has now.
"""

from __future__ import annotations

from doremi.pipeline.checks import check_mixtures
from doremi.pipeline.driver import complete, drive
from doremi.pipeline.executor import Executors
from doremi.pipeline.run import judge_and_report
from doremi.pipeline.workspace import Workspace
from doremi.statistics.looks import PLAN
from doremi.verdict import Verdict
from doremi.verdict.walk import Step, go_on, set_off


def until_decided(space: Workspace, executors: Executors) -> tuple[Verdict, Step] | None:
    """The last verdict and why the walk ends there, on the main process. Errors as in `first_goal`."""
    candidates = space.config.candidates.model_copy(update={"seeds": PLAN[-1]})
    check_mixtures(space.config.model_copy(update={"candidates": candidates}))  # those that need something for each
    space.world.on_main(lambda: set_off(space.config))
    told = False
    while True:
        complete(drive(space, executors, told=told))
        told = True
        looked = _looked(space)
        if not space.world.any(any(step.seeds for _, step in looked)):
            return looked[0] if looked else None


def _looked(space: Workspace) -> list[tuple[Verdict, Step]]:
    """One look, which only the main process knows of."""
    found: list[tuple[Verdict, Step]] = []
    space.world.on_main(lambda: found.append(_look(space)))
    return found


def _look(space: Workspace) -> tuple[Verdict, Step]:
    """The verdict, and what follows it; the seeds of the next look are noted for all that look at the run."""
    verdict = judge_and_report(space)
    step = go_on(space.config)
    space.watch.say(step.words)
    return verdict, step
