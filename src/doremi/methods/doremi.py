"""DoReMi (Xie et al. 2023): references on the data as it is, proxies with Group DRO, the mean of their weights.

Iterated (section 2), a round's mixture is the next round's reference mixture until it stays. `doremi-per-seed` trains
each seed's main model on the mixture of its own proxy: its interval is that of the method.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from doremi.config import RunConfig, TrainingConfig
from doremi.diagnostics.health import running_away
from doremi.diagnostics.uncertainty import CONFIDENCE, spread, uncertainty, whether_settled
from doremi.errors import ConfigError
from doremi.methods.method import Results, rounded
from doremi.mixture.domains import Mixture
from doremi.mixture.files import read_mixture
from doremi.mixture.record import MixtureRecord, Round, Settled
from doremi.rundir.context import Context, Weights
from doremi.rundir.graph import Declared
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.node import Found, Node
from doremi.rundir.specs import MixtureSpec, Scoring, TrainingSpec, canonical
from doremi.rundir.weights import candidate_name

NAME, PER_SEED = "doremi", "doremi-per-seed"


@dataclass(frozen=True)
class _Step:
    """One round: its nodes, the mixture that it makes, and what came of it, once that is known."""

    nodes: tuple[Node, ...]
    mixture: Node
    result: Round | None


class DoReMi:
    """The method as a part of a run's graph."""

    name = NAME
    names = (NAME, PER_SEED)

    def check(self, config: RunConfig) -> None:
        """`ConfigError` for a reference that would need its own result, and for proxies that are not there."""
        if config.reference.mixture in (*self.names, "reference"):
            raise ConfigError(
                f"reference.mixture cannot be {config.reference.mixture}: the reference is trained before it is known"
            )
        if PER_SEED in config.candidates.mixtures and config.candidates.race:
            raise ConfigError(
                f"{PER_SEED} cannot take part in candidates.race, as each of its seeds has another mixture: leave it "
                "out, or set candidates.race to false"
            )
        if PER_SEED in config.candidates.mixtures and config.proxy.seeds < config.candidates.seeds:
            raise ConfigError(
                f"{PER_SEED} needs a proxy for each of the {config.candidates.seeds} seeds under candidates: "
                f"set proxy.seeds to {config.candidates.seeds}"
            )

    def declare(self, context: Context) -> Declared:
        """References, kept losses, proxies and the mixture of each round."""
        steps = list(_rounds(context))
        nodes = [node for step in steps for node in (*step.nodes, step.mixture)]
        config, last = context.config, steps[-1].mixture
        mixtures = {NAME: Found("found", NAME, dict.fromkeys(context.candidate_seeds(), last))}
        if PER_SEED in config.candidates.mixtures:
            each = dict(_each_seed(context, steps[-1]))
            nodes += each.values()
            mixtures[PER_SEED] = Found("per-seed", NAME, each)
        return Declared(tuple(nodes), mixtures)

    def mixture(self, spec: MixtureSpec, results: Results) -> MixtureRecord:
        """The mean of the averaged weights of the proxies."""
        domains = results.corpus.domains
        proxies = {int(seed): folder for seed, folder in results.trainings.items()}
        each = {seed: read_mixture(folder.folder / "mixture.json") for seed, folder in proxies.items()}
        mean = {name: sum(m[name] for m in each.values()) / len(each) for name in domains}
        apart = spread(each, domains)
        return MixtureRecord(
            weights=dict(rounded(Mixture(mean)).weights),
            method=spec.method,
            source=f"{len(each)} {'proxy' if len(each) == 1 else 'proxies'}",
            options=json.loads(spec.options),
            seeds=tuple(each),
            per_seed={seed: {name: m[name] for name in domains} for seed, m in each.items()},
            uncertainty=uncertainty(each, domains, CONFIDENCE),
            settled={seed: _settled(folder, apart) for seed, folder in proxies.items()},
        )

    def history(self, context: Context) -> tuple[Round, ...]:
        """What came of each round so far, where there are several."""
        if context.config.rounds.max == 1:
            return ()
        return tuple(step.result for step in _rounds(context) if step.result is not None)

    def remark(self, context: Context) -> str | None:
        """Whether the rounds move further and further."""
        return running_away([step.model_dump() for step in self.history(context)])


def _settled(folder: TrainingFolder, apart: float | None) -> Settled:
    """Whether a proxy's weights have settled, and how much of its schedule it has seen."""
    stage, weights_TK = folder.stage(), folder.trace()["weights"]
    return whether_settled(weights_TK, steps=stage["steps"], learning_rate=stage["learning_rate"], apart=apart)


# -- rounds ------------------------------------------------------------------------------------------------------------


def _rounds(context: Context) -> Iterator[_Step]:
    """The rounds that are, and those that may still be."""
    config = context.config
    name, weights = config.reference.mixture, context.plain(config.reference.mixture, limits=False)
    for number in range(1, config.rounds.max + 1):
        step = _round(context, number if config.rounds.max > 1 else 0, name, weights, optional=number > 1)
        yield step
        if step.result is not None and step.result.stopped:
            return
        name = f"round {number}"
        weights = None if step.result is None else context.aligned(Mixture(step.result.weights))


