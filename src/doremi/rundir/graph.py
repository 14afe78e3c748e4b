"""What a run consists of: every piece of work, what it needs, its key, its place and its cost.

`graph` is a pure function of the configuration and of what is on the disk already (`Known`). It writes nothing and
needs no torch. Rounds, early stops and equal compute need no other mechanism: a finished node makes `Known` larger, and
the graph is asked again. A node whose inputs are not there yet has no spec, and says what it waits for.

Nodes that are alike share a key and a place, whatever they are called: a reference and a candidate on the same mixture
are one training. `Graph.work` has each once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from doremi.config import RunConfig
from doremi.errors import MixtureError, RunError
from doremi.rundir import costs
from doremi.rundir.context import Context
from doremi.rundir.held_out import held_out
from doremi.rundir.known import CORPUS, PREPARE, Known
from doremi.rundir.node import Found, Node
from doremi.rundir.nodes import CandidateRecord, NodeRecord, Nodes, Race
from doremi.rundir.racing import Raced, race
from doremi.rundir.specs import FewshotSpec, ShardSpec, TrainingSpec, canonical
from doremi.rundir.weights import candidate_name

VERDICT = "verdict"
JUDGED = ("main", "longer", "validation", "evaluation", "fewshot")


@dataclass(frozen=True)
class Declared:
    """What a method adds to a run: its search, and the mixtures that it makes by the name of a candidate."""

    nodes: tuple[Node, ...] = ()
    mixtures: Mapping[str, Found] = field(default_factory=dict)
    """The first is the answer of its search, whether it is a candidate or not."""


class Method(Protocol):
    """A way to search for a mixture, as far as the graph knows it (methods/)."""

    @property
    def names(self) -> Sequence[str]:
        """The mixtures that it can make, as `candidates.mixtures` names them."""
        ...

    def declare(self, context: Context) -> Declared:
        """Its part of the graph, as far as it is known now."""
        ...


@dataclass(frozen=True)
class Final:
    """Who is compared at one size, by name, and with which seeds."""

    candidates: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """All nodes in the order of the run."""

    nodes: tuple[Node, ...]
    known: Known
    candidates: tuple[CandidateRecord, ...]
    reference_mixture: str
    finals: Mapping[str, Final | None]
    """By size; None in a race that is not over."""
    races: tuple[Race, ...] = ()
    """By size, where candidates race."""
    answers: tuple[CandidateRecord, ...] = ()
    """The mixture that each search ends with, candidate or not."""
    by_id: Mapping[str, Node] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {node.id: node for node in self.nodes})

    def node(self, name: str) -> Node:
        """`RunError` if there is none of that id."""
        if name not in self.by_id:
            raise RunError(f"this run has no job {name!r}; `doremi jobs` lists them")
        return self.by_id[name]

    def done(self, node: Node) -> bool:
        """Whether its result is there."""
        known, key = self.known, self.key(node)
        if node.kind in ("prepare", "corpus"):
            prepared = known.corpus is not None and bool(known.corpus.training.fingerprint)
            return prepared or (node.kind == "prepare" and known.shards is not None)
        if node.kind == "verdict":
            return self._is_judged()
        if node.kind == "evaluation":
            return node.place in known.evaluated
        there = {
            "training": known.trained, "losses": known.stored, "mixture": known.found, "fewshot": known.answered,
            "validation": known.parts, "shard": known.shards.done if known.shards else (),
        }[node.kind]  # fmt: skip
        return key is not None and key in there

    def key(self, node: Node) -> str | None:
        """None while something that it is made of is not known; so is everything that an estimated corpus gives."""
        if isinstance(node.spec, ShardSpec):
            return node.spec.key
        estimated = self.known.corpus is None or not self.known.corpus.training.fingerprint
        return None if node.spec is None or estimated else node.spec.key

    def ready(self, node: Node) -> bool:
        """Whether it can be done now."""
        return node.complete and not self.done(node) and not self.unfinished(node)

    def unfinished(self, node: Node) -> list[str]:
        """Ids of what it needs and what is not done."""
        return [name for name in node.needs if not self.done(self.by_id[name])]

    def twin(self, node: Node) -> Node | None:
        """The first node that is the same piece of work under another id."""
        identity = self._identity(node)
        first = next(other for other in self.nodes if self._identity(other) == identity)
        return None if first.id == node.id else first

    def work(self, nodes: Sequence[Node] | None = None) -> list[Node]:
        """Nodes without those that are the same piece of work as one before them."""
        seen: set[str] = set()
        found = []
        for node in self.nodes if nodes is None else nodes:
            identity = self._identity(node)
            if identity not in seen:
                found.append(node)
                seen.add(identity)
        return found

    def first_alike(self) -> dict[str, str]:
        """By id, the first node that is the same piece of work: itself, where there is none before it."""
        first: dict[str, str] = {}
        return {node.id: first.setdefault(self._identity(node), node.id) for node in self.nodes}

    def _identity(self, node: Node) -> str:
        """The key; of what has none yet, what it will be made of: with that alike, the keys will be alike too."""
        if node.spec is not None:
            return node.spec.key
        needs = [self.by_id[name] for name in node.needs]
        if node.kind in ("mixture", "fewshot"):
            return " ".join([node.kind, node.method, *(self._identity(other) for other in needs)])
        source = next((other for other in needs if other.kind == "mixture"), None)
        if source is not None:  # a mixture is trained on once a size and seed
            return f"{node.kind} {node.size} {node.seed} on {self._identity(source)}"
        if isinstance(node.draft, TrainingSpec) and node.draft.weights:  # only its number of steps is not known
            return f"{node.role} {node.draft.key}"
        return node.id

    def _is_judged(self) -> bool:
        """Whether verdict.json is of all main models, and of no others, and knows of all that they were asked."""
        if None in self.finals.values():
            return False
        if not all(self.done(node) for node in self.nodes if node.kind in ("validation", "evaluation")):
            return False
        mains = {self.key(node) for node in self.nodes if node.is_final}
        longer = {self.key(node) for node in self.nodes if node.role == "longer"}
        return bool(mains) and mains <= self.known.judged <= mains | longer

    def record(self, earlier: Sequence[NodeRecord] = ()) -> Nodes:
        """As nodes.json has it. `earlier`: what other configurations of this run have left."""
        return Nodes(
            nodes=tuple(self._record(node) for node in self.nodes),
            candidates=self.candidates,
            reference_mixture=self.reference_mixture,
            races=self.races,
            earlier=tuple(earlier),
        )

    def _record(self, node: Node) -> NodeRecord:
        key = self.key(node)
        return NodeRecord(
            id=node.id, kind=node.kind, role=node.role, key=key, place=node.place if key else None, needs=node.needs,
            method=node.method, mixture=node.mixture, size=node.size, seed=node.seed, round=node.round,
        )  # fmt: skip


def graph(config: RunConfig, known: Known, methods: Mapping[str, Method]) -> Graph:
    """The run that a configuration describes, as far as it is known.

    `methods` by the names of the mixtures that they make. `MixtureError` for a mixture or limits that cannot be.
    """
    context = Context(config, known)
    declared = _declared(context, methods)
    found = {name: mixture for part in declared for name, mixture in part.mixtures.items()}
    nodes = [*_preparation(known), *(node for part in declared for node in part.nodes)]
    raced = [_race(context, size, found) for size in config.size_names()] if config.candidates.race else []
    mains = [node for one in raced for node in one.nodes] or list(_mains(context, found))
    nodes += mains
    if config.candidates.equal_compute:
        nodes += _longer(context, found, nodes)
    nodes += held_out(context, nodes)
    nodes += _asked_for(known)
    nodes += _fewshot(config, known, [node for node in nodes if node.role == "longer" or node.is_final])
    races = tuple(one.record for one in raced)
    nodes.append(_verdict(nodes, races))
    reference = candidate_name(config.reference.mixture)
    seeds = tuple(dict.fromkeys(node.seed for node in mains))
    candidates = tuple(_candidate(context, name, found, seeds) for name in config.candidate_mixtures())
    _check_allowed(known, candidates)
    answers = tuple(_candidate(context, next(iter(part.mixtures)), found, seeds) for part in declared if part.mixtures)
    finals = _finals(context, candidates, races)
    return Graph(tuple(nodes), known, candidates, reference, finals, races, answers)


def _declared(context: Context, methods: Mapping[str, Method]) -> list[Declared]:
    """What each method that a candidate is named after adds, once; where there is none, the first one's search."""
    asked = [methods[name] for name in context.config.candidate_mixtures() if name in methods]
    each = {id(method): method for method in asked or list(methods.values())[:1]}
    return [method.declare(context) for method in each.values()]


