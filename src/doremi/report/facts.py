"""What a run directory holds, as plain values: whatever is missing is None or empty, nothing is judged here.

Domain names are taken raw, as the files spell them: a foreign file may hold names that `DomainSet` would refuse,
and the page must show them, escaped. `K` is the number of domains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from doremi.corpus.value import Corpus
from doremi.errors import RunError
from doremi.files import json_lines
from doremi.mixture.record import MixtureRecord, read_own_record
from doremi.report.trainings import (
    MODEL_ROLES,
    SEARCH_ROLES,
    Training,
    Trainings,
    in_round,
    read_trainings,
    records,
)
from doremi.report.words import inner, number, numbers
from doremi.rundir.known import counts
from doremi.rundir.layout import RunDirectory
from doremi.rundir.named import NamedMixture, named_mixtures, nodes_of
from doremi.rundir.nodes import Nodes, Role
from doremi.verdict.candidates import candidates_of
from doremi.verdict.current import outdated
from doremi.verdict.values import FILE as VERDICT
from doremi.verdict.values import Verdict, read_verdict

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Search:
    """A method's way to a mixture, `name`: its file once it is found, those of its rounds, and what it trained.

    `record` is None until the search has ended. `rounds` are there by number, from 1, where it has several.
    """

    name: str
    method: str
    record: MixtureRecord | None
    rounds: Mapping[int, MixtureRecord]
    trainings: tuple[Training, ...]

    @property
    def last_round(self) -> int:
        """The latest round that has begun, whose mixture is the answer; 0 where there is one round only."""
        return max((t.round for t in self.trainings), default=0)

    def of(self, role: Role, number: int | None = None) -> list[Training]:
        """References or proxies of one round, the last if none is named."""
        wanted = self.last_round if number is None else number
        return [t for t in self.trainings if t.role == role and t.round == wanted]

    def finished(self, role: Role) -> list[Training]:
        """Those of the last round."""
        return [t for t in self.of(role) if t.finished]


@dataclass(frozen=True)
class Facts:
    """Everything the page is made from. Weights are by domain name.

    `nodes` is None where nothing is planned. `verdict` is None also where it is of other models than the run has now;
    `outdated` is then a sentence that says so. `mixtures` holds the mixture files by name, found ones first.
    """

    run: RunDirectory
    name: str
    domains: list[str]
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    corpus: Corpus | None
    nodes: Nodes | None
    verdict: Verdict | None
    outdated: str
    mixtures: Mapping[str, MixtureRecord]
    searches: tuple[Search, ...]
    trainings: tuple[Training, ...]
    foreign: tuple[Training, ...]
    timings: list[Mapping[str, Any]]
    bodies: Mapping[int, int]
    """Parameters without embeddings, by all parameters, of the run's models as far as they were counted."""

    def every(self, *roles: Role) -> list[Training]:
        """Trainings of some roles, in all rounds."""
        return [t for t in self.trainings if t.role in roles]

    def models(self) -> list[Training]:
        """Finished models that were trained on a mixture to see how good it is."""
        return [t for t in self.every(*MODEL_ROLES) if t.finished]

    @property
    def found(self) -> dict[str, MixtureRecord]:
        """Mixtures that a search has found, by name."""
        return {one.name: one.record for one in self.searches if one.record is not None}

    def search_of(self, training: Training) -> Search | None:
        return next((one for one in self.searches if one.method == training.method), None)

    def of_which(self, training: Training) -> str:
        """Whose reference or proxy it is, where there are several searches."""
        search = self.search_of(training)
        return f" of {search.name}" if search is not None and len(self.searches) > 1 else ""

    def title(self, training: Training) -> str:
        """What a training is, whatever its seed."""
        if training.size:
            return f"{training.name} at size {training.size}"
        return in_round(f"{training.role}{self.of_which(training)}", training.round)

    @property
    def reference_name(self) -> str:
        """What the reference mixture is called: by the plan, else by the configuration."""
        named = self.nodes.reference_mixture if self.nodes else inner(self.config, "reference", "mixture")
        return Path(named).stem if isinstance(named, str) and named else "reference"  # it may be given as a file

    def searched_from(self, search: Search | None, number: int | None = None) -> str:
        """What a round (the last) of a search started from: the reference mixture, later the round before."""
        at = number if number is not None or search is None else search.last_round
        return f"round {at - 1}" if at is not None and at > 1 else self.reference_name

    @property
    def baseline_name(self) -> str:
        """What candidates are shown against: the verdict's baseline, else the reference mixture, else natural."""
        if self.verdict is not None:
            return self.verdict.baseline
        trained = [t.mixture for t in self.models()]
        return "natural" if "natural" in trained and self.reference_name not in trained else self.reference_name

    def held_out_documents(self) -> dict[str, int]:
        """By domain, all that is held out; none before there is a corpus."""
        entries = {} if self.corpus is None else self.corpus.entries
        return {domain: entries[domain].validation.documents for domain in self.domains if domain in entries}

    def true_tokens(self) -> list[float]:
        """Training tokens of each whole domain, `[K]`, NaN where unknown."""
        sizes = {} if self.corpus is None else self.corpus.sizes
        return [float(sizes[d].train) if d in sizes else math.nan for d in self.domains]

    def weights(self, name: str) -> list[float] | None:
        """Weights of a mixture by name in domain order, `[K]`: its file's, else the verdict's; None if neither is."""
        if name in self.mixtures:
            return self.in_order(self.mixtures[name].weights)
        judged = self.verdict.candidate(name) if self.verdict else None
        return numbers(judged.weights, len(self.domains)) if judged else None

    def in_order(self, weights: Mapping[str, Any]) -> list[float]:
        """Weights by name in the order of the domains, `[K]`, NaN where there is none."""
        return [number(weights.get(d)) for d in self.domains]

    def reference_weights(self, search: Search | None = None, of_round: int | None = None) -> list[float] | None:
        """What the references of a search (the first) in a round (the last) were drawn with. `[K]`

        As they recorded it, else the file of the round before, else the reference mixture.
        """
        search = search or next(iter(self.searches), None)
        if search is None:
            return self.weights(self.reference_name)
        at = search.last_round if of_round is None else of_round
        held = [t.folder.stage().get("mixture") for t in search.of("reference", at) if t.finished]
        held += [before_limits(search.rounds[at - 1])] if at - 1 in search.rounds else []
        known = next((weights for weights in held if isinstance(weights, Mapping)), None)
        return self.weights(self.reference_name) if known is None else self.in_order(known)

    def natural_weights(self) -> list[float] | None:
        """Shares by token count: the natural mixture's file, else from the corpus manifest. `[K]`"""
        natural = self.mixtures.get("natural")
        if natural is not None:
            return self.in_order(before_limits(natural))
        held = self.weights("natural")
        if held is not None or self.corpus is None:
            return held
        sizes = self.corpus.natural_sizes(self.run.passes())
        total = math.fsum(sizes.values())
        return [sizes.get(d, math.nan) / total for d in self.domains] if total > 0 else None

    def budget(self) -> float:
        """Tokens that epochs are counted at, of the final run or else of one training; NaN if nobody said."""
        stated = [record.budget_tokens for record in self.mixtures.values()]
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
        return min(1.0, self.run_tokens() / self.budget())

    def run_tokens(self) -> float:
        """Tokens of one training, by the configuration; NaN where it does not say."""
        sizes = (("training", "steps"), ("training", "batch_size"), ("data", "sequence_length"))
        return math.prod(number(inner(self.config, *key)) for key in sizes)

    def epochs(self, weights: list[float] | None) -> list[float]:
        """Passes over each domain's tokens at the budget, weight x budget / tokens; NaN where unknown. `[K]`"""
        if weights is None:
            return [math.nan] * len(self.domains)
        pairs = zip(weights, self.true_tokens(), strict=True)
        return [w * self.budget() / t if t > 0 else math.nan for w, t in pairs]

    def size(self) -> str | None:
        """The size whose candidates are shown: the verdict's, else the first."""
        sizes = sorted({t.size for t in self.every(*MODEL_ROLES)})
        judged = self.verdict.size if self.verdict else None
        return judged if judged in sizes else next(iter(sizes), None)


