"""`doremi-export.json`: what the form of a target cannot hold, so that an import gives the same weights again.

It names the domain of each entry, the mean length that a weight was divided by, and the domains that were left out.
Weights themselves are read from the trainer's own file, which a person may have changed since.
"""

from __future__ import annotations

import json
import posixpath
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from doremi.errors import ExportError, one_line
from doremi.export.blend import Blend
from doremi.export.target import Target, Weights
from doremi.files import FORMAT

NAME = "doremi-export.json"


class EntryRecord(BaseModel):
    """One weight of the export."""

    model_config = ConfigDict(frozen=True)

    key: str
    domain: str
    tokens_per_unit: float


class DomainRecord(BaseModel):
    """One domain at the time of the export. What is null was not known."""

    model_config = ConfigDict(frozen=True)

    weight: float
    tokens: int | None
    tokens_per_document: float | None
    epochs: float | None


class Sidecar(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    target: str
    mixture: str
    file: str
    counts: str
    budget_tokens: int
    domains: dict[str, DomainRecord]
    entries: tuple[EntryRecord, ...]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def sidecar_bytes(blend: Blend, target: Target) -> bytes:
    """The file of an export."""
    value = Sidecar(
        target=target.name,
        mixture=blend.mixture,
        file=target.main,
        counts=target.counts,
        budget_tokens=blend.budget_tokens,
        domains={
            domain.name: DomainRecord(
                weight=float(domain.weight),
                tokens=domain.tokens,
                tokens_per_document=domain.tokens_per_document,
                epochs=None if domain.epochs is None else float(domain.epochs),
            )
            for domain in blend.domains
        },
        entries=tuple(
            EntryRecord(key=entry.key, domain=entry.domain.name, tokens_per_unit=entry.tokens_per_unit)
            for entry in blend.entries
        ),
        dropped=tuple(domain.name for domain in blend.dropped),
        notes=blend.notes,
    )
    return (json.dumps(value.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_sidecar(file: Path) -> Sidecar | None:
    """The sidecar of an exported `file`: the one beside it that names it; None where there is none."""
    path = file.parent / NAME
    if not path.is_file():
        return None
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
        found = Sidecar.model_validate(value)
    except (ValueError, ValidationError, RecursionError) as error:
        reason = one_line(str(error))
        raise ExportError(f"{path}: is not what an export writes ({reason}); remove it, or export again") from None
    return found if found.file == file.name else None


def to_tokens(weights: Weights, sidecar: Sidecar, file: Path) -> dict[str, float]:
    """Shares of tokens by domain out of the weights in a file, those left out as 0.

    `ExportError` for an entry that the export did not have, or one that is gone.
    """
    known = {_plain(entry.key): entry for entry in sidecar.entries}
    found = [(_plain(key), weight) for key, weight in weights]
    for key in {key for key, _ in found} ^ set(known):
        raise ExportError(
            f"{file}: {key!r} is only in one of the file and {NAME}; remove {NAME}, "
            "and say what the names mean with --path"
        )
    tokens: dict[str, Decimal] = dict.fromkeys(sidecar.domains, Decimal(0))
    for key, weight in found:
        tokens[known[key].domain] += weight * Decimal(known[key].tokens_per_unit)
    total = sum(tokens.values())
    return {name: float(value / total) for name, value in tokens.items()}


def _plain(key: str) -> str:
    """A path as a trainer's file may spell it, which some write without the slash at its end."""
    return key if "://" in key else posixpath.normpath(key)
