"""Domains and mixtures: ordered names, and weights on the simplex by name.

`DomainSet` fixes the order that every array with a `K` axis follows; `Mixture` is the only form in which
weights cross a module boundary, so that no weight is ever attached to a position without a name.
Weights are fractions of tokens, everywhere.
"""

from __future__ import annotations

import math
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from doremi.errors import MixtureError

# One folder per domain, one cell in a table, one word in a command line: no path separators, no markup.
_NAME = re.compile(r"[\w(\[{#&+@!%~=$][\w .()+,'#&@!%~=$;:?*^{}\[\]-]{0,79}")
_FILE_NAME = re.compile(r"[\w(][\w .()+,'-]{0,79}")
_BYTES = 200  # file systems allow 255, and we add to names
_SPELLED = {"#": "sharp", "&": "and", "@": "at", "%": "percent"}  # in folders: C, C# and C++ are three domains


def check_domain_name(name: object) -> str:
    """Return `name` if it can be a domain's name, else raise `MixtureError` saying why not.

    A name has 1 to 80 characters: letters, digits, blanks and `_.()+,'-#&@!%~=$;:?*^{}[]`, and does not start with one
    that YAML, shells or file systems give a meaning there. Path separators, quotes and markup (`/\\<>|"`) are refused.
    """
    if not isinstance(name, str):
        raise MixtureError(f"domain name {name!r} is not a string; put it in quotes")
    if not _is_name(name, _NAME):
        raise MixtureError(
            f"domain name {name!r} is not allowed: use 1 to 80 letters, digits, blanks or _.()+,'-#&@!%~=$;:?*^{{}}[] "
            "(no path separators, no markup, no blank or dot at the end)"
        )
    return name


def is_file_name(name: str) -> bool:
    """Whether a run or a mixture may be called so: its name is a folder's as it stands."""
    return _is_name(name, _FILE_NAME)


def _is_name(name: str, pattern: re.Pattern[str]) -> bool:
    whole = pattern.fullmatch(name) and name == name.strip() and not name.endswith(".")
    return bool(whole) and len(name.encode()) <= _BYTES


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def folder_name(name: str) -> str:
    """The folder of a domain: its name with everything that shells and trainers dislike spelled out, or made `-`."""
    spelled = "".join(_SPELLED.get(sign, sign) for sign in name)
    return re.sub(r"[^\w.+-]+", "-", spelled, flags=re.UNICODE).strip("-.") or "domain"


@dataclass(frozen=True)
class DomainSet:
    """Ordered, distinct domain names; index `i` of every `[..., K]` array belongs to `names[i]`."""

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]) -> None:
        object.__setattr__(self, "names", tuple(check_domain_name(name) for name in names))
        if not self.names:
            raise MixtureError("there are no domains: name at least one under data.domains")
        for key in (_fold, folder_name):
            seen: dict[str, str] = {}
            for name in self.names:
                if key(name) in seen:
                    raise MixtureError(
                        f"domain names {seen[key(name)]!r} and {name!r} are the same or too alike; rename one"
                    )
                seen[key(name)] = name

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def index(self, name: str) -> int:
        """Position of `name`; `MixtureError` if there is no such domain."""
        try:
            return self.names.index(name)
        except ValueError:
            raise MixtureError(f"no domain {name!r}; there are {', '.join(self.names)}") from None


@dataclass(frozen=True)
class Mixture:
    """Weights by domain name: finite, not negative, summing to 1 (tokens of each domain per token).

    `Mixture({"web": 2, "code": 1})` normalises; order is kept but has no meaning of its own. Weights that sum to 1
    but for rounding are kept bit by bit, so that a mixture's weights make the same mixture again.
    """

    weights: Mapping[str, float]

    def __init__(self, weights: Mapping[str, float]) -> None:
        checked = {check_domain_name(name): _check_weight(name, value) for name, value in weights.items()}
        if not checked:
            raise MixtureError("a mixture needs at least one domain")
        try:
            total = math.fsum(checked.values())
        except OverflowError:
            raise MixtureError("the weights are too large to be added; divide them all by the same number") from None
        if total <= 0:
            raise MixtureError("all weights are zero; at least one domain needs a positive weight")
        if abs(total - 1) <= len(checked) * 2.0**-52:  # more than rounding each weight does to the sum
            total = 1.0
        object.__setattr__(self, "weights", {name: value / total for name, value in checked.items()})

    def __getitem__(self, name: str) -> float:
        return self.weights[name]

    def aligned(self, domains: DomainSet) -> tuple[float, ...]:
        """Weights in the order of `domains`, `[K]`; `MixtureError` unless the names are the same set."""
        unknown = [name for name in self.weights if name not in domains.names]
        missing = [name for name in domains if name not in self.weights]
        if unknown:
            raise MixtureError(
                f"the mixture has a weight for {unknown[0]!r}, which is not a domain here "
                f"(there are {', '.join(domains)})"
            )
        if missing:
            raise MixtureError(f"the mixture has no weight for domain {missing[0]!r}; give one, 0 if it is left out")
        return tuple(self.weights[name] for name in domains)

    def entropy(self) -> float:
        """Shannon entropy in nats; its exponential is the effective number of domains."""
        return -math.fsum(w * math.log(w) for w in self.weights.values() if w > 0)

    def distance(self, other: Mixture) -> float:
        """Total-variation distance, half the L1 distance: the share of tokens that differs, 0 to 1."""
        names = set(self.weights) | set(other.weights)
        return 0.5 * math.fsum(abs(self.weights.get(n, 0.0) - other.weights.get(n, 0.0)) for n in names)


def _check_weight(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MixtureError(f"the weight of domain {name!r} is {reprlib.repr(value)}, not a number")
    try:
        weight = float(value)
    except OverflowError:  # whole numbers have no largest one
        weight = math.inf
    if not math.isfinite(weight) or weight < 0:
        raise MixtureError(f"the weight of domain {name!r} is {weight:g}; weights are finite and not negative")
    return weight
