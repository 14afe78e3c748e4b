"""The run directory: where things lie, and how they are read and written. The layout is docs/formats.md.

Imports neither torch nor the engine, so that verdict, report and export work on a laptop from a copied directory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from doremi.corpus.library import locate
from doremi.corpus.value import Corpus
from doremi.errors import DamageError, RunError, reason_of
from doremi.files import FORMAT, flush_to_disk, read_json, write_bytes
from doremi.mixture.domains import DomainSet
from doremi.mixture.names import LEARNED

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

    def document_nats(self) -> np.ndarray:
        """Nats of each validation document, all domains one after the other, float64."""
        return np.fromfile(self.folder / "evaluation.documents.f64", dtype="<f8")

    def records(self, kind: str) -> Iterator[dict[str, Any]]:
        """Whole records of one kind (`header`, `train`, `evaluation`, `alarm`) from metrics.jsonl, in order."""
        yield from (record for _, record in _whole_records(self.folder / "metrics.jsonl") if record["kind"] == kind)

    def trace(self) -> dict[str, np.ndarray]:
        """`step`, `learning_rate`, `gradient_norm` `[T]`; `loss`, `tokens`, `weights`, `scores` ... `[T, K]`."""
        header = next(self.records("header"), None)
        if header is None:
            raise DamageError(f"{self.folder / 'metrics.jsonl'}: has no header; remove {self.folder} and run again")
        k, columns = len(header["domains"]), header.get("trace", FIRST_TRACE_COLUMNS)
        rows = _whole_rows(self.folder / "trace.f32", 3 + len(columns) * k)
        parts = {name: rows[:, 3 + i * k : 3 + (i + 1) * k] for i, name in enumerate(columns)}
        return {"step": rows[:, 0], "learning_rate": rows[:, 1], "gradient_norm": rows[:, 2], **parts}


TRACE_COLUMNS = ("loss", "tokens", "weights", "scores", "score_error", "reference_loss")
FIRST_TRACE_COLUMNS = TRACE_COLUMNS[:4]  # of logs whose header does not name them


class MetricsWriter:
    """Appends to metrics.jsonl and trace.f32 of one training folder; `cut_back` first when it goes on."""

    def __init__(self, folder: Path, domains: DomainSet, objective: str) -> None:
        self.metrics, self.trace, self.k = folder / "metrics.jsonl", folder / "trace.f32", len(domains)
        self.columns = TRACE_COLUMNS
        names = {"domains": list(domains), "objective": objective, "trace": list(self.columns)}
        self.header = {"kind": "header", "format": FORMAT, **names}

    def cut_back(self, logged: int, evaluated: int) -> None:
        """Keep rows and records of steps up to `logged` and evaluations up to `evaluated`; drop what came after."""
        kept = [_line(self.header)]
        if self.metrics.exists():
            last = {"train": logged, "evaluation": evaluated, "alarm": evaluated}
            whole = _whole_records(self.metrics)
            kept += [line for line, record in whole if record.get("step", 0) <= last.get(record["kind"], -1)]
        write_bytes(self.metrics, "".join(kept).encode())
        rows = _whole_rows(self.trace, 3 + len(self.columns) * self.k)
        write_bytes(self.trace, rows[rows[:, 0] <= logged].tobytes())

    def rows(self, rows: np.ndarray, summary: Mapping[str, Any]) -> None:
        """Append `[n, 3 + 6K]` rows of the trace and the `train` record that sums them up."""
        with self.trace.open("ab") as file:
            file.write(rows.astype("<f4").tobytes())
        self._append({"kind": "train", "step": int(rows[-1, 0]), **summary})

    def evaluation(self, step: int, tokens: int, splits: Mapping[str, Any]) -> None:
        self._append({"kind": "evaluation", "step": step, "tokens": tokens, **splits})

    def alarm(self, step: int, alarm: Mapping[str, Any]) -> None:
        self._append({"kind": "alarm", "step": step, **alarm})

    def flush(self) -> None:
        """Everything written so far is on the disk afterwards."""
        for path in (self.metrics, self.trace):
            flush_to_disk(path)

    def _append(self, record: Mapping[str, Any]) -> None:
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(_line(record))


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n"


def _whole_rows(path: Path, width: int) -> np.ndarray:
    """Rows `[T, width]` of a trace whose last one may have been cut off; none if there is no file."""
    values = np.fromfile(path, dtype="<f4") if path.exists() else np.zeros(0, dtype="<f4")
    return values[: len(values) // width * width].reshape(-1, width)


def _whole_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lines and records of a metrics file up to the first line that is none: the last one may have been cut off."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        raise RunError(f"{path}: there are no metrics here yet; `doremi run` makes them") from None
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not _is_record(record):
            return
        yield line + "\n", record


def _is_record(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if value.get("kind") == "header":
        return isinstance(value.get("domains"), list) and isinstance(value.get("trace", []), list)
    return "kind" in value and isinstance(value.get("step"), int)


_NAME = r"(?!\.)[^/]+"  # of a folder in a link


@dataclass(frozen=True)
class RunDirectory:
    """`runs/<name>`: paths and readers, no policy."""

    root: Path

    @property
    def corpus_folder(self) -> Path:
        return self.root / "corpus"

    def corpus(self) -> Corpus:
        """What the run keeps of its corpus: enough to judge, report and export it, but no tokens to train on."""
        return Corpus.read(self.corpus_folder)

    def whole_corpus(self) -> Corpus:
        """The corpus with its token files, which several runs share; `RunError` where it is gone."""
        return locate(self.corpus_folder)

    def passes(self) -> dict[str, float]:
        """How many passes the natural mixture counts a domain with, where the configuration says so."""
        domains = self.config().get("data", {}).get("domains", {})
        return {name: float(entry["epochs"]) for name, entry in domains.items() if "epochs" in entry}

    def round(self, number: int) -> RunDirectory:
        """Round `number` of an iterated search, 1 the first: references, proxies and mixture as in a run directory."""
        return RunDirectory(self.root / "rounds" / str(number))

    def searches(self, most: int) -> list[RunDirectory]:
        """Where `most` rounds lie: one is the run directory itself."""
        return [self] if most == 1 else [self.round(number + 1) for number in range(most)]

    def begun_rounds(self) -> list[int]:
        """Numbers of the rounds that have begun; once a search has ended, of those that it was made of."""
        begun = sorted(int(p.name) for p in (self.root / "rounds").glob("*") if p.name.isdecimal())
        path = self.mixture_path(LEARNED)
        ended = len(read_json(path, "mixture").get("rounds") or begun) if path.exists() else len(begun)
        return begun[:ended]

    def last_search(self) -> RunDirectory:
        """The latest round of `begun_rounds`; the run directory itself where there is one round only."""
        begun = self.begun_rounds()
        return self.round(begun[-1]) if begun else self

    def reference(self, seed: int) -> TrainingFolder:
        return TrainingFolder(self.root / "reference" / f"seed-{seed}")

    def proxy(self, seed: int) -> TrainingFolder:
        return TrainingFolder(self.root / "proxy" / f"seed-{seed}")

    def main(self, size: str, mixture: str, seed: int) -> TrainingFolder:
        """A candidate's folder, following `same-as.json` where it is another training under a second name."""
        folder = self.root / "main" / size / mixture / f"seed-{seed}"
        link = folder / "same-as.json"
        if link.exists():
            target = str(read_json(link, "link to a training")["folder"])
            if not re.fullmatch(rf"((rounds/1/)?reference|main/{_NAME}/{_NAME})/seed-[0-9]{{1,20}}", target):
                raise DamageError(f"{link}: points outside the run directory's trainings; remove it and run again")
            return TrainingFolder(self.root / target)
        return TrainingFolder(folder)

    def mixture_path(self, name: str) -> Path:
        """Where the mixture of a candidate lies: DoReMi's own at the top, the plain ones under mixtures/."""
        return self.root / "mixture.json" if name == "doremi" else self.root / "mixtures" / f"{name}.json"

    def status_path(self, *, own_model: bool = False) -> Path:
        """How the last command ended: the run's own, or the last `doremi train --mixture`, which joins the run."""
        return self.root / ("own-model-status.json" if own_model else "status.json")

    def candidates(self) -> dict[str, dict[str, list[int]]]:
        """Finished main runs: size -> mixture -> sorted seeds."""
        found: dict[str, dict[str, list[int]]] = {}
        for folder, seed in _seeds((self.root / "main").glob("*/*/seed-*")):
            size, mixture = folder.parts[-3], folder.parts[-2]
            if self.main(size, mixture, seed).finished:
                found.setdefault(size, {}).setdefault(mixture, []).append(seed)
        return {size: {name: sorted(seeds) for name, seeds in byname.items()} for size, byname in found.items()}

    def seeds(self, stage: str) -> list[int]:
        """Seeds of finished folders under `reference` or `proxy`."""
        folders = _seeds((self.root / stage).glob("seed-*"))
        return sorted(seed for folder, seed in folders if TrainingFolder(folder).finished)

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


def _seeds(folders: Iterable[Path]) -> list[tuple[Path, int]]:
    """Folders called `seed-<number>` with their numbers, sorted by path; others are not ours."""
    named = ((folder, folder.name.removeprefix("seed-")) for folder in sorted(folders))
    return [(folder, int(number)) for folder, number in named if re.fullmatch("[0-9]{1,20}", number)]
