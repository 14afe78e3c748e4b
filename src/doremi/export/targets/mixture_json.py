"""JSON: the mixture with all that is known about it, and the form of DoReMi's official code.

`mixture.json` is read by doremi itself. `doremi.json` is what the official code (and the tools that grew from it) takes
as a domain config: names sorted, the same weights for training and evaluation.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from doremi.corpus.value import Corpus
from doremi.export.blend import Blend, Domain
from doremi.export.files import Files, readme
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import at, json_value, mapping
from doremi.mixture.record import DomainCounts, MixtureRecord, UsedTokenizer

UNIT = "tokens"


def _ours(blend: Blend, folder: Path) -> Files:
    """`mixture.json` and, for those who used this target for it, `doremi.json`; zero weights stay."""
    weights = {entry.key: float(entry.weight) for entry in blend.entries}
    yield "mixture.json", _json(_mixture(blend, weights).values())
    yield "doremi.json", _official_json(blend)
    usage = [
        "With doremi:",
        f"  doremi train my.yaml --mixture {shlex.quote(str(folder.resolve() / 'mixture.json'))}",
        *_official_usage(folder),
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def _official(blend: Blend, folder: Path) -> Files:
    """`doremi.json`; zero weights stay."""
    yield "doremi.json", _official_json(blend)
    yield "README.txt", readme(blend, UNIT, _official_usage(folder))


def _official_json(blend: Blend) -> bytes:
    by_name = dict(sorted((entry.key, float(entry.weight)) for entry in blend.entries))
    return _json({"train_domain_weights": by_name, "eval_domain_weights": by_name})


def _official_usage(folder: Path) -> list[str]:
    return [
        "With the official DoReMi code (which sorts the names, so they are sorted here):",
        f"  --domain_config_path {shlex.quote(str(folder.resolve() / 'doremi.json'))}",
    ]


def _mixture(blend: Blend, weights: dict[str, float]) -> MixtureRecord:
    tokenizer = blend.tokenizer
    changes = {
        "weights": weights,
        "method": blend.record.method or "given",
        "tokenizer": UsedTokenizer(sha256=tokenizer.sha256, vocab_size=tokenizer.vocab_size),
        "budget_tokens": blend.budget_tokens,
        # of the user's own paths not all of it is known: doremi-export.json has what is
        "domains": None if blend.mapped else {domain.name: _counts(domain, blend.corpus) for domain in blend.domains},
    }
    return blend.record.model_copy(update=changes)


def _counts(domain: Domain, corpus: Corpus) -> DomainCounts:
    """Of the whole domain, where only a part of it was read."""
    size, read = corpus.sizes[domain.name], corpus.entries[domain.name].train.tokens
    how = None if size.how == "counted" else size.how
    whole = Fraction(size.train, read) if how and read else 1
    return DomainCounts(
        tokens=domain.tokens or 0,
        documents=round((domain.documents or 0) * whole),
        bytes=round((domain.bytes or 0) * whole),
        tokens_per_document=domain.tokens_per_document,
        epochs=float(domain.epochs or 0),
        size=how,
        read_tokens=read if how else None,
    )


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _read_ours(text: str) -> Weights:
    value = json_value(text)
    return mapping(value["weights"] if isinstance(value, dict) and "weights" in value else value)


def _read_official(text: str) -> Weights:
    return mapping(at(json_value(text), "train_domain_weights"))


TARGETS = (
    Target(
        name="json",
        family="plain",
        description="mixture.json, and the official DoReMi domain config",
        unit=UNIT,
        files=_ours,
        main="mixture.json",
        read=_read_ours,
        key="name",
        data="names",
        groups=True,
        keeps_zeros=True,
    ),
    Target(
        name="doremi",
        family="mixers",
        description="the official DoReMi domain config alone",
        unit=UNIT,
        files=_official,
        main="doremi.json",
        read=_read_official,
        key="name",
        data="names",
        groups=True,
        keeps_zeros=True,
    ),
)
