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

from doremi.corpus.value import Corpus
from doremi.errors import RunError
from doremi.files import read_json
from doremi.report.words import number, numbers
from doremi.rundir.layout import RunDirectory, TrainingFolder

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Training:
    """One training folder: `role` is reference, proxy or main; size and mixture only for main models.

    `round` counts from 1 where DoReMi is iterated; 0 for main models and where there is one round only.
    """

    role: str
    size: str
    mixture: str
    seed: int
    folder: TrainingFolder
    shared: bool  # a link to a reference
    round: int = 0

    @property
    def finished(self) -> bool:
        return self.folder.finished

    @property
    def title(self) -> str:
        name = f"{self.mixture} at size {self.size}" if self.size else in_round(self.role, self.round)
        return f"{name}, seed {self.seed}"


@dataclass(frozen=True)
class Facts:
    """Everything the page is made from. Weights are by domain name; `mixtures` holds whole mixture files by name.

    `rounds` holds the mixture files of the rounds of iterated DoReMi by number, as far as they are there.
    """

    run: RunDirectory
    name: str
    domains: list[str]
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    corpus: Corpus | None
    verdict: Mapping[str, Any] | None
    mixtures: Mapping[str, Mapping[str, Any]]
    rounds: Mapping[int, Mapping[str, Any]]
    trainings: list[Training]
    timings: list[Mapping[str, Any]]

    @property
    def last_round(self) -> int:
        """The latest round that has begun, whose mixture is the answer; 0 where there is one round only."""
        return max((t.round for t in self.trainings), default=0)

    def of(self, role: str, number: int | None = None) -> list[Training]:
        """Trainings of a role; references and proxies are those of one round, the last if none is named."""
        wanted = self.last_round if number is None else number
        return [t for t in self.every(role) if role == "main" or t.round == wanted]

    def every(self, role: str) -> list[Training]:
        """Trainings of a role in all rounds."""
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

    def searched_from(self, number: int | None = None) -> str:
        """What the proxies of a round (the last) were compared with: the reference mixture, later the round before."""
        number = self.last_round if number is None else number
        return f"round {number - 1}" if number > 1 else self.reference_name

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
        entries = {} if self.corpus is None else self.corpus.entries
        return [float(entries[d].train.tokens) if d in entries else math.nan for d in self.domains]

    def weights(self, name: str) -> list[float] | None:
        """Weights of a mixture by name in domain order, `[K]`: its file's, else the verdict's; None if neither is."""
        held = inner(self.mixtures.get(name), "weights")
        if isinstance(held, Mapping):
            return [number(held.get(d)) for d in self.domains]
        judged = [c for c in listing(self.verdict, "candidates") if c.get("name") == name]
        return numbers(judged[0].get("weights"), len(self.domains)) if judged else None

    def reference_weights(self, of_round: int | None = None) -> list[float] | None:
        """What a round's (the last's) references were drawn with: as they recorded it, else the file of it. `[K]`"""
        at = self.last_round if of_round is None else of_round
        held = [t.folder.stage().get("mixture") for t in self.of("reference", at) if t.finished]
        held += [found(self.rounds[at - 1])] if at - 1 in self.rounds else []
        known = next((weights for weights in held if isinstance(weights, Mapping)), None)
        return self.weights(self.reference_name) if known is None else [number(known.get(d)) for d in self.domains]

    def natural_weights(self) -> list[float] | None:
        """Shares by token count: the natural mixture's file, else from the corpus manifest. `[K]`"""
        before = inner(self.mixtures.get("natural"), "before_limits")
        if isinstance(before, Mapping):
            return [number(before.get(d)) for d in self.domains]
        held = self.weights("natural")
        if held is not None or self.corpus is None:
            return held
        sizes = self.corpus.natural_sizes(self.run.passes())
        total = math.fsum(sizes.values())
        return [sizes.get(d, math.nan) / total for d in self.domains] if total > 0 else None

    def budget(self) -> float:
        """Tokens that epochs are counted at, of the final run or else of one training; NaN if nobody said."""
        stated = [inner(m, "budget_tokens") for m in (self.doremi, *self.mixtures.values())]
        return next((number(b) for b in [*stated, self.config.get("budget_tokens")] if b is not None), math.nan)

    @property
    def has_budget(self) -> bool:
        """Whether the configuration speaks of a final run."""
        return self.config.get("budget_tokens") is not None

    def budgeted_run(self) -> str:
        """What `budget` is the length of: nobody spoke of a final run where the configuration has no budget."""
        return "a final run" if self.has_budget else "one training"

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


def in_round(what: str, number: int) -> str:
    """`what` with the round that it belongs to, where there are rounds."""
    return f"round {number}, {what}" if number else what


def found(mixture: Mapping[str, Any]) -> Any:
    """Weights by name of a mixture file as they were found, before limits."""
    return mixture.get("before_limits", mixture.get("weights"))


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
        rounds={n: read_json(path, "mixture") for n, path in _round_mixtures(run) if path.exists()},
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
    if corpus is not None:
        return list(corpus.entries)
    for names in (inner(verdict, "domains"), *(inner(m, "weights") for m in mixtures.values())):
        if names:
            return [str(name) for name in names]
    headers = [header for t in trainings for header in records(t.folder, "header")]
    return [str(name) for name in headers[0].get("domains", [])] if headers else []


def _searches(run: RunDirectory) -> list[tuple[int, RunDirectory]]:
    """The rounds that have begun by number; number 0 is the run directory itself where there is one round only."""
    return [(at, run.round(at)) for at in run.begun_rounds()] or [(0, run)]


def _round_mixtures(run: RunDirectory) -> list[tuple[int, Path]]:
    return [(at, search.mixture_path("doremi")) for at, search in _searches(run) if at]


def _trainings(run: RunDirectory) -> list[Training]:
    made = []
    for at, search in _searches(run):
        for role in ("reference", "proxy"):
            made += [
                Training(role, "", "", seed, TrainingFolder(path), shared=False, round=at)
                for path, seed in _seed_folders(search.root, f"{role}/seed-*")
            ]
    for path, seed in _seed_folders(run.root, "main/*/*/seed-*"):
        size, mixture = path.parts[-3:-1]
        shared = (path / "same-as.json").exists()
        made.append(Training("main", size, mixture, seed, run.main(size, mixture, seed), shared))
    order = {"reference": 0, "proxy": 1, "main": 2}
    return sorted(made, key=lambda t: (t.role == "main", t.round, order[t.role], t.size, _first(t.mixture), t.seed))


def _first(mixture: str) -> tuple[bool, str]:
    """DoReMi's own comes before the plain ones."""
    return mixture != "doremi", mixture


def _seed_folders(root: Path, pattern: str) -> list[tuple[Path, int]]:
    named = [(path, path.name.removeprefix("seed-")) for path in root.glob(pattern) if path.is_dir()]
    return [(path, int(seed)) for path, seed in named if seed.isdecimal()]


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