def _preparation(known: Known) -> Iterator[Node]:
    """The corpus: one job, or several while a large one is being prepared."""
    yield Node(PREPARE, "prepare", "prepare")
    if known.shards is not None:
        ids = [f"shard/{shard.name}" for shard in known.shards.shards]
        for id_, shard in zip(ids, known.shards.shards, strict=True):
            yield Node(id_, "shard", "shard", shard, (PREPARE,))
        yield Node(CORPUS, "corpus", "corpus", needs=tuple(ids))


# -- main models -------------------------------------------------------------------------------------------------------


def _mains(context: Context, found: Mapping[str, Found]) -> Iterator[Node]:
    config = context.config
    for size in config.size_names():
        for seed in context.candidate_seeds():
            for mixture in config.candidate_mixtures():
                yield _main(context, candidate_name(mixture), mixture, size, seed, found.get(mixture))


def _race(context: Context, size: str, found: Mapping[str, Found]) -> Raced:
    mixtures = {candidate_name(mixture): mixture for mixture in context.config.candidate_mixtures()}

    def make(name: str, seed: int, heat: int) -> Node:
        mixture = mixtures[name]
        return replace(_main(context, name, mixture, size, seed, found.get(mixture)), round=heat)

    return race(context, size, make)


def _verdict(nodes: Sequence[Node], races: Sequence[Race]) -> Node:
    judged = tuple(node.id for node in nodes if node.role in JUDGED)
    going_on = any(one.finalists is None for one in races)
    return Node(VERDICT, "verdict", "verdict", needs=judged, waits="waits for the next heat" if going_on else "")


