"""The run directory: where things lie, and how they are read and written. The layout is docs/formats.md.

Imports neither torch nor the engine, so that verdict, report and export work on a laptop from a copied directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from doremi.corpus.library import locate
from doremi.corpus.pool import Part, whole
from doremi.corpus.size import WHATS, Given
from doremi.corpus.value import Corpus
from doremi.errors import DamageError, RunError, reason_of
from doremi.files import read_json
from doremi.mixture.record import MixtureRecord, read_own_record
from doremi.rundir.metrics import whole_records, whole_rows
from doremi.rundir.nodes import FILE as NODES
from doremi.rundir.nodes import NodeRecord, Nodes, Role, read_nodes

SPLITS = ("select", "report")


# -- reading a run ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingFolder:
    """A finished or unfinished training folder: reference, proxy or main."""

    folder: Path

    @property
    def finished(self) -> bool:
        return (self.folder / "stage.json").exists()

    def stage(self) -> dict[str, Any]:
        return read_json(self.folder / "stage.json", "finished stage")

    def saved_step(self) -> int:
        """Step of the newest checkpoint, 0 without one."""
        return max((int(p.name[5:]) for p in (self.folder / "checkpoint").glob("step-" + 8 * "[0-9]")), default=0)

    def evaluation(self) -> dict[str, Any]:
        return read_json(self.folder / "evaluation.json", "evaluation")

    def evaluated_documents(self, corpus: Corpus) -> Part:
        """The held-out documents that it was evaluated on at its end; of old trainings all."""
        return tuple(self.stage().get("evaluated_documents", ())) or whole(corpus)

    def bits_per_byte(self) -> tuple[float, ...]:
        """Of each domain over the documents that it was evaluated on, whichever half they are in. `[K]`"""
        evaluation = self.evaluation()
        halves = [zip(evaluation[split]["bits_per_byte"], evaluation[split]["bytes"], strict=True) for split in SPLITS]
        by_domain = [[(bits, size) for bits, size in each if size] for each in zip(*halves, strict=True)]
        return tuple(sum(bits * size for bits, size in each) / sum(size for _, size in each) for each in by_domain)

    def document_nats(self) -> np.ndarray:
        """Nats of each of them, all domains one after the other, float64."""
        return np.fromfile(self.folder / "evaluation.documents.f64", dtype="<f8")

    def records(self, kind: str) -> Iterator[dict[str, Any]]:
        """Whole records of one kind (`header`, `train`, `evaluation`, `alarm`) from metrics.jsonl, in order."""
        yield from (record for _, record in whole_records(self.folder / "metrics.jsonl") if record["kind"] == kind)

    def trace(self) -> dict[str, np.ndarray]:
        """`step`, `learning_rate`, `gradient_norm` `[T]`; `loss`, `tokens`, `weights`, `scores` ... `[T, K]`."""
        header = next(self.records("header"), None)
        if header is None:
            raise DamageError(f"{self.folder / 'metrics.jsonl'}: has no header; remove {self.folder} and run again")
        k, columns = len(header["domains"]), header["trace"]
        rows = whole_rows(self.folder / "trace.f32", 3 + len(columns) * k)
        parts = {name: rows[:, 3 + i * k : 3 + (i + 1) * k] for i, name in enumerate(columns)}
        return {"step": rows[:, 0], "learning_rate": rows[:, 1], "gradient_norm": rows[:, 2], **parts}


@dataclass(frozen=True)
class RunDirectory:
    """`runs/<name>`: paths and readers, no policy. What a training is for says nodes.json (nodes.py)."""

    root: Path

    @property
    def corpus_folder(self) -> Path:
        return self.root / "corpus"

    def corpus(self) -> Corpus:
        """What the run keeps of its corpus: enough to judge, report and export it, but no tokens to train on."""
        return Corpus.read(self.corpus_folder).sized(self.given())

    def whole_corpus(self) -> Corpus:
        """The corpus with its token files, which several runs share; `RunError` where it is gone."""
        return locate(self.corpus_folder).sized(self.given())

    def given(self) -> dict[str, Given]:
        """How large whole domains are, where the configuration says so."""
        said = {name: Given(*(entry.get(what) for what in WHATS)) for name, entry in self._domains().items()}
        return {name: given for name, given in said.items() if given.said is not None}

    def passes(self) -> dict[str, float]:
        """How many passes the natural mixture counts a domain with, where the configuration says so."""
        return {name: float(entry["epochs"]) for name, entry in self._domains().items() if "epochs" in entry}

    def _domains(self) -> dict[str, Any]:
        """The domains of the configuration, as plain values."""
        return self.config().get("data", {}).get("domains", {})

    def nodes(self) -> Nodes:
        """What the run consists of, as it was last planned; `RunError` where nothing was."""
        return read_nodes(self.root)

    def place(self, place: str) -> Path:
        """A place of nodes.json as a path; `DamageError` where it would leave the run directory."""
        if Path(place).is_absolute() or ".." in Path(place).parts or "\0" in place:
            raise DamageError(f"{self.root / 'nodes.json'}: {place!r} is outside the run; remove it and run again")
        return self.root / place

    def training(self, node: NodeRecord) -> TrainingFolder | None:
        """Where a training lies; None where its key is not known yet."""
        return None if node.place is None else TrainingFolder(self.place(node.place))

    def trainings(self, nodes: Iterable[NodeRecord]) -> dict[int, TrainingFolder]:
        """Trainings by seed, as far as their places are known."""
        folders = {node.seed: self.training(node) for node in nodes}
        return {seed: folder for seed, folder in folders.items() if folder is not None}

    def mixture(self, place: str) -> MixtureRecord:
        """A mixture file of this run at a place of nodes.json."""
        return read_own_record(self.place(place))

    def _one(self, role: Role, **wanted: str | int) -> TrainingFolder:
        found = self.nodes().find(role, **wanted)
        if not found:
            raise RunError(f"{self.root}: has no {role} with {', '.join(f'{k} {v}' for k, v in wanted.items())}")
        folder = self.training(found[-1])
        if folder is None:
            raise RunError(f"{self.root}: it is not known yet what {found[-1].id} is made of; `doremi run` goes on")
        return folder

    def main(self, size: str, mixture: str, seed: int) -> TrainingFolder:
        """A candidate's training."""
        return self._one("main", size=size, mixture=mixture, seed=seed)

    def reference(self, seed: int, round: int = 0) -> TrainingFolder:
        """Of a round of the search, where it has several."""
        return self._one("reference", seed=seed, round=round)

    def proxy(self, seed: int, round: int = 0) -> TrainingFolder:
        """Of a round of the search, where it has several."""
        return self._one("proxy", seed=seed, round=round)

    def mixture_path(self, name: str) -> Path:
        """Where the mixture of a candidate is, or will be."""
        path = self.root / NODES
        candidate = self.nodes().candidate(name) if path.exists() else None
        places = [] if candidate is None or candidate.role == "per-seed" else [*candidate.mixtures.values()]
        if places and places[0]:
            return self.root / places[0]
        answer = self.root / "mixture.json"  # of a search whose mixture is no candidate
        mine = answer.exists() and (read_own_record(answer).version or "").startswith(f"{name}.")
        return answer if mine else self.root / "mixtures" / f"{name}.json"

    def status_path(self, *, own_model: bool = False) -> Path:
        """How the last command ended: the run's own, or the last `doremi train --mixture`, which joins the run."""
        return self.root / ("own-model-status.json" if own_model else "status.json")

    def config(self) -> dict[str, Any]:
        """The resolved configuration as plain values."""
        from doremi.config.safe_yaml import parse

        try:
            value = parse((self.root / "config.yaml").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{self.root}: is not a run directory (it has no config.yaml)") from None
        except (OSError, ValueError) as error:
            raise DamageError(
                f"{self.root / 'config.yaml'}: cannot be read ({reason_of(error)}); remove it and run again"
            ) from None
        if not isinstance(value, dict):
            raise DamageError(f"{self.root / 'config.yaml'}: is not a configuration; remove it and run again")
        return value

    def manifest(self) -> dict[str, Any]:
        return read_json(self.root / "manifest.json", "run manifest")
