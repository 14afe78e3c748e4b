"""mixture.json as a typed value: weights, and all that is known of where they come from (docs/formats.md).

Only the weights are required. A bare `{"domain": weight}` is read too, and so are keys of other tools, which are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, SerializerFunctionWrapHandler, ValidationError, model_serializer

from doremi.errors import DamageError, MixtureError, one_line
from doremi.files import FORMAT, read_json, write_json
from doremi.mixture.domains import Mixture

UNIT = "tokens"
SAME = 1e-9  # of all tokens: no run can tell such weights apart

Weights = dict[str, float]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Distance(_Part):
    """How far the mixtures of seeds are apart: shares of the tokens, between 0 and 1."""

    mean: float | None
    largest: float | None


class Uncertainty(_Part):
    """Over the seeds that a mixture is the mean of. `interval`: both ends of each weight's; None with one seed."""

    confidence: float
    interval: dict[str, tuple[float | None, float | None]] | None = None
    distance: Distance | None = None


class Settled(_Part):
    """Whether the averaged weights of one seed have settled. `learning_rate`: the share of its peak at the end."""

    settled: bool
    reason: str
    change: float | None
    steps: int
    learning_rate: float | None


class Round(_Part):
    """One round of an iterated search: weights as found, and the change from the mixture before it."""

    round: int
    weights: Weights
    largest_change: float
    domain: str
    stopped: str | None
    """Why the round ended the search; None if it did not."""


class UsedTokenizer(_Part):
    sha256: str
    vocab_size: int | None = None


class DomainCounts(_Part):
    """Training text of a whole domain, and how often the budget goes through it."""

    tokens: int
    documents: int
    bytes: int
    tokens_per_document: float | None
    epochs: float
    size: Literal["given", "estimated"] | None = None
    """How the size is known, where it is not what was read; nothing is said where it is."""
    read_tokens: int | None = None
    """Training tokens that were read, in that case."""

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        held = handler(self)
        return {key: value for key, value in held.items() if value is not None or key not in ("size", "read_tokens")}


class MixtureRecord(BaseModel):
    """One mixture file. What is None is not in the file; the order of the fields is that of the file."""

    model_config = ConfigDict(frozen=True, extra="allow")

    format: int = FORMAT
    unit: str = UNIT
    weights: Weights
    """Fractions of tokens by domain; `mixture` divides those given by hand by their sum."""
    method: str | None = None
    source: str | None = None
    options: dict[str, JsonValue] | None = None
    seeds: tuple[int, ...] | None = None
    per_seed: dict[int, Weights] | None = None
    uncertainty: Uncertainty | None = None
    settled: dict[int, Settled] | None = None
    """By seed."""
    before_limits: Weights | None = None
    """The weights as they were found, where the configuration's limits changed them."""
    tokenizer: UsedTokenizer | None = None
    budget_tokens: int | float | None = None
    domains: dict[str, DomainCounts] | None = None
    version: str | None = None
    """What tells a found mixture from others that the method has made in this run."""
    key: str | None = None
    """Hash of what it was found from."""
    rounds: tuple[Round, ...] | None = None

    @property
    def mixture(self) -> Mixture:
        """The weights to train on; `MixtureError` where they are none."""
        return Mixture(self.weights)

    @property
    def before(self) -> Mixture:
        """The weights as they were before limits; those of `mixture` where no limit changed them."""
        return Mixture(self.weights if self.before_limits is None else self.before_limits)

    def values(self) -> dict[str, Any]:
        """The file as plain JSON values."""
        held = self.model_dump(mode="json")
        return {key: value for key, value in held.items() if value is not None}


def same_weights(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two mixtures are the same, but for the rounding of an export or of a mean."""
    return all(abs(one.get(name, 0.0) - other.get(name, 0.0)) <= SAME for name in {*one, *other})


def read_record(path: Path) -> MixtureRecord:
    """Read anyone's mixture file, ours or a bare `{"domain": weight}`; `MixtureError` names the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_distinct)
    except OSError as error:
        raise MixtureError(f"{path}: cannot be read ({error.strerror}); give the path of a mixture.json") from None
    except (ValueError, RecursionError) as error:
        raise MixtureError(f"{path}: is not JSON ({error}); give the path of a mixture.json") from None
    if isinstance(value, dict) and "format" not in value:
        value = {"weights": value}
    elif isinstance(value, dict) and (value["format"] != FORMAT or value.get("unit") != UNIT):
        raise MixtureError(f"{path}: needs format {FORMAT} and unit {UNIT!r} (fractions of tokens)")
    if not isinstance(value, dict) or not isinstance(value.get("weights"), dict):
        raise MixtureError(f"{path}: holds no weights by domain name")
    try:
        Mixture(value["weights"])
        return MixtureRecord.model_validate(value)
    except MixtureError as error:
        raise MixtureError(f"{path}: {error}") from None
    except ValidationError as error:
        raise MixtureError(f"{path}: {_first(error)}; correct it, or leave it out") from None


def read_own_record(path: Path) -> MixtureRecord:
    """Read a mixture file that a run has written: `RunError` where there is none, `DamageError` for another."""
    try:
        return MixtureRecord.model_validate(read_json(path, "mixture"))
    except ValidationError as error:
        raise DamageError(f"{path}: this mixture is damaged at {_first(error)}; remove it and run again") from None


def write_record(path: Path, record: MixtureRecord) -> None:
    """Write it, atomically."""
    write_json(path, record.values())


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, with its place in the file."""
    one = error.errors()[0]
    return one_line(f"{'.'.join(map(str, one['loc']))} ({one['msg']})")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose last of two equal keys would hide the other domain's weight."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return dict(pairs)
