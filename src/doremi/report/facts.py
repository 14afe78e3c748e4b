"""What a run directory holds, as plain values: whatever is missing is None or empty, nothing is judged here.

Domain names are taken raw, as the files spell them: a foreign file may hold names that `DomainSet` would refuse,
and the page must show them, escaped. `K` is the number of domains, `T` of steps, `E` of evaluations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from doremi.errors import RunError
from doremi.files import read_json
from doremi.report.words import number, numbers
from doremi.runs import Corpus, RunDirectory, TrainingFolder

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Training:
    """One training folder: `role` is reference, proxy or main; size and mixture only for main models."""

    role: str
    size: str
    mixture: str
    seed: int
    folder: TrainingFolder
    shared: bool  # a link to a reference

    @property
    def finished(self) -> bool:
        return self.folder.finished

    @property
    def title(self) -> str:
        return (
            f"{self.mixture} at size {self.size}, seed {self.seed}" if self.size else f"{self.role}, seed {self.seed}"
        )


@dataclass(frozen=True)
class Facts:
    """Everything the page is made from. Weights are by domain name; `mixtures` holds whole mixture files by name."""

    run: RunDirectory
    name: str
    domains: list[str]
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    corpus: Corpus | None
    verdict: Mapping[str, Any] | None
    mixtures: Mapping[str, Mapping[str, Any]]
    trainings: list[Training]
    timings: list[Mapping[str, Any]]

    def of(self, role: str) -> list[Training]:
        return [t for t in self.trainings if t.role == role]

    def finished(self, role: str) -> list[Training]:
        return [t for t in self.of(role) if t.finished]

    @property
    def doremi(self) -> Mapping[str, Any] | None:
        """DoReMi's own mixture file, once the proxies are done."""
        return self.mixtures.get("doremi")

    @property
    def reference_name(self) -> str:
        """What the reference mixture is called: by the verdict, else by the configuration."""
        named = (self.verdict or {}).get("reference_mixture") or inner(self.config, "reference", "mixture")
        return Path(named).stem if isinstance(named, str) else "reference"  # a mixture may be given as a file

    @property
    def searched_from(self) -> str:
        """What the proxies shown were compared with: the reference mixture, or in a later round the one before."""
        last = self.run.last_search().root
        return (
            f"round {int(last.name) - 1}" if last.parent.name == "rounds" and last.name != "1" else self.reference_name
        )

    @property
    def baseline_name(self) -> str:
        """What candidates are shown against: natural where it was trained, else the reference mixture."""
        candidates = [c.get("name") for c in listing(self.verdict, "candidates")]
        trained = candidates or [t.mixture for t in self.finished("main")]
        return "natural" if "natural" in trained else self.reference_name

    def report_documents(self) -> dict[str, int]:
        """Documents of the report half by domain, as the models were evaluated on them; of those domains that say."""
        held = next((inner(t.folder.evaluation(), "report", "documents") for t in self.trainings if t.finished), None)
        known = zip(self.domains, numbers(held, len(self.domains)), strict=True)
        return {domain: int(number) for domain, number in known if math.isfinite(number)}

    def train_tokens(self) -> list[float]:
        """Training tokens a domain, `[K]`, NaN where unknown."""
        return [number(inner(self._entry(d), "train", "tokens")) for d in self.domains]

    def weights(self, name: str) -> list[float] | None:
        """Weights of a mixture by name in domain order, `[K]`: its file's, else the verdict's; None if neither is."""
        held = inner(self.mixtures.get(name), "weights")
        if isinstance(held, Mapping):
            return [number(held.get(d)) for d in self.domains]
        judged = [c for c in listing(self.verdict, "candidates") if c.get("name") == name]
        return numbers(judged[0].get("weights"), len(self.domains)) if judged else None

    def reference_weights(self) -> list[float] | None:
        """What the reference models were drawn with: as they recorded it, else the file of that name. `[K]`"""
        for training in self.finished("reference"):
            held = training.folder.stage().get("mixture")
            if isinstance(held, Mapping):
                return [number(held.get(d)) for d in self.domains]
        return self.weights(self.reference_name)

    def natural_weights(self) -> list[float] | None:
        """Shares by token count: the natural mixture's file, else from the corpus manifest. `[K]`"""
        before = inner(self.mixtures.get("natural"), "before_limits")
        if isinstance(before, Mapping):
            return [number(before.get(d)) for d in self.domains]
        held = self.weights("natural")
        if held is not None or self.corpus is None:
            return held
        passes = [number(self._entry(d).get("epochs", 1.0)) for d in self.domains]
        sizes = [t * p for t, p in zip(self.train_tokens(), passes, strict=True)]
        total = math.fsum(sizes)
        return [size / total for size in sizes] if total > 0 else None

    def budget(self) -> float:
        """Tokens that epochs are counted at, of the final run or else of one training; NaN if nobody said."""
        stated = [inner(m, "budget_tokens") for m in (self.doremi, *self.mixtures.values())]
        return next((number(b) for b in [*stated, self.config.get("budget_tokens")] if b is not None), math.nan)

    def budgeted_run(self) -> str:
        """What `budget` is the length of: nobody spoke of a final run where the configuration has no budget."""
        return "one training" if self.config.get("budget_tokens") is None else "a final run"

    def kept_share(self) -> float:
        """Share of each domain that models were trained on: 1, but for epoch-matched runs; NaN where unknown."""
        if inner(self.config, "data", "epoch_matched") is not True:
            return 1.0
        sizes = (("training", "steps"), ("training", "batch_size"), ("data", "sequence_length"))
        return min(1.0, math.prod(number(inner(self.config, *key)) for key in sizes) / self.budget())

    def epochs(self, weights: list[float] | None) -> list[float]:
        """Passes over each domain's tokens at the budget, weight x budget / tokens; NaN where unknown. `[K]`"""
        if weights is None:
            return [math.nan] * len(self.domains)
        pairs = zip(weights, self.train_tokens(), strict=True)
        return [w * self.budget() / t if t > 0 else math.nan for w, t in pairs]

    def size(self) -> str | None:
        """The size whose candidates are shown: the verdict's, else the first."""
        judged = (self.verdict or {}).get("size")
        sizes = sorted({t.size for t in self.of("main")})
        return judged if judged in sizes else next(iter(sizes), None)

    def _entry(self, domain: str) -> Mapping[str, Any]:
        return {} if self.corpus is None else self.corpus.manifest["domains"].get(domain, {})


