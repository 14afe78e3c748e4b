"""`doremi clean`: what no current result needs, with its bytes, and its removal when told."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from doremi.config import RunConfig
from doremi.corpus import library
from doremi.errors import RunError
from doremi.files import bytes_below, size_in_words
from doremi.pipeline.planning import as_it_is, write_plan
from doremi.rundir.layout import RunDirectory
from doremi.rundir.lock import CORPUS, Lock
from doremi.rundir.locks import Locks


@dataclass(frozen=True)
class Unneeded:
    """A folder or file that may go."""

    path: Path
    what: str
    bytes: int


def unneeded(config: RunConfig) -> list[Unneeded]:
    """What is no node of the run as it is configured now, and corpora beside it that no run there uses."""
    directory = RunDirectory(config.root)
    plan = as_it_is(config, directory)
    known = ("prepare", "corpus", "verdict")
    unknown = [n.id for n in plan.nodes if n.spec is None and n.kind not in known and not n.optional]
    if unknown:
        raise RunError(
            f"{directory.root}: it is not known yet what {unknown[0]} is made of, so anything may still be needed; "
            "finish the run first, with `doremi run`"
        )
    needed = {node.place for node in plan.nodes if node.place}
    mine = [found for found in _there(directory) if str(found.path.relative_to(directory.root)) not in needed]
    return [*mine, *_unused_corpora(directory.root.parent)]


def _there(directory: RunDirectory) -> Iterator[Unneeded]:
    """All that has a key."""
    names = {node.place: node.id for node in (*directory.nodes().nodes, *directory.nodes().earlier)}
    for pattern in ("trainings/*", "losses/*", "mixtures/*.*.json", "validation/*.json"):
        for path in sorted(directory.root.glob(pattern)):
            size = bytes_below(path) if path.is_dir() else path.stat().st_size
            yield Unneeded(path, names.get(str(path.relative_to(directory.root)), "not named any more"), size)


def _unused_corpora(runs: Path) -> Iterator[Unneeded]:
    """Prepared corpora beside the runs of a folder that none of these runs uses."""
    used = {
        library.place(runs, where.key)
        for path in runs.glob("*/corpus")
        if (where := library.recorded(path)) is not None
    }
    for path in sorted((runs / library.CORPORA).glob("*")):
        if (path / "manifest.json").exists() and path not in used:
            yield Unneeded(path, f"a corpus that no run in {runs} uses", bytes_below(path))


def _remove(path: Path) -> None:
    """A corpus under its lock, so that a run which begins with it now waits, and makes it anew."""
    if path.parent.name == library.CORPORA:
        with Lock(path, path / CORPUS, _silent).alone():
            shutil.rmtree(path)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _silent(message: str) -> None:
    pass


def clean(config: RunConfig, *, remove: bool) -> str:
    """The list in words, after the removal if that is wanted."""
    root = config.root
    if not remove:
        return _listed(unneeded(config), f"Nothing was removed. `doremi clean {root} --remove` removes these.")
    with Locks(root, _silent).alone():
        found = unneeded(config)
        for one in found:
            _remove(one.path)
        write_plan(config, RunDirectory(root), as_it_is(config, RunDirectory(root)))
    return _listed(found, "They are removed.")


def _listed(found: list[Unneeded], end: str) -> str:
    if not found:
        return "All that is here is needed by current results."
    lines = [f"{size_in_words(one.bytes):>10}  {one.path}  ({one.what})" for one in found]
    return "\n".join([*lines, f"{size_in_words(sum(one.bytes for one in found)):>10}  in all. {end}"])
