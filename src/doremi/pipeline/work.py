"""A run's plan, and one node of it done: for driver.py, for `doremi job`, and for the processes of executors/."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from doremi.config import TrainingConfig
from doremi.corpus.value import Corpus
from doremi.events.event import MixtureFound
from doremi.files import key_of
from doremi.methods import by_name
from doremi.methods.method import Results
from doremi.mixture.record import write_record
from doremi.pipeline.counting import count_models
from doremi.pipeline.evaluating import evaluate, judge_part
from doremi.pipeline.fewshot import answer
from doremi.pipeline.planning import planned, write_plan
from doremi.pipeline.shards import write_shard
from doremi.pipeline.trainings import keep_losses, train
from doremi.pipeline.workspace import Workspace, sweep
from doremi.rundir.context import Context
from doremi.rundir.graph import Graph
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.node import Node, training_place
from doremi.rundir.specs import (
    EvaluationSpec,
    FewshotSpec,
    LossesSpec,
    MixtureSpec,
    PartSpec,
    ShardSpec,
    TrainingSpec,
)
from doremi.rundir.weights import allowed

LOOK_AGAIN_SECONDS = 0.2


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


# -- one node ----------------------------------------------------------------------------------------------------------


def do(space: Workspace, corpus: Corpus | None, node: Node, settings: TrainingConfig | None) -> None:
    """Do one node, whose needs are done. Where another process does it we wait, and find it done.

    `settings` are those of the run's trainings, with every `auto` replaced. Parts of the corpus need neither these nor
    the corpus.
    """
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(space.locks.work(node.lock, node.id, space.watch.stop_requested))
            sweep(space.root / str(node.place))

        space.world.on_main(begin)  # where the others wait for as long as it takes
        if isinstance(spec := node.spec, ShardSpec):
            space.world.on_main(lambda: write_shard(space, spec, node.id))
            return
        assert corpus is not None
        assert settings is not None
        _do(space, corpus, node, settings)


def _do(space: Workspace, corpus: Corpus, node: Node, settings: TrainingConfig) -> None:
    spec = node.spec
    if isinstance(spec, TrainingSpec):
        if node.role == "reference" and space.config.reference.reuse is not None:
            place = Path(training_place(spec.key))
            space.world.on_main(lambda: _reuse(space, place, spec.key))
        train(space, corpus, spec, node.id)
    elif isinstance(spec, LossesSpec):
        if space.config.reference.reuse is not None and node.place is not None:
            place = Path(node.place)
            space.world.on_main(lambda: _reuse_losses(space, place))
        keep_losses(space, corpus, spec, settings, node.id)
    elif isinstance(spec, PartSpec):
        judge_part(space, corpus, spec, settings, node.id)
    elif isinstance(spec, EvaluationSpec):
        evaluate(space, corpus, spec, settings, node.id)
    elif isinstance(spec, FewshotSpec):
        folder = TrainingFolder(space.root / training_place(spec.training))
        space.world.on_main(lambda: answer(space, folder, spec, node.id))
    elif isinstance(spec, MixtureSpec):
        space.world.on_main(lambda: _make_mixture(space, corpus, node, spec))


def _make_mixture(space: Workspace, corpus: Corpus, node: Node, spec: MixtureSpec) -> None:
    """The mixture that a method makes of its trainings, as limits allow it."""
    if planned(space.config, space.directory, corpus).done(node):
        return
    folders = {name: TrainingFolder(space.root / training_place(key)) for name, key in spec.inputs}
    method = by_name(spec.method)
    record = method.mixture(spec, Results(corpus, folders))
    record = allowed(spec.limits, spec.budget, corpus, record)
    record = record.model_copy(update={"version": spec.version, "key": spec.key})
    write_record(space.root / str(node.place), record)
    space.watch.emit(MixtureFound(node.id, node.mixture, dict(record.weights)))
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