def _finals(context: Context, candidates: Sequence[CandidateRecord], races: Sequence[Race]) -> dict[str, Final | None]:
    if races:
        return {r.size: Final(r.finalists, r.seeds) if r.finalists and r.seeds else None for r in races}
    everyone = Final(tuple(one.name for one in candidates), tuple(context.candidate_seeds()))
    return dict.fromkeys(context.config.size_names(), everyone)


def _main(context: Context, name: str, mixture: str, size: str, seed: int, found: Found | None) -> Node:
    node = Node(f"{size}/{name}/seed-{seed}", "training", "main", mixture=name, size=size, seed=seed)
    if found is None:
        weights, why = context.candidate(mixture), context.why_not(mixture)
        return context.train(node, weights, why)
    source = found.source(seed)
    if source is None:
        return replace(node, waits=f"{name} has no mixture for seed {seed}")
    weights = context.found(source)
    return context.train(replace(node, needs=(source.id,), method=source.method), weights, f"waits for {source.id}")


def _longer(context: Context, found: Mapping[str, Found], nodes: Sequence[Node]) -> list[Node]:
    """Plain mixtures trained on for what each search cost, as many operations as its trainings have really taken."""
    config, made = context.config, []
    plain = [name for name in config.candidate_mixtures() if name not in found]
    methods = [found[name].method for name in config.candidate_mixtures() if name in found]
    for method in dict.fromkeys(methods):
        search = [node for node in nodes if node.method == method and node.role in ("reference", "proxy")]
        for size in config.size_names():
            steps = _steps_of_search(context, search, size)
            for seed in context.candidate_seeds():
                made += [_trained_on(context, mixture, size, seed, steps, search) for mixture in plain]
    return made