def before_limits(record: MixtureRecord) -> Mapping[str, float]:
    """Weights by name as they were before limits."""
    return record.weights if record.before_limits is None else record.before_limits


def read_facts(run: RunDirectory) -> Facts:
    """Read a run directory; `RunError` if it is none, `DamageError` for a file that cannot be read."""
    if not run.root.is_dir():
        raise RunError(f"{run.root}: there is no such run directory; give the path that `doremi run` wrote to")
    config = run.config()
    corpus = _optional(run.corpus_folder / "manifest.json", lambda: run.corpus())
    verdict = _optional(run.root / VERDICT, lambda: read_verdict(run.root))
    nodes = nodes_of(run)
    why = _outdated(run, nodes, verdict)
    named = [one for one in named_mixtures(nodes) if one.place is not None and run.place(one.place).exists()]
    mixtures = {one.name: run.mixture(one.place) for one in named if one.place is not None}
    trainings = _trainings(run, nodes)
    return Facts(
        run=run,
        name=run.root.resolve().name,
        domains=_domains(corpus, verdict, mixtures, trainings.own),
        config=config if isinstance(config, Mapping) else {},
        manifest=_optional(run.root / "manifest.json", run.manifest) or {},
        corpus=corpus,
        nodes=nodes,
        verdict=None if why else verdict,
        outdated=why,
        mixtures=mixtures,
        searches=tuple(_searches(run, nodes, mixtures, trainings.own)),
        trainings=trainings.own,
        foreign=trainings.foreign,
        timings=json_lines(run.root / "timings.jsonl"),
        bodies={one.parameters: one.body for one in counts(run.root).values()},
    )


