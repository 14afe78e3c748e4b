"""What a training computes, in floating-point operations: exact, and of what is really computed.

Padded batches of an evaluation, the second forward pass of exact accumulation and the reference's live losses count.
Only how long the documents in use are is known about, where they are not all that are held out.
"""

from __future__ import annotations

from dataclasses import dataclass

from doremi.config import TrainingConfig
from doremi.corpus.loader import windows
from doremi.corpus.pool import first_tokens
from doremi.corpus.value import Corpus
from doremi.rundir.known import Counts
from doremi.rundir.specs import Scoring, TrainingSpec

EVALUATION_TOKENS = 8192  # that a forward pass of an evaluation sees on a CPU, and on the smallest GPU
BYTES_AN_EVALUATED_TOKEN = 2**20  # of a GPU; what a model of 8 billion parameters takes for one is a fifth of it


@dataclass(frozen=True)
class Cost:
    """Of one node."""

    operations: int | None
    """None where they cannot be counted."""
    tokens: int


def evaluations(settings: TrainingConfig) -> int:
    """Of one training: every `evaluate_every` steps before the last, and at the end."""
    return (settings.steps - 1) // int(settings.evaluate_every) + 1


def evaluation_rows(sequence_length: int, device_memory: int | None) -> int:
    """Sequences in a batch of an evaluation; `device_memory` as a training's spec has it."""
    tokens = max(EVALUATION_TOKENS, (device_memory or 0) // BYTES_AN_EVALUATED_TOKEN)
    return max(1, tokens // sequence_length)


def evaluation_batches(corpus: Corpus, sequence_length: int, device_memory: int | None) -> int:
    """Batches of one evaluation in a training, the last one padded; about, where it uses a part of the documents."""
    number = sum(-(-n // sequence_length) for n in first_tokens(corpus))
    return -(-number // evaluation_rows(sequence_length, device_memory))


def losses_batches(corpus: Corpus, sequence_length: int, rows: int) -> int:
    """Forward passes of `rows` sequences over all training sequences, each domain's last one padded."""
    return sum(-(-windows(n, sequence_length) // rows) for n in corpus.training.count("train", "tokens"))


def micro_batch_rows(settings: TrainingConfig) -> int:
    """Sequences in a micro-batch of all processes."""
    return max(1, settings.batch_size // int(settings.accumulation))


def losses_rows(settings: TrainingConfig, sequence_length: int, device_memory: int | None) -> int:
    """Sequences in a forward pass that computes losses to be kept: on a GPU as many as in an evaluation."""
    rows = micro_batch_rows(settings)
    return rows if device_memory is None else max(rows, evaluation_rows(sequence_length, device_memory))


def of_training(spec: TrainingSpec, corpus: Corpus, counts: Counts) -> Cost:
    """A training with its evaluations."""
    if counts.forward is None or counts.training is None:
        return Cost(None, spec.tokens)
    settings, length = spec.settings, spec.sequence_length
    sequences = settings.steps * settings.batch_size
    memory = spec.device_memory
    evaluated = evaluations(settings) * evaluation_batches(corpus, length, memory) * evaluation_rows(length, memory)
    each = counts.training + _scoring_passes(spec.scoring, settings) * counts.forward
    return Cost(sequences * each + evaluated * counts.forward, spec.tokens)


def _scoring_passes(scoring: Scoring | None, settings: TrainingConfig) -> int:
    """Forward passes beside that of the training: the reference's live one, and one that scores a batch first."""
    if scoring is None:
        return 0
    first = int(settings.accumulation) > 1 and scoring.proxy.update == "exact"
    return int(scoring.losses == "live") + int(first)


def of_losses(corpus: Corpus, sequence_length: int, rows: int, counts: Counts) -> Cost:
    """The losses of a reference on all training sequences."""
    batches = losses_batches(corpus, sequence_length, rows)
    return Cost(None if counts.forward is None else batches * rows * counts.forward, 0)


def steps_for(operations: int, counts: Counts, batch_size: int) -> int | None:
    """Training steps of a model that cost so many operations, rounded up; None where they cannot be counted."""
    return None if counts.training is None else -(-operations // (batch_size * counts.training))
