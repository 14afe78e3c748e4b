"""Mixtures that others published, by name, with their sources (data/published.json). Figures are as printed, rounded
to four digits; `Mixture` normalises them. They hold for the tokenizer they were found with and rarely for another."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from doremi.errors import MixtureError
from doremi.mixture.domains import Mixture


@cache
def _all() -> dict[str, dict[str, Any]]:
    return json.loads((files("doremi") / "data" / "published.json").read_text(encoding="utf-8"))


def published_names() -> list[str]:
    """Names of the mixtures that ship with doremi."""
    return list(_all())


def published_source(name: str) -> str:
    """Where a published mixture is from."""
    return _all()[name]["source"]


def published_mixture(name: str, other_names: Iterable[str] = ()) -> Mixture:
    """A published mixture; `MixtureError` with the nearest name (of these and `other_names`) if there is none."""
    if name in _all():
        return Mixture(_all()[name]["weights"])
    known = [*other_names, *_all()]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}, or the path of a .json file"
    raise MixtureError(f"there is no mixture {name!r}; {hint}")
