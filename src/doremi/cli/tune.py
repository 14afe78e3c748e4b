"""What `doremi tune` prints, and the line that it puts into the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doremi.errors import DoremiError
from doremi.files import write_bytes

if TYPE_CHECKING:
    from doremi.verdict.rates import Swept

SizesOption = Annotated[
    str | None,
    typer.Option(
        "--sizes", metavar="SIZES", help="Sizes of model, such as 0.3m,1m. Default: those of the configuration."
    ),
]
KEY = "learning_rates"


def words(found: Sequence[Swept]) -> str:
    """The loss at each rate, by size, and what follows from it."""
    lines = ["mean bits per byte by peak learning rate; lower is better", ""]
    for one in found:
        points = zip(one.rates, one.bits, strict=True)
        lines.append(f"{one.size}  " + "  ".join(f"{rate:g}: {_loss(bits)}" for rate, bits in points))
        lines.append(f"    {_conclusion(one)}")
    return "\n".join(lines)


def _loss(bits: float | None) -> str:
    return "did not end" if bits is None else f"{bits:.4f}"


def _conclusion(one: Swept) -> str:
    if one.at_an_end:
        return f"the best is at an end of those that were tried: use {one.best:g}, then run the same command again"
    return f"use {one.best:g}"


def line(rates: Mapping[str, float]) -> str:
    """As it stands below `training:`."""
    return f"{KEY}: {{{', '.join(f'{size}: {rate!r}' for size, rate in rates.items())}}}"


def settle(place: Path, rates: Mapping[str, float]) -> str:
    """Write rates into the configuration; what to say of it. That of a run directory is the record of what was done."""
    if place.is_file() and write(place, rates):
        return f"{place}: training.{KEY} has these rates now"
    return f"Put this below `training:` in the configuration:\n  {line(rates)}"


def write(path: Path, rates: Mapping[str, float]) -> bool:
    """Put the rates into a configuration, beside those of other sizes; whether that could be done.

    Nothing else of the file changes: where the line cannot be found or added safely, the file stays as it is.
    """
    from doremi.config import load  # brings numpy, and who asks for help has no use for it

    before, text = load(path), path.read_text(encoding="utf-8")
    merged = {**before.training.learning_rates, **rates}
    for changed in (_replaced(text, line(merged)), _added(text, line(merged))):
        if changed is None:
            continue
        write_bytes(path, changed.encode())
        try:
            after = load(path)
        except DoremiError:
            after = None
        training = before.training.model_copy(update={KEY: merged})
        if after == before.model_copy(update={"training": training}):
            return True
        write_bytes(path, text.encode())
    return False


def _replaced(text: str, new: str) -> str | None:
    """With the line in place of the one that is there."""
    changed, number = re.subn(rf"(?m)^( +){KEY}:.*$", lambda found: found[1] + new, text)
    return changed if number == 1 else None


def _added(text: str, new: str) -> str | None:
    """With the line as the first below `training:`."""
    found = re.search(r"(?m)^training:[ \t]*(#.*)?\n(?:[ \t]*(?:#.*)?\n)*([ ]+)(?=\S)", text)
    if found is None:
        return None
    return text[: found.end() - len(found[2])] + f"{found[2]}{new}\n" + text[found.end() - len(found[2]) :]
