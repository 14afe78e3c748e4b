"""What a form to export to is: its writer, its reader, what its weights count, and what it calls a domain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Literal

from doremi.errors import ExportError
from doremi.export.blend import Blend, Domain, Entry, Part
from doremi.export.files import Files
from doremi.export.rounding import round_to_one

Weights = list[tuple[str, Decimal]]
"""What a file of a target holds: what it calls each domain or path, with its weight, in order."""


@dataclass(frozen=True)
class Target:
    """A trainer's form. What is not said of it: it takes one weight a path, and rejects a weight of 0."""

    name: str
    family: str
    description: str
    unit: str
    """What the weights count, in words."""
    files: Callable[[Blend, Path], Files]
    main: str
    """The file that holds the weights."""
    read: Callable[[str], Weights]
    """The weights out of the text of that file; `ValueError` where it has another form."""
    counts: Literal["tokens", "documents"] = "tokens"
    key: Literal["name", "folder", "path"] = "path"
    """What the file calls an entry."""
    own_data: Callable[[Blend, Domain, Path], str] = lambda blend, domain, place: f"data/{domain.folder}"
    """The path that stands for the run's own tokens of a domain."""
    groups: bool = False
    """Whether several paths share one weight: the trainer then goes by its own rule between them."""
    rule: str = ""
    """That rule, as a sentence."""
    keeps_zeros: bool = False
    takes_stages: bool = False
    data: Literal["tokens", "paths", "names"] = "paths"
    """Without paths of the user's: it reads the run's own token files, needs paths, or holds no paths at all."""
    warns: Callable[[Blend], Iterable[str]] = lambda blend: ()
    """What the trainer does otherwise than the weights say."""


def with_entries(blend: Blend, target: Target, folder: Path) -> Blend:
    """The blend with weights in what `target` counts, over its entries; they sum to exactly 1.

    `ExportError` where a length or the division of a domain into paths is needed and not known.
    """
    pieces = list(_pieces(blend, target, folder.resolve()))
    _check_distinct([(key, domain.name) for domain, key, _, _ in pieces])
    amounts = [_amount(domain, part, target) for domain, _, _, part in pieces]
    weights = round_to_one(amounts)
    entries = tuple(
        Entry(domain, key, paths, weight, _length(domain, part) if target.counts == "documents" else 1.0)
        for (domain, key, paths, part), weight in zip(pieces, weights, strict=True)
    )
    stages = tuple(replace(stage, blend=with_entries(stage.blend, target, folder)) for stage in blend.stages)
    made = replace(blend, entries=entries, stages=stages)
    return made.noted(*_notes(blend, target), *target.warns(made))


def _check_distinct(keys: list[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for key, name in keys:
        if key in seen:
            raise ExportError(f"{key!r} stands for {seen[key]!r} and for {name!r}; give each domain paths of its own")
        seen[key] = name


_Piece = tuple[Domain, str, tuple[str, ...], Part]


def _pieces(blend: Blend, target: Target, place: Path) -> Iterator[_Piece]:
    """Each entry's domain, key, paths, and what is known of these."""
    for domain in blend.domains if target.keeps_zeros else blend.kept:
        parts = domain.parts or (Part(target.own_data(blend, domain, place), Fraction(1)),)
        if target.groups or len(parts) == 1:
            whole = Part(parts[0].path, Fraction(1), domain.tokens_per_document)
            yield domain, _key(domain, target, whole, 0), tuple(part.path for part in parts), whole
        else:
            for number, part in enumerate(parts):
                yield domain, _key(domain, target, part, number), (part.path,), part


def _key(domain: Domain, target: Target, part: Part, number: int) -> str:
    if target.key == "path":
        return part.path
    name = domain.name if target.key == "name" else domain.folder
    return name if number == 0 else f"{name}.{number + 1}"


def _amount(domain: Domain, part: Part, target: Target) -> Fraction:
    if domain.weight == 0:
        return Fraction(0)
    if part.share is None:
        raise ExportError(
            f"domain {domain.name!r} has several paths, and {target.name} takes a weight for each. "
            "Give `tokens` of each path in the file of --paths"
        )
    tokens = Fraction(domain.weight) * part.share
    return tokens / Fraction(_length(domain, part)) if target.counts == "documents" else tokens


def _length(domain: Domain, part: Part) -> float:
    return part.tokens_per_document or float(domain.length if domain.weight else domain.tokens_per_document or 1)


def _notes(blend: Blend, target: Target) -> Iterable[str]:
    several = [domain.name for domain in blend.kept if len(domain.parts) > 1]
    if several and target.groups:
        yield f"{_some(several)}: several paths share one weight. {target.rule}".strip()
    elif several:
        yield f"{_some(several)}: each path has its own weight, the domain's divided by the sizes of its paths"
    if not blend.mapped and target.data == "paths":
        yield "no paths were given: data/FOLDER stands for each domain's data; give yours with --paths"
    if blend.stages and not target.takes_stages:
        yield f"{target.name} takes no stages, so the weights are the average over the schedule"


def _some(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:3]))
    return shown if len(names) < 4 else f"{shown} and {len(names) - 3} more"