def _trained_on(
    context: Context, mixture: str, size: str, seed: int, steps: int | None, search: Sequence[Node]
) -> Node:
    name, method = candidate_name(mixture), search[0].method
    node = Node(f"{size}/{name}+{method}-search/seed-{seed}", "training", "longer", mixture=name, size=size, seed=seed)
    node = replace(node, method=method, needs=tuple(n.id for n in search if not n.optional))
    made = context.train(node, context.candidate(mixture), context.why_not(mixture), more_steps=steps or 0)
    if steps is not None:
        return made
    draft = made.spec if isinstance(made.spec, TrainingSpec) else made.draft
    why = made.waits or "it is not known yet what the search costs"
    return replace(made, spec=None, draft=draft, cost=None, waits=why)


def _steps_of_search(context: Context, search: Sequence[Node], size: str) -> int | None:
    """Steps of a main model of `size` that cost what the search did; None while that is not known."""
    model, own = context.counts(None), context.counts(size)
    if model is None or own is None or model.training is None or model.forward is None:
        return None
    each = {"reference": model.training, "proxy": model.training + model.forward}
    operations, seen = 0, set[str]()
    for node in search:
        if node.optional and node.spec is None and not context.known.assumed:
            continue  # a round that may not be needed
        sequences = context.sequences(node)
        if sequences is None:
            return None
        identity = node.id if node.spec is None else node.spec.key
        if identity not in seen:
            operations += sequences * each[node.role]
            seen.add(identity)
    return costs.steps_for(operations, own, context.config.training.batch_size)


# -- the rest ----------------------------------------------------------------------------------------------------------


def _asked_for(known: Known) -> list[Node]:
    """What was asked for of this corpus; of another one, nothing can be trained any more."""
    ours = None if known.corpus is None else known.corpus.training.fingerprint
    return [
        Node(one.id, "training", one.role, one.spec, (known.corpus_job,), "", one.mixture, one.size, one.spec.seed)
        for one in known.asked
        if ours in (None, one.spec.corpus) or one.spec.key in known.trained
    ]


def _fewshot(config: RunConfig, known: Known, trained: Sequence[Node]) -> list[Node]:
    if config.downstream.tasks is None:
        return []
    nodes = []
    for node in trained:
        spec = _asked(node.spec.key, config, known) if isinstance(node.spec, TrainingSpec) else None
        nodes.append(
            Node(
                f"fewshot/{node.id}", "fewshot", "fewshot", spec, needs=(node.id,), mixture=node.mixture,
                size=node.size, seed=node.seed,
            )
        )  # fmt: skip
    return nodes


def _asked(key: str, config: RunConfig, known: Known) -> FewshotSpec:
    asked = config.downstream.model_dump(mode="json", exclude={"tasks"})
    return FewshotSpec(key, canonical(asked), known.tasks)


def _check_allowed(known: Known, candidates: Sequence[CandidateRecord]) -> None:
    """`MixtureError` where a verdict could recommend nothing. An estimated corpus cannot say so."""
    prepared = known.corpus is not None and known.corpus.fingerprint
    if prepared and not any(one.allowed and one.role != "per-seed" for one in candidates):
        outside = next(one.name for one in candidates if not one.allowed)
        raise MixtureError(
            f"limits: the reference mixture {outside} breaks them, and no other candidate may be recommended; "
            "add one to candidates.mixtures, such as uniform"
        )


def _candidate(context: Context, mixture: str, found: Mapping[str, Found], seeds: Sequence[int]) -> CandidateRecord:
    name = candidate_name(mixture)
    if mixture not in found:
        place = f"mixtures/{name}.json"
        allowed = context.allowed(mixture)
        return CandidateRecord(name=name, role="plain", mixtures=dict.fromkeys(seeds, place), allowed=allowed)
    made = {seed: found[mixture].source(seed) for seed in seeds}
    places = {seed: node.place if node and context.found(node) else None for seed, node in made.items()}
    role = found[mixture].role
    first = next((node for node in made.values() if node is not None), None)
    version = first.version if role == "found" and first is not None and places[seeds[0]] else ""
    return CandidateRecord(name=name, role=role, method=found[mixture].method, mixtures=places, version=version)
