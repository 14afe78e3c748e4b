"""Whole numbers as people write them: 3e11, 1.5e3, 300B, 10M, 1_000; in sizes of bytes 30MB, 64KiB, 2G."""

from __future__ import annotations

import re
import reprlib
from decimal import Decimal
from typing import Any

MOST_DIGITS = 19  # 64 bits, as in safe_yaml.py: more is a mistake, and 1e999999999 would fill the memory
_NUMBER = re.compile(r"([-+]?(?:\d[\d_]{0,39})?(?:\.\d{0,40})?)(?:[eE]([-+]?\d{1,3})|[ ]?([a-zA-Z]{1,3}))?")
_THOUSANDS = {"k": 1, "m": 2, "b": 3, "g": 3, "t": 4}
COUNTS = {letter: 1000**power for letter, power in _THOUSANDS.items() if letter != "g"}
BYTES = {
    f"{letter}{unit}": base**power
    for letter, power in _THOUSANDS.items()
    if letter != "b"
    for unit, base in (("", 1000), ("b", 1000), ("ib", 1024))
}


def whole_number(value: Any, *, of_bytes: bool) -> Any:
    """The integer that a value of the configuration means; what is no number at all is left as it is.

    `ValueError` for fractions, what is too large, unknown letters, and yes and no, which are no numbers.
    """
    if isinstance(value, bool):
        raise ValueError(f"should be a whole number (given: {'yes' if value else 'no'})")
    if not isinstance(value, str) or not re.match(r"[-+]?\.?\d", text := value.strip()):
        return value
    given = f"(given: {reprlib.repr(text)})"
    found = _NUMBER.fullmatch(text)
    known = BYTES if of_bytes else COUNTS
    letters = (found[3] or "").lower() if found else ""
    if found is None or (letters and letters not in known):
        forms = "30M, 2GB, 64KiB" if of_bytes else "10M, 300B"
        raise ValueError(f"should be a whole number such as 1000, 1_000, 3e11, {forms} {given}")
    number = Decimal(found[1].replace("_", "")).scaleb(int(found[2] or 0)) * known.get(letters, 1)
    if number.adjusted() >= MOST_DIGITS:
        raise ValueError(f"should have at most {MOST_DIGITS} digits {given}")
    if number != int(number):
        raise ValueError(f"should be a whole number {given}")
    return int(number)
