"""What a graph is made with: settings, weights and shapes of a run, as far as they are known, and its trainings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from doremi.config import PLAIN_MIXTURES, RunConfig, TrainingConfig
from doremi.corpus.value import Corpus
from doremi.mixture.domains import Mixture
from doremi.mixture.published import published_names
from doremi.rundir import costs
from doremi.rundir.known import Counts, Known, counts_key
from doremi.rundir.machine import resolved
from doremi.rundir.memory import Work, fitted, logit_bytes
from doremi.rundir.node import Node
from doremi.rundir.peak_rate import peak_rate
from doremi.rundir.specs import LossesSpec, MixtureSpec, Scoring, TrainingSpec, canonical
from doremi.rundir.weights import limited, mixture_named, shape_of

Weights = tuple[float, ...]


@dataclass(frozen=True)
class Context:
    """A configuration and what is known. Everything it gives is None until it is known."""

    config: RunConfig
    known: Known

    @property
    def corpus(self) -> Corpus | None:
        return self.known.corpus

    @cached_property
    def settings(self) -> TrainingConfig | None:
        """Of the search, with every `auto` replaced."""
        counts = self.counts(None)
        if counts is None or self.known.machine is None:
            return None
        settings = resolved(self.config, self.known.machine, counts.parameters)
        return self._fitted(_at_rate(settings, self.rate(None)), None, live=self.keeps_losses() is False)

    def _fitted(self, settings: TrainingConfig, size: str | None, *, live: bool) -> TrainingConfig:
        """With micro-batches, and what is computed again, as the memory of the recorded GPU has them."""
        counts, machine, corpus = self.counts(size), self.known.machine, self.corpus
        if counts is None or machine is None or corpus is None:
            return settings
        length, vocab_size = self.config.data.sequence_length, corpus.tokenizer.vocab_size
        least = machine.micro_batches.get(counts_key(self.model(size), vocab_size, length), 1)
        return fitted(settings, machine, Work(counts, logit_bytes(length, vocab_size), live, least))

    def rate(self, size: str | None) -> float:
        """Peak learning rate of the proxy's model, or of a candidate's size."""
        return peak_rate(self.config, size)

    def counts(self, size: str | None) -> Counts | None:
        """Of the proxy's model, or one of a candidate's size."""
        if self.corpus is None:
            return None
        vocab_size = self.corpus.tokenizer.vocab_size
        return self.known.counts.get(counts_key(self.model(size), vocab_size, self.config.data.sequence_length))

    def model(self, size: str | None) -> str:
        return canonical(shape_of(self.config, size))

    def candidate_seeds(self) -> list[int]:
        """Of main models: as many as configured, and more where the plan of looks has come to more."""
        first, goal = self.config.seed, self.known.goal or 0
        return list(range(first, first + max(self.config.candidates.seeds, goal)))

    def target_weights(self) -> Weights | None:
        """What domains weigh in the average that decides; None before there is a corpus."""
        if self.corpus is None:
            return None
        if self.config.verdict.target == "natural":
            return self.plain("natural", limits=False)
        return (1 / len(self.corpus.domains),) * len(self.corpus.domains)

    # -- mixtures ----------------------------------------------------------------------------------------------------

    def plain(self, name: str, *, limits: bool = True) -> Weights | None:
        """Weights of a mixture that no search has found, in the corpus' order, as limits allow them."""
        if (name, limits) not in self._plain:
            self._plain[name, limits] = self._make_plain(name, limits=limits)
        return self._plain[name, limits]

    @cached_property
    def _plain(self) -> dict[tuple[str, bool], Weights | None]:
        """What has been asked for: every seed and size asks for the same."""
        return {}

    def _make_plain(self, name: str, *, limits: bool) -> Weights | None:
        mixture = self._named(name)
        if mixture is None or self.corpus is None:
            return None
        return self.aligned(limited(self.config, self.corpus, mixture) if limits else mixture)

    def candidate(self, name: str) -> Weights | None:
        """The same for main models: the reference mixture is left as it is, for others are measured against it."""
        return self.plain(name, limits=name != self.config.reference.mixture)

    def allowed(self, name: str) -> bool:
        """Whether a plain candidate keeps the limits; only the reference mixture may not."""
        return self.candidate(name) == self.plain(name)

    def aligned(self, mixture: Mixture) -> Weights:
        assert self.corpus is not None
        return tuple(mixture.aligned(self.corpus.domains))

    def _named(self, name: str) -> Mixture | None:
        if self.corpus is None:
            return None
        if name not in PLAIN_MIXTURES and name not in published_names() and name not in self.known.files:
            return None
        return mixture_named(self.config, self.corpus, name, self.known.files)

    def why_not(self, name: str) -> str:
        """Why a plain mixture is not known."""
        if self.corpus is None:
            return f"waits for {self.known.corpus_job}"
        return f"{name} is not there yet" if self._named(name) is None else "waits for prepare"

    def found(self, node: Node) -> Weights | None:
        """Weights of a mixture that a node makes, once it has."""
        record = self.known.found.get(node.spec.key) if isinstance(node.spec, MixtureSpec) else None
        return None if record is None or self.corpus is None else self.aligned(record.mixture)

    # -- trainings ---------------------------------------------------------------------------------------------------

    def train(
        self,
        node: Node,
        weights: Weights | None,
        why: str,
        *,
        scoring: Scoring | None = None,
        more_steps: int = 0,
        rate: float | None = None,
    ) -> Node:
        """The node as a training on a mixture, or waiting, with the reason, while that is not known.

        `rate`: its peak learning rate, where it is not the one of its size.
        """
        needs = node.needs or (self.known.corpus_job,)
        machine, settings = self.known.machine, self.settings
        if self.corpus is None or settings is None or machine is None:
            why = f"waits for {self.known.corpus_job}" if self.corpus is None else why
            return replace(node, needs=needs, waits=why)
        settings = _at_rate(settings, rate or self.rate(node.size))
        if more_steps:
            settings = settings.model_copy(update={"steps": settings.steps + more_steps})
        size = node.size or None
        asked = self.config.training
        settings = settings.model_copy(update={"accumulation": asked.accumulation, "recompute": asked.recompute})
        settings = self._fitted(settings, size, live=scoring is not None and scoring.losses == "live")
        spec = TrainingSpec(
            corpus=self.corpus.training.fingerprint,
            sequence_length=self.config.data.sequence_length,
            model=self.model(size),
            settings=settings,
            weights=weights or (),
            seed=node.seed,
            scoring=scoring,
            device=machine.device,
            device_memory=machine.device_memory,
        )
        counts = self.counts(size)
        cost = None if counts is None else costs.of_training(spec, self.corpus, counts)
        if weights is None:
            return replace(node, needs=needs, draft=spec, cost=cost, waits=why)
        return replace(node, spec=spec, needs=needs, cost=cost)

    def sequences(self, node: Node) -> int | None:
        """That a training has read; where unfinished ones count as finished (`Known.assumed`), what it will read."""
        trained = None if node.spec is None else self.known.trained.get(node.spec.key)
        if trained is not None:
            return trained.sequences
        spec = node.spec or node.draft
        if not self.known.assumed or not isinstance(spec, TrainingSpec):
            return None
        return spec.settings.steps * spec.settings.batch_size

    def keeps_losses(self) -> bool | None:
        """Whether a reference's losses are computed once and kept: `auto` does so for more than one pass."""
        wanted = self.config.reference.losses
        if wanted != "auto":
            return wanted == "stored"
        if self.corpus is None:
            return None
        return self.config.run_tokens > sum(self.corpus.training.count("train", "tokens"))

    def store(self, node: Node, reference: Node) -> Node:
        """The node as the kept losses of a reference."""
        node = replace(node, needs=(reference.id,))
        waits, counts = f"waits for {reference.id}", self.counts(None)
        if self.corpus is None or self.settings is None or counts is None:
            return replace(node, waits=waits)
        length, machine = self.config.data.sequence_length, self.known.machine
        memory = None if machine is None else machine.device_memory
        cost = costs.of_losses(self.corpus, length, costs.losses_rows(self.settings, length, memory), counts)
        spec = LossesSpec(self.corpus.training.fingerprint, length, reference.spec.key if reference.spec else "")
        if reference.spec is None:
            return replace(node, draft=spec, cost=cost, waits=waits)
        return replace(node, spec=spec, cost=cost)


def _at_rate(settings: TrainingConfig, rate: float) -> TrainingConfig:
    """Settings of one training. Nothing of it depends on the rates of other sizes, so they are not part of it."""
    return settings.model_copy(update={"learning_rate": rate, "learning_rates": {}})
