"""Mixture files as they are read: ours, or a bare `{"domain": weight}`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from doremi.errors import MixtureError
from doremi.files import FORMAT
from doremi.mixture.domains import Mixture


def read_mixture(path: Path) -> Mixture:
    """Read a `mixture.json`, ours or a bare `{"domain": weight}`; errors name the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_distinct)
    except OSError as error:
        raise MixtureError(f"{path}: cannot be read ({error.strerror}); give the path of a mixture.json") from None
    except (ValueError, RecursionError) as error:
        raise MixtureError(f"{path}: is not JSON ({error}); give the path of a mixture.json") from None
    if isinstance(value, dict) and "format" in value:
        if value["format"] != FORMAT or value.get("unit") != "tokens":
            raise MixtureError(f"{path}: needs format {FORMAT} and unit 'tokens' (fractions of tokens)")
        value = value.get("weights")
    if not isinstance(value, dict):
        raise MixtureError(f"{path}: holds no weights by domain name")
    try:
        return Mixture(value)
    except MixtureError as error:
        raise MixtureError(f"{path}: {error}") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose last of two equal keys would hide the other domain's weight."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return dict(pairs)
