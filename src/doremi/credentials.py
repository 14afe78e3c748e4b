"""Passwords, keys and tokens: found where they must not stand, and masked in whatever is printed or kept.

They belong into the environment, where the libraries that need them look. An address or an option that holds one is
refused when a configuration is loaded, since configurations are recorded, compared and passed on. Messages of
libraries may name addresses that they have signed themselves, so messages are masked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

MASK = "***"
_SHORTEST = 8  # letters of a value of the environment that is a secret: less is a switch, and stands in any text
_NAME = r"(?:password|passwd|secret|(?:api|access|secret|private)_?key(?:_?id)?)"
_ENVIRONMENT = re.compile(rf"(?i)(?:^|_)(?:{_NAME}|token)$")
_OPTION = re.compile(rf"(?i)(?:^|_){_NAME}$|^(?:(?:use_)?auth_|access_|hf_)?token$")
_PLACES = (
    ("a password in an address", re.compile(r"(?<=://)[^/?#\s@:]*:[^/?#\s]+(?=@)")),
    (
        "a key in an address",
        re.compile(rf"(?i)(?<=[?&])(?:X-(?:Amz|Goog)-[a-z-]+|{_NAME}|[a-z_]*token|signature|sig)=[^&#\s'\")]+"),
    ),
    (
        "an access token",
        re.compile(
            r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{20,}|wandb_v\d+_\w{20,}|gh[pousr]_[A-Za-z0-9]{20,}"
            r"|sk-[\w-]{20,}|AKIA[A-Z0-9]{16})"
        ),
    ),
    (  # as a shell has it
        "a key",
        re.compile(r"(?<![A-Za-z0-9_])(?:[A-Z]+_)*(?:PASSWORD|SECRET|KEY|TOKEN)=[^\s&,;'\")]+"),
    ),
)


def what_is_secret(text: str) -> str | None:
    """What kind of credential `text` holds; None where it holds none that can be told."""
    return _kind(text, _of_environment())


def _kind(text: str, of_environment: Sequence[str]) -> str | None:
    for kind, pattern in _PLACES:
        if pattern.search(text):
            return kind
    if any(value in text for value in of_environment):
        return "a value of the environment that is secret"
    return None


def masked(text: str) -> str:
    """`text` with every credential that can be told replaced by stars."""
    return _masked(text, _of_environment())


def _masked(text: str, of_environment: Sequence[str]) -> str:
    for value in of_environment:
        text = text.replace(value, MASK)
    for _, pattern in _PLACES:
        text = pattern.sub(_mask, text)
    return text


def _mask(found: re.Match[str]) -> str:
    """The name of a parameter stays, its value goes."""
    name, equals, _ = found.group().partition("=")
    return f"{name}={MASK}" if equals else MASK


def _of_environment() -> list[str]:
    """Values of secrets in this process's environment, the longest first."""
    values = {value for name, value in os.environ.items() if _ENVIRONMENT.search(name) and len(value) >= _SHORTEST}
    return sorted(values, key=len, reverse=True)


def secrets_in(value: Any) -> Iterator[tuple[str, str]]:
    """Where in plain values (of YAML) credentials stand, by dotted key, and what kind each is."""
    return _secrets_in(value, "", _of_environment())  # looked through once, for there may be a thousand domains


def _secrets_in(value: Any, key: str, of_environment: Sequence[str]) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            inner = f"{key}.{_masked(str(name), of_environment)}".lstrip(".")
            if isinstance(part, str) and part and _OPTION.search(str(name)):
                yield inner, "a key or password"
            elif kind := _kind(str(name), of_environment):
                yield inner, kind
            else:
                yield from _secrets_in(part, inner, of_environment)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _secrets_in(part, key, of_environment)
    elif isinstance(value, str) and (kind := _kind(value, of_environment)):
        yield key, kind
