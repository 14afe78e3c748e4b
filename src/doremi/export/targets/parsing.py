"""What the readers of targets share. All raise `ValueError` in words that complete "FILE: ..."."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from doremi.config.safe_yaml import parse
from doremi.export.target import Weights


def number(value: Any) -> Decimal:
    """A weight; its digits as they are written."""
    try:
        found = Decimal(value if isinstance(value, str | Decimal) else repr(value))
    except InvalidOperation:
        raise ValueError(f"the weight {value!r} is not a number") from None
    if isinstance(value, bool) or not found.is_finite() or found < 0:
        raise ValueError(f"the weight {value!r} is not a number that is finite and not negative")
    return found


def pairs(keys: Iterable[Any], weights: Iterable[Any]) -> Weights:
    """Two lists of one length."""
    keys, weights = list(keys), list(weights)
    if len(keys) != len(weights):
        raise ValueError(f"has {len(keys)} names and {len(weights)} weights")
    return [(str(key), number(weight)) for key, weight in zip(keys, weights, strict=True)]


def blend_list(words: Any) -> Weights:
    """Weights and paths by turns."""
    words = words.split() if isinstance(words, str) else words
    if not isinstance(words, list) or not words or len(words) % 2:
        raise ValueError("should be a list of weights and paths by turns")
    return pairs(words[1::2], words[::2])


def mapping(value: Any) -> Weights:
    """Weights by name."""
    if not isinstance(value, dict) or not value:
        raise ValueError("should have weights by name")
    return pairs(value.keys(), value.values())


def json_value(text: str) -> Any:
    """JSON, with numbers as they are written."""
    return json.loads(text, parse_float=Decimal)


def yaml_at(text: str, *keys: str) -> Any:
    """The value below `keys` of a YAML file."""
    return at(parse(text), *keys)


def at(value: Any, *keys: str) -> Any:
    """The value below `keys`."""
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f"has no {'.'.join(keys)}")
        value = value[key]
    return value


def records(value: Any, key: str, weight: str) -> Weights:
    """A list of mappings, or a mapping of them, each with its own key and weight."""
    listed = list(value.values()) if isinstance(value, dict) else value
    found = listed if isinstance(listed, list) else []
    if not found or not all(isinstance(one, Mapping) and {key, weight} <= set(one) for one in found):
        raise ValueError(f"should list {key} and {weight} of each data set")
    return pairs([one[key] for one in found], [one[weight] for one in found])


def assigned(text: str, name: str) -> Any:
    """The literal that a Python file assigns to `name`; nothing of it is run."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f"is not Python ({error.msg}, line {error.lineno})") from None
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return ast.literal_eval(node.value)
    raise ValueError(f"assigns nothing to {name}")
