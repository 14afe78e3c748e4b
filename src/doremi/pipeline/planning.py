"""A run's graph from its disk, and what is written down of it: nodes.json, mixtures, links for people."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from doremi.config import RunConfig
from doremi.config.prepared import asked
from doremi.corpus import library
from doremi.corpus.kept import already_kept
from doremi.corpus.value import Corpus
from doremi.errors import DoremiError
from doremi.files import FORMAT, write_json
from doremi.methods import by_mixture, by_name
from doremi.mixture.record import read_own_record, write_record
from doremi.pipeline.look import copy_files, look
from doremi.rundir.context import Context
from doremi.rundir.corpora import find
from doremi.rundir.graph import Graph, graph
from doremi.rundir.known import Known
from doremi.rundir.layout import RunDirectory
from doremi.rundir.nodes import FILE, NodeRecord, read_nodes, write_nodes
from doremi.rundir.weights import candidate_name, plain_record


def planned(config: RunConfig, directory: RunDirectory, corpus: Corpus | None) -> Graph:
    """The graph of a run as its disk is now."""
    return graph(config, look(config, directory, corpus), by_mixture())


def write_plan(config: RunConfig, directory: RunDirectory, plan: Graph) -> None:
    """Write down what the run consists of now; what earlier configurations have left is kept and called so."""
    root = directory.root
    copy_files(config, root)
    earlier = list(_earlier(root, plan))
    record = plan.record(earlier)
    if not (root / FILE).exists() or read_nodes(root) != record:
        write_nodes(root, record)
    if plan.known.corpus is not None:
        _write_plain(config, root, plan.known)
    _write_current(config, root, plan)
    _link(root, plan)


def _earlier(root: Path, plan: Graph) -> Iterator[NodeRecord]:
    """Trainings and mixtures that an earlier plan had, that are on the disk, and that this one does without."""
    if not (root / FILE).exists():
        return
    before = read_nodes(root)
    current = {node.place for node in plan.nodes if node.place}
    seen = set()
    for node in (*before.nodes, *before.earlier):
        wanted = node.kind in ("training", "mixture", "losses") and node.place not in current | seen
        if wanted and node.place is not None and (root / node.place).exists():
            seen.add(node.place)
            yield node


def _write_plain(config: RunConfig, root: Path, known: Known) -> None:
    """mixtures/<name>.json of every mixture that no search finds, as the configuration has it now."""
    assert known.corpus is not None
    for name in dict.fromkeys([*config.candidate_mixtures(), config.reference.mixture]):
        if name in by_mixture() or (name.endswith(".json") and name not in known.files):
            continue
        path = root / "mixtures" / f"{candidate_name(name)}.json"
        record = plain_record(config, known.corpus, name, known.files)
        if not path.exists() or json.loads(path.read_text(encoding="utf-8")) != record.values():
            write_record(path, record)


def _write_current(config: RunConfig, root: Path, plan: Graph) -> None:
    """mixture.json: the first found mixture with the rounds that led to it, there while it is the current one."""
    path = root / "mixture.json"
    found = next((answer for answer in plan.answers if answer.version), None)
    if found is None:
        path.unlink(missing_ok=True)
        return
    place = next(iter(found.mixtures.values()))
    record = read_own_record(root / str(place))
    rounds = by_name(found.method).history(Context(config, plan.known)) or None
    record = record.model_copy(update={"rounds": rounds})
    if not path.exists() or json.loads(path.read_text(encoding="utf-8")) != record.values():
        write_record(path, record)


# -- links for people --------------------------------------------------------------------------------------------------


def _link(root: Path, plan: Graph) -> None:
    """models/<id> -> the model in its training's folder, and the same as models/index.json."""
    wanted = {
        node.id: f"{node.place}/model"
        for node in plan.nodes
        if node.kind == "training" and node.role != "proxy" and plan.done(node)
    }
    if not wanted:
        return
    models = root / "models"
    index = models / "index.json"
    value = {"format": FORMAT, "models": dict(sorted(wanted.items()))}
    if index.exists() and json.loads(index.read_text(encoding="utf-8")) == value:
        return
    shutil.rmtree(models, ignore_errors=True)
    for name, target in wanted.items():
        _symlink(models / name, root / target)
    write_json(index, value)


def _symlink(link: Path, target: Path) -> None:
    """A relative one, so that the run can be moved; nothing where the file system has none."""
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)


def as_it_is(config: RunConfig, directory: RunDirectory) -> Graph:
    """The graph for people who only look: without torch, with the corpus that is there, if there is one."""
    return planned(config, directory, prepared(config, directory))


def prepared(config: RunConfig, directory: RunDirectory) -> Corpus | None:
    """The corpus of a run with what epoch-matched runs keep of it; None before it is prepared.

    Where the corpus itself is gone, what the run keeps of it will do: nothing is trained here.
    """
    corpus, share = _corpus(config, directory), config.kept_share
    if corpus is None:
        return None
    if share == 1:
        return corpus
    return already_kept(corpus, share)


def _corpus(config: RunConfig, directory: RunDirectory) -> Corpus | None:
    try:
        found = find(config)
    except DoremiError:  # its sources are gone, and so it is
        found = None
    where = library.recorded(directory.corpus_folder)
    if found is None and where is not None and where.asked == asked(config.data):
        return directory.corpus().sized(config.data.given)
    return found