def _round(context: Context, number: int, name: str, weights: Weights | None, *, optional: bool) -> _Step:
    """References and proxies over seeds, and their mixture.

    `name` is that of the reference mixture. `number` is 0 where there is one round only.
    """
    prefix = f"{NAME}/round-{number}" if number else NAME
    optional = optional and weights is None
    nodes, proxies = [], {}
    for seed in context.config.search_seeds():
        node = Node(f"{prefix}/reference/seed-{seed}", "training", "reference", seed=seed)
        why = f"waits for {NAME}/round-{number - 1}/mixture" if number > 1 else context.why_not(name)
        reference = context.train(_mine(node, number, optional), weights, why)
        kept = context.keeps_losses()
        store = context.store(
            _mine(Node(f"{prefix}/losses/seed-{seed}", "losses", "losses", seed=seed), number, optional), reference
        )
        proxies[seed] = _proxy(context, prefix, number, reference, store if kept else None)
        nodes += [reference, *([store] if kept else []), proxies[seed]]
    mixture = _mixture(context, f"{prefix}/mixture", number, name, proxies)
    record = context.known.found.get(mixture.spec.key) if isinstance(mixture.spec, MixtureSpec) else None
    result = None
    if record is not None and weights is not None and context.corpus is not None:
        before = dict(zip(context.corpus.domains, weights, strict=True))
        result = result_of_round(context.config, number or 1, before, record)
    return _Step(tuple(nodes), mixture, result)


def _mine(node: Node, number: int, optional: bool) -> Node:
    return replace(node, method=NAME, round=number, optional=optional)


def _proxy(context: Context, prefix: str, number: int, reference: Node, store: Node | None) -> Node:
    node = Node(f"{prefix}/proxy/seed-{reference.seed}", "training", "proxy", seed=reference.seed)
    needs = (reference.id, *([store.id] if store else []))
    node = replace(_mine(node, number, reference.optional), needs=needs)
    key = reference.spec.key if isinstance(reference.spec, TrainingSpec) else ""
    scoring = Scoring(context.config.proxy, key, "live" if store is None else "stored")
    if not key:
        return context.train(node, None, f"waits for {reference.id}", scoring=scoring)
    sampling = context.config.proxy.sampling
    return context.train(node, context.plain(sampling, limits=False), context.why_not(sampling), scoring=scoring)


def _mixture(context: Context, name: str, number: int, reference_mixture: str, proxies: Mapping[int, Node]) -> Node:
    """The node that makes a mixture of proxies."""
    node = Node(name, "mixture", "mixture", needs=tuple(proxy.id for proxy in proxies.values()))
    node = _mine(node, number, any(proxy.optional for proxy in proxies.values()))
    keys = [(str(seed), p.spec.key) for seed, p in proxies.items() if isinstance(p.spec, TrainingSpec)]
    if len(keys) < len(proxies) or context.corpus is None or context.settings is None:
        return replace(node, waits="waits for its proxies")
    config = context.config
    options = canonical(_options(context, context.settings, candidate_name(reference_mixture)))
    corpus, inputs = context.corpus, tuple(keys)
    spec = MixtureSpec(
        NAME, corpus.fingerprint, inputs, config.limits, config.budget, options, sizes=corpus.stated_sizes()
    )
    return replace(node, spec=spec)


def _options(context: Context, settings: TrainingConfig, reference_mixture: str) -> dict[str, Any]:
    """What the weights were found with, beside the data."""
    config = context.config
    return {
        **config.proxy.model_dump(mode="json", exclude={"seeds"}),
        "reference_mixture": reference_mixture,
        "model": config.size_name,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "sequence_length": config.data.sequence_length,
        "learning_rate": settings.learning_rate,
    }


def result_of_round(config: RunConfig, number: int, before: Mapping[str, float], record: MixtureRecord) -> Round:
    """The round's largest change of a weight, in which domain, and why it is the last round, if it is.

    The paper stops when no weight changes by `rounds.until`. A change that lies within the interval of every weight's
    mean over proxies is not told from their spread: another round would walk at random.
    """
    after = record.before
    moved = {name: abs(after[name] - before[name]) for name in after.weights}
    domain = max(moved, key=lambda name: moved[name])
    intervals = record.uncertainty.interval if record.uncertainty else None
    stopped = None
    if moved[domain] < config.rounds.until:
        stopped = f"no weight changed by {config.rounds.until:g}"
    elif intervals and all(_within(before[name], *ends) for name, ends in intervals.items()):
        stopped = "the change is within the spread between proxies"
    return Round(
        round=number, weights=dict(after.weights), largest_change=moved[domain], domain=domain, stopped=stopped
    )


def _within(value: float, low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and low <= value <= high


def _each_seed(context: Context, step: _Step) -> Iterator[tuple[int, Node]]:
    """The mixture of each seed's own proxy."""
    config = context.config
    proxies = {node.seed: node for node in step.nodes if node.role == "proxy"}
    name = config.reference.mixture if step.mixture.round < 2 else f"round {step.mixture.round - 1}"
    for seed in context.candidate_seeds():
        if seed in proxies:
            node = f"{PER_SEED}/mixture/seed-{seed}"
            yield seed, replace(_mixture(context, node, step.mixture.round, name, {seed: proxies[seed]}), seed=seed)
