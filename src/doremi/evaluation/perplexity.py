"""Loss on the fixed validation set, document by document: nats a token, perplexity and bits a byte of each domain.

Every token of the documents in use (corpus/pool.py) is predicted once, its end-of-text token included. A domain's
documents follow one another in windows of the training length, the first one preceded by an end-of-text token. Nothing
is mixed or weighted (paper section 3.1). Shapes: B windows, T tokens, D documents of all domains, K domains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from doremi.corpus.pool import Part, documents_on, in_use
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.model.transfer import to_device, to_host
from doremi.rundir.costs import evaluation_rows
from doremi.rundir.layout import SPLITS


@dataclass(frozen=True)
class Documents:
    """The documents in use, domain after domain and in the order of their files, `[D]` each."""

    domain: NDArray[np.int64]
    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]
    report: NDArray[np.bool_]

    @classmethod
    def read(cls, corpus: Corpus, part: Part) -> Documents:
        each = [documents_on(corpus, name, number) for name, number in zip(corpus.domains, part, strict=True)]
        domain = np.repeat(np.arange(len(each)), [len(d["tokens"]) for d in each])
        return cls(domain, *(np.concatenate([d[key] for d in each]) for key in ("tokens", "bytes", "report")))


def _tokens(
    corpus: Corpus, domain: str, tokens: NDArray[np.unsignedinteger], number: int
) -> NDArray[np.unsignedinteger]:
    """Those of the documents in use."""
    documents = corpus.validation_documents(domain)
    return tokens[np.repeat(in_use(documents["report"], number), documents["tokens"])]


class ValidationSet:
    """The windows of all domains; `nats(forward)` scores them. `tokens` are all that is held out, `part` is in use."""

    def __init__(
        self, corpus: Corpus, tokens: Sequence[NDArray[np.unsignedinteger]], sequence_length: int, part: Part,
        device_memory: int | None = None,
    ) -> None:  # fmt: skip
        self.part = part
        self.documents = Documents.read(corpus, part)
        tokens = [_tokens(corpus, name, t, n) for name, t, n in zip(corpus.domains, tokens, part, strict=True)]
        self.names = corpus.domains.names
        start = corpus.tokenizer.end_of_text_id
        self.sequence_length, self.rows = sequence_length, evaluation_rows(sequence_length, device_memory)
        self._stream = [np.concatenate([[start], t]).astype(np.int64) for t in tokens]
        self._document = np.split(
            np.repeat(np.arange(len(self.documents.tokens)), self.documents.tokens),
            np.cumsum([len(t) for t in tokens])[:-1],
        )
        self._windows = [
            (domain, place) for domain, t in enumerate(tokens) for place in range(0, len(t), sequence_length)
        ]

    def nats(self, forward: Callable[[Tensor, Tensor], Tensor], world: World) -> NDArray[np.float64]:
        """Total loss of each document under `forward(input_BT, label_BT) -> loss_BT`, `[D]`.

        Ranks share the work, and each calls `forward` equally often: where the model is sharded, all take part in it.
        """
        total, rows = np.zeros(len(self.documents.tokens)), self.rows
        waiting: list[tuple[Callable[[], np.ndarray], NDArray[np.int64]]] = []
        for start in range(0, len(self._windows), world.size * rows):
            first = start + world.rank * rows
            blocks = [self._window(*window) for window in self._windows[first : first + rows]]
            input_BT, label_BT, document_BT = self._padded(blocks, rows)
            with torch.no_grad():
                loss_BT = forward(to_device(input_BT, world.device), to_device(label_BT, world.device))
            waiting.append((to_host(loss_BT.double()), document_BT))
            if len(waiting) > 1:  # a batch behind, so that a GPU has its next one meanwhile
                _add(total, *waiting.pop(0))
        for loss, document_BT in waiting:
            _add(total, loss, document_BT)
        return world.sum(torch.from_numpy(total).to(world.device)).cpu().numpy()

    def _window(self, domain: int, place: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        length = self.sequence_length
        return self._stream[domain][place : place + length + 1], self._document[domain][place : place + length]

    def _padded(self, blocks: list[tuple[NDArray[np.int64], NDArray[np.int64]]], rows: int) -> list[NDArray[np.int64]]:
        """Inputs, labels and documents `[rows, T]`, always of that shape; -1 is the document of padding."""
        shape = (rows, self.sequence_length)
        input_BT, label_BT, document_BT = (np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, -1))
        for row, (tokens, documents) in enumerate(blocks):
            used = len(documents)
            input_BT[row, :used], label_BT[row, :used], document_BT[row, :used] = tokens[:-1], tokens[1:], documents
        return [input_BT, label_BT, document_BT]

    def summary(self, nats: NDArray[np.float64]) -> dict[str, dict[str, Any]]:
        """What evaluation.json says of each split (docs/formats.md)."""
        return {split: self._split(nats, self.documents.report == (split == "report")) for split in SPLITS}

    def _split(self, nats: NDArray[np.float64], chosen: NDArray[np.bool_]) -> dict[str, Any]:
        k, documents = len(self.names), self.documents
        domain = documents.domain[chosen]
        count = np.bincount(domain, minlength=k)
        total, tokens, size = (
            np.bincount(domain, weights=x[chosen], minlength=k) for x in (nats, documents.tokens, documents.bytes)
        )
        loss = total / tokens
        bits = total / size / math.log(2)
        return {
            "documents": count.tolist(),
            "tokens": [int(n) for n in tokens],
            "bytes": [int(n) for n in size],
            "loss": loss.tolist(),
            "perplexity": [math.exp(min(x, 700.0)) for x in loss],
            "bits_per_byte": bits.tolist(),
            "mean_loss": float(loss.mean()),
            "mean_bits_per_byte": float(bits.mean()),
            "worst_loss": float(loss.max()),
            "worst_domain": self.names[int(loss.argmax())],
        }


def _add(total: NDArray[np.float64], loss: Callable[[], np.ndarray], document_BT: NDArray[np.int64]) -> None:
    """Add a batch's losses to those of their documents, in place."""
    known = document_BT >= 0
    total += np.bincount(document_BT[known], weights=loss()[known], minlength=len(total))
