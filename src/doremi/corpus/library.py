"""Prepared corpora in one place beside the runs, and what a run keeps of the one that it uses.

    runs/corpora/<16 digits of the key>/    token files, once on the disk, for every run that asks for them
    runs/<name>/corpus/                     what judging needs: manifest, tokenizer, validation documents; and
                                            where.json, which says whose copy it is and where the rest lies

So a run directory that was copied alone can be judged, reported and exported as weights. What reads tokens asks
`locate`. Runs that are moved together with `corpora/` find it beside them, wherever it was before.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from doremi.corpus.manifest import SplitCounts
from doremi.corpus.store import disk_errors, expected_size
from doremi.corpus.value import Corpus
from doremi.errors import DamageError, DoremiError, RunError
from doremi.files import FORMAT, file_sha256, read_json, write_json

CORPORA = "corpora"
DIGITS = 16  # of the key, in the name of a folder; the manifest has all of it
WHERE = "where.json"
_FOR_JUDGING = ("validation.ends", "validation.documents")


def place(runs: Path, key: str) -> Path:
    """Where the corpus with this key lies, beside the runs in `runs`."""
    return runs / CORPORA / key[:DIGITS]


def find(folder: Path, key: str) -> Corpus | None:
    """The prepared corpus in `folder`, None if there is none yet; `DamageError` if it is not the one with this key."""
    if not (folder / "manifest.json").exists():
        return None
    corpus = Corpus.read(folder)
    if corpus.key != key:
        raise DamageError(f"{folder}: holds another corpus (key {corpus.key}); move it elsewhere and run again")
    return corpus


# -- what a run keeps ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Where:
    """Which corpus a run uses; `asked` is the hash of the settings that it was chosen for."""

    key: str
    path: Path
    asked: str


def recorded(copy: Path) -> Where | None:
    """What where.json in a run's corpus folder says; None where the run has no corpus yet."""
    path = copy / WHERE
    if not path.exists():
        return None
    value = read_json(path, "record of a corpus")
    return Where(value["key"], Path(value["path"]), value["asked"])


def locate(copy: Path) -> Corpus:
    """The corpus, with all its files, of the run whose part of it is `copy`: beside the run, else where it was.

    `RunError` where there is none, or none any more.
    """
    where = recorded(copy)
    if where is None:
        raise RunError(f"{copy}: there is no prepared corpus here yet; `doremi prepare` makes it")
    places = dict.fromkeys([place(copy.resolve().parents[1], where.key), where.path])
    for folder in places:
        if (folder / "manifest.json").exists() and (corpus := Corpus.read(folder)).key == where.key:
            return corpus
    raise RunError(
        f"the token files of this run are gone: its corpus is neither in {' nor in '.join(map(str, places))}. "
        "Copy it back, or prepare it again from the same files with `doremi prepare`"
    )


def take(corpus: Corpus, copy: Path, asked: str, *, full_check: bool) -> None:
    """Have in `copy` what judging needs of a corpus, whole or not at all, and that it was asked for with `asked`.

    What is there and right is left alone; `full_check` compares checksums too.
    """
    where = Where(corpus.key, corpus.folder.resolve(), asked)
    if recorded(copy) == where and _is_whole(copy, corpus, full_check):
        return
    with disk_errors(copy):
        temporary = copy.with_name(f".{copy.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name in ("manifest.json", "sources.json"):
            shutil.copy2(corpus.folder / name, temporary / name)
        shutil.copytree(corpus.folder / "tokenizer", temporary / "tokenizer")
        for name in _judged(corpus):
            (temporary / name).parent.mkdir(exist_ok=True)
            shutil.copy2(corpus.folder / name, temporary / name)
        write_json(temporary / WHERE, {"format": FORMAT, "key": where.key, "path": str(where.path), "asked": asked})
        shutil.rmtree(copy, ignore_errors=True)
        temporary.replace(copy)


def _judged(corpus: Corpus) -> dict[str, SplitCounts]:
    """Files of the validation documents, by their paths in the corpus folder, and the counts of their domains."""
    return {f"{e.folder}/{name}": e.validation for e in corpus.entries.values() for name in _FOR_JUDGING}


def _is_whole(copy: Path, corpus: Corpus, full_check: bool) -> bool:
    try:
        return Corpus.read(copy).fingerprint == corpus.fingerprint and all(
            (copy / name).stat().st_size == expected_size(copy / name, counts, 1)
            and (not full_check or file_sha256(copy / name) == counts.files[name])
            for name, counts in _judged(corpus).items()
        )
    except (OSError, DoremiError):
        return False