def inner(value: Any, *keys: str) -> Any:
    """`value[a][b]...`, None as soon as one of them is not there."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def listing(value: Any, key: str) -> list[Mapping[str, Any]]:
    """The objects of a list in a file; empty where there is none."""
    held = inner(value, key)
    return [entry for entry in held if isinstance(entry, Mapping)] if isinstance(held, list) else []


def read_facts(run: RunDirectory) -> Facts:
    """Read a run directory; `RunError` if it is none, `DamageError` for a file that cannot be read."""
    if not run.root.is_dir():
        raise RunError(f"{run.root}: there is no such run directory; give the path that `doremi run` wrote to")
    config = run.config()
    corpus = _optional(run.corpus_folder / "manifest.json", lambda: run.corpus())
    verdict = _optional(run.root / "verdict.json", lambda: read_json(run.root / "verdict.json", "verdict"))
    mixtures = _mixtures(run)
    trainings = _trainings(run)
    return Facts(
        run=run,
        name=run.root.resolve().name,
        domains=_domains(corpus, verdict, mixtures, trainings),
        config=config if isinstance(config, Mapping) else {},
        manifest=_optional(run.root / "manifest.json", run.manifest) or {},
        corpus=corpus,
        verdict=verdict,
        mixtures=mixtures,
        trainings=trainings,
        timings=_json_lines(run.root / "timings.jsonl"),
    )


def _optional(path: Path, read: Callable[[], _Read]) -> _Read | None:
    return read() if path.exists() else None


def _mixtures(run: RunDirectory) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    found |= {path.stem: read_json(path, "mixture") for path in sorted((run.root / "mixtures").glob("*.json"))}
    own = run.mixture_path("doremi")
    return found | {"doremi": read_json(own, "mixture")} if own.exists() else found


def _domains(
    corpus: Corpus | None,
    verdict: Mapping[str, Any] | None,
    mixtures: Mapping[str, Mapping[str, Any]],
    trainings: list[Training],
) -> list[str]:
    """Names in manifest order; from the next best file where a copied run has left its corpus behind."""
    if corpus is not None and isinstance(corpus.manifest.get("domains"), Mapping):
        return [str(name) for name in corpus.manifest["domains"]]
    for names in (inner(verdict, "domains"), *(inner(m, "weights") for m in mixtures.values())):
        if names:
            return [str(name) for name in names]
    headers = [header for t in trainings for header in records(t.folder, "header")]
    return [str(name) for name in headers[0].get("domains", [])] if headers else []


def _trainings(run: RunDirectory) -> list[Training]:
    found = []
    for role, pattern in (("reference", "reference/seed-*"), ("proxy", "proxy/seed-*"), ("main", "main/*/*/seed-*")):
        for path in (run if role == "main" else run.last_search()).root.glob(pattern):
            seed = path.name.removeprefix("seed-")
            if not path.is_dir() or not seed.isdecimal():
                continue
            size, mixture = path.parts[-3:-1] if role == "main" else ("", "")
            folder = run.main(size, mixture, int(seed)) if role == "main" else TrainingFolder(path)
            found.append(Training(role, size, mixture, int(seed), folder, (path / "same-as.json").exists()))
    order = {"reference": 0, "proxy": 1, "main": 2}
    return sorted(found, key=lambda t: (order[t.role], t.size, t.mixture != "doremi", t.mixture, t.seed))


def _json_lines(path: Path, marker: str = "") -> list[Mapping[str, Any]]:
    """The objects of a JSON-lines file up to the first line that is none: a running process may be writing it.

    Lines without `marker` are passed over unparsed: a long run has very many, of which few are wanted.
    """
    found = []
    if path.exists():
        for line in path.read_bytes().splitlines():
            if marker.encode() not in line:
                continue
            try:
                value = json.loads(line)
            except ValueError:
                break
            found += [value] if isinstance(value, Mapping) else []
    return found


def records(folder: TrainingFolder, kind: str) -> list[Mapping[str, Any]]:
    """The records of one kind of a training folder, as far as they are written."""
    return [r for r in _json_lines(folder.folder / "metrics.jsonl", f'"{kind}"') if r.get("kind") == kind]


def curve(training: Training, k: int) -> dict[str, np.ndarray]:
    """`tokens` and `step` `[E]`, `loss` and `bits_per_byte` `[E]`: plain means over domains, report split."""
    held = records(training.folder, "evaluation")
    means = {
        unit: np.array([np.mean(numbers(inner(r, "report", unit), k)) for r in held])
        for unit in ("loss", "bits_per_byte")
    }
    return {"step": _column(held, "step"), "tokens": _column(held, "tokens"), **means}


def _column(held: list[Mapping[str, Any]], key: str) -> np.ndarray:
    return np.array([number(r.get(key)) for r in held])


def paths(training: Training, k: int) -> dict[str, np.ndarray] | None:
    """A proxy's `step` `[T]`, `weights` and `scores` `[T, K]`; None while there is no whole trace to read."""
    path = training.folder.folder / "trace.f32"
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        trace = training.folder.trace()
    except (StopIteration, ValueError):  # the header or the last row is being written
        return None
    return trace if trace["weights"].shape[1] == k else None
