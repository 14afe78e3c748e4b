"""Numbers and values as text. Everything here takes whatever a file held: a foreign file may hold anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ABSENT = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
NBSP = "\N{NO-BREAK SPACE}"


def inner(value: Any, *keys: str) -> Any:
    """`value[a][b]...`, None as soon as one of them is not there."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def number(value: Any) -> float:
    """`value` as a float; NaN for whatever is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def numbers(values: Any, length: int) -> list[float]:
    """The first `length` entries of a list as floats, NaN where there is none."""
    known = [number(v) for v in values[:length]] if isinstance(values, list | tuple) else []
    return known + [math.nan] * (length - len(known))


def fixed(value: Any, digits: int = 3) -> str:
    """A plain decimal; what is no number is shown as it is, nothing as a dash."""
    if value is None:
        return ABSENT
    x = number(value)
    if not math.isfinite(x):
        return ABSENT if isinstance(value, float) else str(value)
    return f"{x:.{digits}f}".replace("-", MINUS)


def signed(value: Any, digits: int = 3) -> str:
    """A decimal with its sign, `+` included."""
    x = number(value)
    if not math.isfinite(x):
        return fixed(value)
    return f"{x:+.{digits}f}".replace("-", MINUS)


def percent(value: Any, digits: int = 2) -> str:
    """A fraction in per cent; a positive one that would round to nothing is shown as `<` the last digit."""
    x = number(value)
    if not math.isfinite(x):
        return fixed(value)
    least = 10.0**-digits
    if 0 < x * 100 < least / 2:
        return f"<{least:.{digits}f}{NBSP}%"
    return f"{100 * x:.{digits}f}{NBSP}%".replace("-", MINUS)


def signed_percent(value: Any, digits: int = 2) -> str:
    """A change in per cent with its sign."""
    x = number(value)
    return f"{100 * x:+.{digits}f}{NBSP}%".replace("-", MINUS) if math.isfinite(x) else fixed(value)


def count(value: Any) -> str:
    """A count to three digits with k, M, B or T; small ones in full."""
    x = number(value)
    if not math.isfinite(x):
        return fixed(value)
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if x >= size:
            scaled = x / (1e3 if letter == "k" else size)
            return f"{scaled:.{max(0, 2 - int(math.log10(scaled)))}f}{NBSP}{letter}"
    return f"{x:,.0f}"


def passes(value: Any) -> str:
    """Epochs: two decimals, and two digits where these would show next to nothing."""
    x = number(value)
    if 0 < x < 0.1:
        return f"{x:#.2g}" if x >= 1e-4 else "<0.0001"
    return fixed(value, 2)


def factor(value: float) -> str:
    """A ratio: how many times as much."""
    return f"{TIMES}{value:.2f}" if math.isfinite(value) else ABSENT


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f}{NBSP}{unit}"
    return f"{seconds:.1f}{NBSP}s"


def listed(words: Iterable[Any]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    names = [str(w) for w in words]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def plural(n: int, singular: str, many: str = "") -> str:
    """`1 seed`, `2 seeds`, `1,000 domains`."""
    return f"{n:,} {singular if n == 1 else many or singular + 's'}"


def shortened(text: str, length: int) -> str:
    """`text`, with its end replaced by an ellipsis where it is longer than `length`."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def flattened(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, value) pairs, in file order."""
    if isinstance(value, Mapping) and value:
        return [pair for key, inner in value.items() for pair in flattened(inner, f"{prefix}.{key}" if prefix else key)]
    return [(str(prefix), _setting(value))]


def _setting(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_setting(v) for v in value) or "none"
    return str(value) or "none"
