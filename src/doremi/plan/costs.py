"""What a run consists of, counted before it starts: trainings, tokens, operations, evaluations, bytes left on the disk.

Counts are exact, and of what is really computed: padded batches of an evaluation, the second forward pass of exact
accumulation, the reference's live losses. A run that stops early (iterated DoReMi before its last round, a proxy that
has settled) does less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from doremi.config import RunConfig, TrainingConfig
from doremi.corpus.loader import windows
from doremi.corpus.value import Corpus
from doremi.evaluation.perplexity import TOKENS_PER_BATCH
from doremi.mixture.domains import Mixture
from doremi.mixture.names import LEARNED, PER_SEED
from doremi.mixture.plain import uniform
from doremi.model.build import count_parameters
from doremi.model.operations import Operations, of_model
from doremi.pipeline.equal_compute import search_operations, steps_for
from doremi.pipeline.stages import keeps_losses, make_objective
from doremi.pipeline.workspace import shape_of
from doremi.plan import footprint
from doremi.rundir.layout import RunDirectory
from doremi.rundir.mixtures import mixture_named, plain_record
from doremi.training.checkpoint import KEEP

Role = Literal["search", "candidates", "equal compute"]
Kind = Literal["plain", "proxy", "losses"]


@dataclass(frozen=True)
class Stage:
    """Equal pieces of work: the trainings of a stage at one size, or the losses of references that are kept."""

    name: str
    role: Role
    """The search for DoReMi's mixture, the candidates, or plain candidates that train on for what the search cost."""
    kind: Kind
    """What a calibration has to run."""
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


class _Work(NamedTuple):
    """What a stage is; the fields of `Stage`."""

    name: str
    role: Role
    kind: Kind
    size: str
    number: int


def is_there(mixture: str) -> bool:
    """Whether a plain mixture of the configuration is known: a file may still be made."""
    return not mixture.endswith(".json") or Path(mixture).exists()


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
        return self.corpus.tokenizer.vocab_size

    def operations(self, size: str | None) -> Operations:
        return of_model(shape_of(self.config, size), self.vocab_size, self.length)

    # -- stages ----------------------------------------------------------------------------------------------------

    def stages(self) -> list[Stage]:
        """All that computes, in the order of the run; at most this where rounds may stop early."""
        config, found = self.config, []
        search = config.rounds.max * config.proxy.seeds
        found.append(self._plain("reference", "search", config.size_name, search))
        if keeps_losses(config, self.corpus.training):
            found.append(self._losses(search))
        found.append(self._proxy(search))
        for size in config.size_names():
            number = sum(self.trainings(size, seed) for seed in config.candidate_seeds())
            found.append(self._plain(f"main {size}", "candidates", size, number))
        if config.candidates.equal_compute:
            found += [self._longer(size, search) for size in config.size_names()]
        return found

    def trainings(self, size: str, seed: int) -> int:
        """Candidates of a size and seed that have to be trained: what is trained alike is trained once."""
        config, plain = self.config, self._plain_weights()
        known, others = set(plain.values()), set(config.candidate_mixtures()) - set(plain)
        if config.proxy.seeds == 1:  # the mean of one proxy's weights is that proxy's mixture
            others -= {PER_SEED} if LEARNED in others else set()
        if seed in config.search_seeds() and shape_of(config, size) == shape_of(config):
            reference = mixture_named(config, RunDirectory(config.root), self.corpus, config.reference.mixture)
            known.discard(tuple(reference.aligned(self.corpus.domains)))
        return len(known) + len(others)

    def _plain_weights(self) -> dict[str, tuple[float, ...]]:
        """Weights of the candidates whose mixtures are known before the search, as limits allow them."""
        config, directory = self.config, RunDirectory(self.config.root)
        known = [name for name in config.plain_mixtures() if is_there(name)]
        weights = {name: Mixture(plain_record(config, directory, self.corpus, name)["weights"]) for name in known}
        return {name: tuple(mixture.aligned(self.corpus.domains)) for name, mixture in weights.items()}

    def _longer(self, size: str, search: int) -> Stage:
        """Plain candidates that train on for what the search cost."""
        settings, config = self.settings, self.config
        sequences = search * settings.steps * settings.batch_size
        cost = search_operations(self.operations(None), sequences, sequences)
        steps = settings.steps + steps_for(cost, self.operations(size), settings.batch_size)
        training = config.training.model_copy(update={"steps": steps})
        longer = replace(
            self,
            config=config.model_copy(update={"training": training, "budget_tokens": config.budget}),
            settings=settings.model_copy(update={"steps": steps}),
        )
        plain = self._plain_weights()
        number = (len(set(plain.values())) + len(config.plain_mixtures()) - len(plain)) * config.candidates.seeds
        return longer._plain(f"{size} at equal compute", "equal compute", size, number)

    def _plain(self, name: str, role: Role, size: str, number: int) -> Stage:
        model, each = self._model(size), self.operations(size)
        sequences = self.settings.steps * self.settings.batch_size
        saved = footprint.checkpoint_bytes(model, self.settings, {}, self.device)
        left = saved + footprint.model_bytes(model) + footprint.log_bytes(self.corpus, self.settings.steps)
        training = sequences * each.training + self._evaluated() * each.forward
        return self._stage(_Work(name, role, "plain", size, number), model, training, left, saved)

    def _proxy(self, number: int) -> Stage:
        config, model, each = self.config, self._model(None), self.operations(None)
        sequences = self.settings.steps * self.settings.batch_size
        objective = make_objective(config.proxy, self.corpus.domains, self.vocab_size, uniform(list(config.domains)))
        saved = footprint.checkpoint_bytes(model, self.settings, objective.state_dict(), self.device)
        left = saved + footprint.log_bytes(self.corpus, self.settings.steps)
        scored = each.forward * (int(not keeps_losses(config, self.corpus.training)) + int(self._scores_first()))
        training = sequences * (each.training + scored) + self._evaluated() * each.forward
        work = _Work("proxy", "search", "proxy", config.size_name, number)
        return self._stage(work, model, training, left, saved)

    def _losses(self, number: int) -> Stage:
        model, each = self._model(None), self.operations(None)
        rows, batches = self._stored_rows, self.losses_batches
        return Stage(
            **_Work("stored losses", "search", "losses", self.config.size_name, number)._asdict(),
            parameters=count_parameters(model)[1], tokens=0, operations=number * batches * rows * each.forward,
            steps=0, evaluation_batches=0, saves=0, losses_batches=batches,
            disk=number * footprint.losses_bytes(self.corpus, self.length), spare=0,
        )  # fmt: skip

    def _stage(self, work: _Work, model: Any, operations: int, left: int, saved: int) -> Stage:
        settings, number = self.settings, work.number
        saves = -(-settings.steps // int(settings.checkpoint_every))
        return Stage(
            **work._asdict(), parameters=count_parameters(model)[1],
            tokens=number * self.config.run_tokens, operations=number * operations, steps=settings.steps,
            evaluation_batches=self._evaluations() * self.validation_batches, saves=saves, losses_batches=0,
            disk=number * left, spare=(min(saves, KEEP + 1) - 1) * saved if number else 0,
        )  # fmt: skip

    @property
    def losses_batches(self) -> int:
        """Forward passes that compute the losses of all training sequences, each domain's last one padded."""
        counts = self.corpus.training.count("train", "tokens")
        return sum(-(-windows(n, self.length) // self._stored_rows) for n in counts)

    @property
    def _stored_rows(self) -> int:
        return max(1, self.settings.batch_size // self.settings.accumulation)

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
