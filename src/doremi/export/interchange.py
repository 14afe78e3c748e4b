"""Plain JSON: the mixture with all that is known about it, and the form of DoReMi's official code.

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

from doremi.export.common import Blend, Domain
from doremi.export.files import Files, readme
from doremi.mixture.record import DomainCounts, MixtureRecord, UsedTokenizer

UNIT = "tokens"


def files(blend: Blend, folder: Path) -> Files:
    """`mixture.json` and `doremi.json`; zero weights stay, both readers accept them."""
    weights = {domain.name: float(domain.weight) for domain in blend.domains}
    by_name = dict(sorted(weights.items()))
    yield "mixture.json", _json(_mixture(blend, weights).values())
    yield "doremi.json", _json({"train_domain_weights": by_name, "eval_domain_weights": by_name})
    usage = [
        "With doremi:",
        f"  doremi train my.yaml --mixture {shlex.quote(str(folder.resolve() / 'mixture.json'))}",
        "With the official DoReMi code (which sorts the names, so they are sorted here):",
        f"  --domain_config_path {shlex.quote(str(folder.resolve() / 'doremi.json'))}",
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def _mixture(blend: Blend, weights: dict[str, float]) -> MixtureRecord:
    tokenizer = blend.tokenizer
    changes = {
        "weights": weights,
        "method": blend.record.method or "given",
        "tokenizer": UsedTokenizer(sha256=tokenizer.sha256, vocab_size=tokenizer.vocab_size),
        "budget_tokens": blend.budget_tokens,
        "domains": {domain.name: _counts(domain) for domain in blend.domains},
    }
    return blend.record.model_copy(update=changes)


def _counts(domain: Domain) -> DomainCounts:
    size = domain.size
    whole = Fraction(size.train, domain.tokens) if size.how != "counted" and domain.tokens else 1
    return DomainCounts(
        tokens=domain.size.train,
        documents=round(domain.documents * whole),
        bytes=round(domain.bytes * whole),
        tokens_per_document=domain.tokens_per_document if domain.documents else None,
        epochs=float(domain.epochs),
        size=None if size.how == "counted" else size.how,
        read_tokens=None if size.how == "counted" else domain.tokens,
    )


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()