def _optional(path: Path, read: Callable[[], _Read]) -> _Read | None:
    return read() if path.exists() else None


def _outdated(run: RunDirectory, nodes: Nodes | None, verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    return "It is not known which models the verdict is of." if nodes is None else outdated(run, nodes, verdict) or ""


def _trainings(run: RunDirectory, nodes: Nodes | None) -> Trainings:
    if nodes is None:
        return Trainings()
    files = {one.name: one.records for one in candidates_of(run, nodes, "")}
    return read_trainings(run, nodes, files)


def _searches(
    run: RunDirectory, nodes: Nodes | None, mixtures: Mapping[str, MixtureRecord], trainings: tuple[Training, ...]
) -> list[Search]:
    return [
        Search(
            name=one.name,
            method=one.method,
            record=_with_rounds(run, mixtures.get(one.name)),
            rounds=_rounds(run, nodes, one),
            trainings=tuple(t for t in trainings if t.role in SEARCH_ROLES and t.method == one.method),
        )
        for one in named_mixtures(nodes)
        if one.role == "found" and nodes is not None
    ]


def _with_rounds(run: RunDirectory, record: MixtureRecord | None) -> MixtureRecord | None:
    """The record with the history of its rounds, which stands in mixture.json: a version knows nothing of others."""
    path = run.root / "mixture.json"
    if record is None or record.version is None or not path.exists():
        return record
    answer = read_own_record(path)
    return record.model_copy(update={"rounds": answer.rounds}) if answer.version == record.version else record


def _rounds(run: RunDirectory, nodes: Nodes, one: NamedMixture) -> dict[int, MixtureRecord]:
    places = {node.round: node.place for node in nodes.find("mixture", method=one.method) if node.round}
    return {at: run.mixture(place) for at, place in places.items() if place is not None and run.place(place).exists()}


def _domains(
    corpus: Corpus | None,
    verdict: Verdict | None,
    mixtures: Mapping[str, MixtureRecord],
    trainings: tuple[Training, ...],
) -> list[str]:
    """Names in manifest order; from the next best file where a copied run has left its corpus behind."""
    if corpus is not None:
        return list(corpus.entries)
    for names in (verdict.domains if verdict else (), *(record.weights for record in mixtures.values())):
        if names:
            return list(names)
    headers = [header for t in trainings for header in records(t.folder, "header")]
    return [str(name) for name in headers[0].get("domains", [])] if headers else []
