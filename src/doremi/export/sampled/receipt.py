"""`doremi-sample.json`: what a folder was asked for, and what was drawn into it. It is there before the first shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doremi.corpus.value import Corpus
from doremi.drawing.counts import Count
from doremi.errors import ExportError
from doremi.export.blend import Blend
from doremi.files import FORMAT, read_json, write_json

NAME = "doremi-sample.json"


@dataclass(frozen=True)
class Asked:
    """What decides the bytes of a data set. Weights are by domain, of tokens."""

    to: str
    tokens: int
    weights: dict[str, float]
    corpus: str
    """Fingerprint of the corpus."""
    seed: int

    def values(self) -> dict[str, Any]:
        return {"to": self.to, "tokens": self.tokens, "weights": self.weights, "corpus": self.corpus, "seed": self.seed}


_OPTIONS = {
    "to": "--to",
    "tokens": "--tokens",
    "weights": "--mixture",
    "corpus": "RUN or text at its paths",
    "seed": "seed of the run",
}


def check_ours(folder: Path) -> None:
    """`ExportError` for a folder that holds something else than a data set."""
    if (folder / NAME).exists() or not folder.exists():
        return
    if not folder.is_dir() or any(_visible(folder)):
        raise ExportError(f"{folder}: holds something else than a data set of `doremi sample`; choose another folder")


def earlier(folder: Path, asked: Asked) -> dict[str, Any] | None:
    """The receipt of an earlier command with the same settings; None where the folder is new or empty.

    `ExportError` for a folder that holds something else, or a data set of other settings.
    """
    check_ours(folder)
    path = folder / NAME
    if not path.exists():
        return None
    receipt = read_json(path, "receipt of a data set")
    for key, value in asked.values().items():
        if (before := receipt["asked"][key]) != value:
            words = f" ({before}, now {value})" if key in ("to", "tokens", "seed") else ""
            raise ExportError(
                f"{folder}: was begun with another {_OPTIONS[key]}{words}; give that again or choose another folder"
            )
    return receipt


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def values_of(asked: Asked, blend: Blend, counts: Sequence[Count], corpus: Corpus) -> dict[str, Any]:
    """The receipt before anything is written. `corpus` has the documents that are drawn, `[K]` domains as `blend`."""
    domains = {}
    for domain, count, read in zip(blend.domains, counts, corpus.count("train", "tokens"), strict=True):
        size = corpus.sizes[domain.name]
        whole = {"whole_domain_tokens": size.train, "whole_domain_size": size.how} if size.how != "counted" else {}
        domains[domain.name] = {
            "weight": float(domain.weight),
            "intended_tokens": count.intended,
            "tokens": count.tokens,
            "documents": count.draws,
            "epochs": count.tokens / read if read else 0.0,
            "corpus_tokens": read,
            **whole,
        }
    total = {
        "intended_tokens": asked.tokens,
        "tokens": sum(count.tokens for count in counts),
        "documents": sum(count.draws for count in counts),
    }
    return {
        "format": FORMAT,
        "finished": False,
        "mixture": blend.mixture,
        "asked": asked.values(),
        "total": total,
        "domains": domains,
        "notes": list(blend.notes),
        "files": {},
    }


def write_receipt(folder: Path, values: dict[str, Any]) -> Path:
    write_json(folder / NAME, values)
    return folder / NAME
