"""The loop over a run's nodes: plan, do the next one that is ready, plan again."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from doremi.corpus.value import Corpus
from doremi.errors import Interrupted, RunError
from doremi.files import key_of
from doremi.methods import by_name
from doremi.methods.method import Results
from doremi.mixture.record import write_record
from doremi.pipeline.counting import count_models
from doremi.pipeline.fewshot import answer
from doremi.pipeline.planning import planned, write_plan
from doremi.pipeline.preparing import prepare
from doremi.pipeline.trainings import keep_losses, train
from doremi.pipeline.workspace import Workspace, sweep
from doremi.rundir.context import Context
from doremi.rundir.graph import Graph
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.node import Node, training_place
from doremi.rundir.specs import FewshotSpec, LossesSpec, MixtureSpec, TrainingSpec
from doremi.rundir.weights import allowed

Wanted = Callable[[Node], bool]
LOOK_AGAIN_SECONDS = 0.2


def everything(node: Node) -> bool:
    """All but the verdict, which follows when the rest is done."""
    return node.kind != "verdict"


def drive(space: Workspace, wanted: Wanted = everything, *, full_check: bool = False) -> Graph:
    """Prepare the corpus, then do all nodes that are wanted and can be done, one after another; the last plan.

    `Interrupted` between two of them where somebody has asked to stop.
    """
    corpus = prepare(space, full_check=full_check)
    plan = plan_now(space, corpus)
    _say_what_stays(space, plan)
    while (node := _next(plan, wanted)) is not None:
        if space.world.any(space.watch.stop_requested()):
            raise Interrupted("stopped between two stages. Run the same command to resume.")
        do(space, plan, corpus, node)
        plan = plan_now(space, corpus)
    return plan


def complete(plan: Graph, wanted: Wanted = everything) -> None:
    """`RunError` that says what something wanted still waits for."""
    for node in plan.nodes:
        if wanted(node) and not plan.done(node) and not (node.optional and node.spec is None):
            left = plan.unfinished(node)
            why = f"waits for {left[0]}" if left else node.waits
            raise RunError(f"{node.id} {why}. `doremi jobs` shows what is done and what waits")


def plan_now(space: Workspace, corpus: Corpus) -> Graph:
    """The graph as the disk is now, the same on all processes; the main one writes it down."""
    count_models(space, corpus)
    space.world.barrier()  # what others have written is there
    with space.locks.records() if space.world.is_main else contextlib.nullcontext():  # no older plan replaces ours
        while not _alike(space, plan := planned(space.config, space.directory, corpus)):
            time.sleep(LOOK_AGAIN_SECONDS)  # another process has finished something while we looked
        if space.world.is_main:
            write_plan(space.config, space.directory, plan)
    return plan


def _alike(space: Workspace, plan: Graph) -> bool:
    """Whether all processes see the same done; all have looked before anything is written."""
    seen = int(key_of([[node.id, plan.key(node), plan.done(node)] for node in plan.nodes])[:15], 16)
    return not space.world.any(space.world.from_main(seen) != seen)


def _next(plan: Graph, wanted: Wanted) -> Node | None:
    """The first that is wanted and ready, in the order of the run."""
    return next((node for node in plan.nodes if wanted(node) and plan.ready(node)), None)


def _say_what_stays(space: Workspace, plan: Graph) -> None:
    """Finished trainings that this configuration does without are kept, and nobody should wonder about them."""
    mine = {node.spec.key for node in plan.nodes if isinstance(node.spec, TrainingSpec)}
    others = [key for key in plan.known.trained if key not in mine]
    if others and mine:
        number = f"{len(others)} finished {'training' if len(others) == 1 else 'trainings'}"
        space.watch.say(f"{number} of other settings stay here unused; `doremi clean {space.root}` lists them")


# -- one node ----------------------------------------------------------------------------------------------------------


def do(space: Workspace, plan: Graph, corpus: Corpus, node: Node) -> None:
    """Do one node, whose needs are done. Where another process does it we wait, and find it done."""
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(space.locks.work(node.lock, node.id, space.watch.stop_requested))
            sweep(space.root / str(node.place))

        space.world.on_main(begin)  # where the others wait for as long as it takes
        _do(space, plan, corpus, node)


def _do(space: Workspace, plan: Graph, corpus: Corpus, node: Node) -> None:
    spec = node.spec
    if isinstance(spec, TrainingSpec):
        if node.role == "reference" and space.config.reference.reuse is not None:
            place = Path(training_place(spec.key))
            space.world.on_main(lambda: _reuse(space, place, spec.key))
        train(space, corpus, spec, node.id)
    elif isinstance(spec, LossesSpec):
        settings = Context(space.config, plan.known).settings
        assert settings is not None
        if space.config.reference.reuse is not None and node.place is not None:
            place = Path(node.place)
            space.world.on_main(lambda: _reuse_losses(space, place))
        keep_losses(space, corpus, spec, settings, node.id)
    elif isinstance(spec, MixtureSpec):
        space.world.on_main(lambda: _make_mixture(space, plan, corpus, node, spec))
    elif isinstance(spec, FewshotSpec):
        folder = TrainingFolder(space.root / training_place(spec.training))
        space.world.on_main(lambda: answer(space, folder, spec, node.id))


def _make_mixture(space: Workspace, plan: Graph, corpus: Corpus, node: Node, spec: MixtureSpec) -> None:
    """The mixture that a method makes of its trainings, as limits allow it."""
    if planned(space.config, space.directory, corpus).done(node):
        return
    folders = {name: TrainingFolder(space.root / training_place(key)) for name, key in spec.inputs}
    method = by_name(spec.method)
    record = method.mixture(spec, Results(corpus, folders))
    record = allowed(spec.limits, spec.budget, corpus, record)
    record = record.model_copy(update={"version": spec.version, "key": spec.key})
    write_record(space.root / str(node.place), record)
    known = planned(space.config, space.directory, corpus).known
    if warning := method.remark(Context(space.config, known)):
        space.watch.say(warning)


def _reuse(space: Workspace, place: Path, key: str) -> None:
    """Take a finished reference with this key from another run directory, if it has one."""
    other, mine = TrainingFolder(Path(str(space.config.reference.reuse)) / place), TrainingFolder(space.root / place)
    if mine.finished:
        return
    if not other.finished or other.stage()["key"] != key:
        space.watch.say(f"{other.folder}: no reference that is trained alike; training it")
        return
    _take(other.folder, mine.folder)


def _reuse_losses(space: Workspace, place: Path) -> None:
    other, mine = Path(str(space.config.reference.reuse)) / place, space.root / place
    if (other / "manifest.json").exists() and not (mine / "manifest.json").exists():
        _take(other, mine)


def _take(source: Path, target: Path) -> None:
    """A finished folder of another run, under a temporary name first."""
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary, copy_function=_link_or_copy)
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)


def _link_or_copy(source: str, target: str) -> None:
    """Finished files are never written to again, so one copy on a disk will do."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
