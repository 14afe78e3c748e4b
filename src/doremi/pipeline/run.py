"""What the commands do to a run: everything, a part of it, one job, one model of the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from doremi.config import load_run
from doremi.corpus.value import Corpus
from doremi.errors import RunError
from doremi.methods import by_mixture
from doremi.mixture.files import read_mixture
from doremi.mixture.record import MixtureRecord, write_record
from doremi.pipeline import look
from doremi.pipeline.checks import check_mixtures
from doremi.pipeline.driver import complete, drive, settle, shared_out
from doremi.pipeline.executor import Executors
from doremi.pipeline.host import this_host
from doremi.pipeline.judging import judge_run
from doremi.pipeline.planning import as_it_is, planned
from doremi.pipeline.preparing import begin, prepare
from doremi.pipeline.work import do, plan_now
from doremi.pipeline.workspace import Workspace
from doremi.report import write_report
from doremi.rundir.context import Context
from doremi.rundir.graph import Graph
from doremi.rundir.known import CORPUS, PREPARE, Asked
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.node import Node, training_place
from doremi.rundir.specs import TrainingSpec
from doremi.rundir.weights import candidate_name, plain_record
from doremi.verdict import Verdict


def everything(space: Workspace, executors: Executors) -> Verdict | None:
    """The whole job; the verdict, on the main process."""
    complete(drive(space, executors))
    if not space.world.is_main:
        return None
    return judge_and_report(space)


def judge_and_report(space: Workspace) -> Verdict:
    """The verdict and the page, on the main process."""
    with space.locks.work("verdict", "verdict", space.watch.stop_requested):
        result = judge_run(space.config)
        write_report(space.directory)
    return result


def prepare_only(space: Workspace, executors: Executors, *, in_place: bool = False) -> Corpus:
    """The corpus, all of its checksums compared, and the plan of what follows. `in_place` as `prepare` has it."""
    share = shared_out(space, executors, lambda: executors.host(space))
    corpus = prepare(space, full_check=True, in_place=in_place, share=share)
    settle(space, corpus, this_host())
    plan_now(space, corpus)
    return corpus


def search(space: Workspace, executors: Executors, *, references_only: bool = False) -> Graph:
    """The search of every method: all of it, or the references that it begins with."""

    def wanted(node: Node) -> bool:
        mine = node.method != "" and node.role in ("reference", "losses", "proxy", "mixture")
        return mine and (not references_only or (node.role == "reference" and node.round <= 1))

    plan = drive(space, executors, wanted)
    complete(plan, wanted)
    return plan


def candidates(space: Workspace, executors: Executors) -> None:
    """Main models of every configured size, seed and mixture."""

    def wanted(node: Node) -> bool:
        return node.role in ("main", "longer")

    complete(drive(space, executors, wanted), wanted)


def one_job(space: Workspace, name: str) -> Graph:
    """One node, whose needs must be done; nothing where it is done already."""
    if name in (PREPARE, CORPUS) or name.startswith("shard/"):
        if (plan := _part_of_corpus(space, name)) is not None:
            return plan
        name = PREPARE  # a job of a corpus that is there
    corpus = prepare(space)
    settle(space, corpus, this_host())
    plan = plan_now(space, corpus)
    node = plan.node(name)
    if not plan.done(node):
        if left := plan.unfinished(node):
            raise RunError(f"{name} waits for {left[0]}: do that first (`doremi jobs` shows all)")
        if node.kind == "verdict":
            space.world.on_main(lambda: judge_and_report(space))
        elif node.spec is None:
            raise RunError(f"{name} {node.waits}")
        else:
            _one(space, plan, corpus, node)
    return plan_now(space, corpus)


def _part_of_corpus(space: Workspace, name: str) -> Graph | None:
    """A job of a large corpus; None where the corpus is there, or is to be put together."""
    if name == PREPARE:
        begun = begin(space)
        return None if begun is None else planned(space.config, space.directory, None)
    plan = as_it_is(space.config, space.directory)
    if plan.known.corpus is not None:
        return None
    node = plan.node(name)
    if left := plan.unfinished(node):
        raise RunError(f"{name} waits for {left[0]}: do that first (`doremi jobs` shows all)")
    if name == CORPUS:
        return None
    if not plan.done(node):
        with space.timed(name):
            do(space, None, node, None)
    return planned(space.config, space.directory, None)


def _one(space: Workspace, plan: Graph, corpus: Corpus, node: Node) -> None:
    settings = Context(space.config, plan.known).settings
    assert settings is not None
    do(space, corpus, node, settings)


def own_model(space: Workspace, mixture: str) -> TrainingFolder:
    """The user's own main model: the configured model on a mixture, a file or a name, as limits allow it.

    The reference mixture is left as it is, like its other models.
    """
    check_mixtures(space.config, mixture)
    corpus = prepare(space)
    settle(space, corpus, this_host())
    asked = _asked(space, corpus, mixture)
    space.world.on_main(lambda: _ask(space, asked))
    recorded = replace(space, config=load_run(space.root))  # the run's own; this model joins it
    plan = plan_now(recorded, corpus)
    _one(space, plan, corpus, next(node for node in plan.nodes if node.role == "own" and node.spec == asked.spec))
    plan_now(recorded, corpus)
    return TrainingFolder(space.root / training_place(asked.spec.key))


def _asked(space: Workspace, corpus: Corpus, mixture: str) -> Asked:
    """What the model is made of; `RunError` where its mixture is not there yet."""
    known = look.look(space.config, space.directory, corpus)
    path = space.directory.mixture_path(mixture) if mixture in by_mixture() else Path(mixture)
    if mixture in by_mixture() and not path.exists():
        raise RunError(f"{space.root}: has no mixture {mixture} yet; run `doremi proxy` first")
    name, files = mixture, dict(known.files)
    if path.suffix == ".json":
        name = str(path)
        files[name] = read_mixture(path)
    context = Context(space.config, replace(known, files=files))
    size, seed = space.config.size_name, space.config.seed
    node = Node("", "training", "own", mixture=candidate_name(mixture), size=size, seed=seed)
    node = context.train(node, context.candidate(name), context.why_not(name))
    if not context.allowed(name):
        space.watch.say(f"{name} is the reference mixture and breaks the limits. It is trained as it is.")
    if not isinstance(node.spec, TrainingSpec):
        raise RunError(f"{mixture}: {node.waits}")
    if mixture not in by_mixture():
        record = plain_record(space.config, corpus, name, files)
        space.world.on_main(lambda: _write(space, node.mixture, record))
    return Asked(node.spec, size, node.mixture)


def _write(space: Workspace, mixture: str, record: MixtureRecord) -> None:
    with space.locks.records():
        write_record(space.root / "mixtures" / f"{mixture}.json", record)


def _ask(space: Workspace, asked: Asked) -> None:
    with space.locks.records():
        look.ask(space.root, asked)
