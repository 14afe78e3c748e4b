"""What a run consists of, counted before it starts: trainings, tokens, operations, evaluations, bytes left on the disk.

Counts are exact, and of what is really computed: padded batches of an evaluation, the second forward pass of exact
accumulation, the reference's live losses. A run that stops early (iterated DoReMi before its last round) does less.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from doremi import footprint
from doremi.checkpoint import KEEP
from doremi.config import RunConfig, TrainingConfig
from doremi.corpus.loader import windows
from doremi.domains import Mixture
from doremi.evaluation.perplexity import TOKENS_PER_BATCH
from doremi.heuristics import uniform
from doremi.mixtures import mixture_named, plain_record
from doremi.model import count_parameters
from doremi.operations import Operations, of_model
from doremi.runs import Corpus, RunDirectory
from doremi.stages import keeps_losses, make_objective
from doremi.workspace import shape_of


@dataclass(frozen=True)
class Stage:
    """Equal pieces of work: the trainings of a stage at one size, or the losses of references that are kept."""

    name: str
    kind: str
    """plain, proxy or losses: what a calibration has to run."""
    size: str
    number: int
    """How many of them."""
    parameters: int
    tokens: int
    """Trained on, all of them together."""
    operations: int
    """Floating-point operations, all of them together."""
    steps: int
    """Of one."""
    evaluation_batches: int
    """Of one, over all its evaluations."""
    saves: int
    """Checkpoints of one."""
    losses_batches: int
    """Forward passes of one that computes losses to be kept."""
    disk: int
    """Bytes left behind, all of them together."""
    spare: int
    """Bytes more while one of them runs: checkpoints that are dropped at its end."""


@dataclass(frozen=True)
class Counter:
    """What is counted from: a configuration with every `auto` resolved, a corpus (perhaps estimated), a device."""

    config: RunConfig
    settings: TrainingConfig
    corpus: Corpus
    device: torch.device

    @property
    def length(self) -> int:
        return self.config.data.sequence_length

    @property
    def vocab_size(self) -> int:
        return int(self.corpus.manifest["tokenizer"]["vocab_size"])

    def operations(self, size: str | None) -> Operations:
        return _operations(_frozen(shape_of(self.config, size)), self.vocab_size, self.length)

    # -- stages ----------------------------------------------------------------------------------------------------

    def stages(self) -> list[Stage]:
        """All that computes, in the order of the run; at most this where rounds may stop early."""
        config, found = self.config, []
        search, size = config.rounds.max * config.proxy.seeds, config.size_name
        found.append(self._plain("reference", size, None, search))
        if keeps_losses(config, self.corpus):
            found.append(self._losses(search))
        found.append(self._proxy(search))
        for size in config.size_names():
            number = sum(
                not self.is_a_reference(size, name, seed)
                for name in config.candidates.mixtures
                for seed in config.candidate_seeds()
            )
            found.append(self._plain(f"main {size}", size, size, number))
        return found

    def is_a_reference(self, size: str, name: str, seed: int) -> bool:
        """Whether this candidate would be trained exactly as the (first round's) reference, and so is it."""
        config = self.config
        if name == "doremi" or seed not in config.search_seeds() or shape_of(config, size) != shape_of(config):
            return False
        if name.endswith(".json") and not Path(name).exists():
            return False  # it may still be made, and is another mixture then
        directory, domains = RunDirectory(config.root), self.corpus.domains
        candidate = Mixture(plain_record(config, directory, self.corpus, name)["weights"])
        reference = mixture_named(config, directory, self.corpus, config.reference.mixture)
        return candidate.aligned(domains) == reference.aligned(domains)

    def _plain(self, name: str, size_name: str, size: str | None, number: int) -> Stage:
        model, each = self._model(size), self.operations(size)
        sequences = self.settings.steps * self.settings.batch_size
        saved = footprint.checkpoint_bytes(model, self.settings, {}, self.device)
        left = saved + footprint.model_bytes(model) + footprint.log_bytes(self.corpus, self.settings.steps)
        training = sequences * each.training + self._evaluated() * each.forward
        return self._stage(name, "plain", size_name, number, model, training, left, saved)

    def _proxy(self, number: int) -> Stage:
        config, model, each = self.config, self._model(None), self.operations(None)
        sequences = self.settings.steps * self.settings.batch_size
        objective = make_objective(config.proxy, self.corpus.domains, self.vocab_size, uniform(list(config.domains)))
        saved = footprint.checkpoint_bytes(model, self.settings, objective.state_dict(), self.device)
        left = saved + footprint.log_bytes(self.corpus, self.settings.steps)
        scored = each.forward * (int(not keeps_losses(config, self.corpus)) + int(self._scores_first()))
        training = sequences * (each.training + scored) + self._evaluated() * each.forward
        return self._stage("proxy", "proxy", config.size_name, number, model, training, left, saved)

    def _losses(self, number: int) -> Stage:
        model, each = self._model(None), self.operations(None)
        rows = max(1, self.settings.batch_size // self.settings.accumulation)
        batches = sum(-(-windows(n, self.length) // rows) for n in self.corpus.count("train", "tokens"))
        return Stage(
            name="stored losses", kind="losses", size=self.config.size_name, number=number,
            parameters=count_parameters(model)[1], tokens=0, operations=number * batches * rows * each.forward,
            steps=0, evaluation_batches=0, saves=0, losses_batches=batches,
            disk=number * footprint.losses_bytes(self.corpus, self.length), spare=0,
        )  # fmt: skip

    def _stage(
        self, name: str, kind: str, size: str, number: int, model: Any, operations: int, left: int, saved: int
    ) -> Stage:
        settings = self.settings
        saves = -(-settings.steps // int(settings.checkpoint_every))
        return Stage(
            name=name, kind=kind, size=size, number=number, parameters=count_parameters(model)[1],
            tokens=number * self.config.run_tokens, operations=number * operations, steps=settings.steps,
            evaluation_batches=self._evaluations() * self.validation_batches, saves=saves, losses_batches=0,
            disk=number * left, spare=(min(saves, KEEP + 1) - 1) * saved if number else 0,
        )  # fmt: skip

    # -- evaluations ---------------------------------------------------------------------------------------------

    @property
    def validation_batches(self) -> int:
        """Batches of one evaluation, the last one padded."""
        number = sum(-(-n // self.length) for n in self.corpus.count("validation", "tokens"))
        return -(-number // self._rows())

    def _rows(self) -> int:
        return max(1, TOKENS_PER_BATCH // self.length)

    def _evaluations(self) -> int:
        """Of one training: every `evaluate_every` steps before the last, and at the end."""
        return (self.settings.steps - 1) // int(self.settings.evaluate_every) + 1

    def _evaluated(self) -> int:
        """Sequences that one training's evaluations compute."""
        return self._evaluations() * self.validation_batches * self._rows()

    def _scores_first(self) -> bool:
        """Whether a batch is scored in a forward pass of its own."""
        return self.settings.accumulation > 1 and self.config.proxy.update == "exact"

    def _model(self, size: str | None) -> Any:
        return footprint.meta_model(shape_of(self.config, size), self.vocab_size, self.length)


def _frozen(description: dict[str, Any]) -> str:
    return json.dumps(description, sort_keys=True)


@cache
def _operations(description: str, vocab_size: int, sequence_length: int) -> Operations:
    return of_model(json.loads(description), vocab_size, sequence_length)
