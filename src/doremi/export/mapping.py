"""Where each domain's data lies for the trainer: the file of `--paths`, and `--path NAME=PLACE`.

    web: /data/web                                  one place
    code: [/data/code-a, /data/code-b]              several
    books:
      paths: [{path: /data/books-1, tokens: 40B}, {path: /data/books-2, tokens: 2B}]
      tokens: 42B                                   the true size, for epochs
      tokens_per_document: 90_000                   for trainers that count documents or samples

A place is written for the trainer as it stands here. It may be on another machine, and then nothing is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from doremi.config.numbers import whole_number
from doremi.config.safe_yaml import parse
from doremi.errors import ExportError, one_line, reason_of


def _count(value: Any) -> Any:
    return whole_number(value, of_bytes=False)


Count = Annotated[int, BeforeValidator(_count), Field(gt=0)]


def tokens_given(option: str, text: str) -> int:
    """The tokens that an option means; `ExportError` for what is no such number."""
    try:
        number = _count(text)
    except ValueError as error:
        raise ExportError(f"{option}: {error}") from None
    if not isinstance(number, int) or number <= 0:
        raise ExportError(f"{option}: should be a number of tokens such as 300B (given: {text})")
    return number


class Place(BaseModel):
    """One path, with what the user knows of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, Field(min_length=1)]
    tokens: Count | None = None
    tokens_per_document: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class Places(BaseModel):
    """The paths of a domain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: Annotated[tuple[Place, ...], Field(min_length=1)]
    tokens: Count | None = None
    tokens_per_document: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @property
    def all_tokens(self) -> int | None:
        """The true size: as given, else the sum over paths where each has one."""
        known = [place.tokens for place in self.paths if place.tokens is not None]
        return self.tokens or (sum(known) if len(known) == len(self.paths) else None)


def read_places(file: Path | None, given: Sequence[str], names: Sequence[str]) -> dict[str, Places]:
    """The paths of each domain out of `--paths` and every `--path NAME=PLACE`; empty where there are neither.

    `names` are the domains of the run. `ExportError` for another name, or a domain that both options name.
    """
    found = {} if file is None else _file(file)
    for name, places in _options(given, names).items():
        if name in found:
            raise ExportError(f"domain {name!r}: --path and {file} both name its paths; say them in one place")
        found[name] = places
    unknown = next((name for name in found if name not in names), None)
    if unknown is not None:
        raise ExportError(f"{file or '--path'}: {unknown!r} is not a domain of this run; there are {', '.join(names)}")
    return {name: _validated(f"domain {name!r}", value) for name, value in found.items()}


def check_complete(places: Mapping[str, Places], weights: Mapping[str, float]) -> None:
    """`ExportError` for a domain with weight and without a path, where any domain has one."""
    missing = [name for name, weight in weights.items() if weight > 0 and name not in places]
    if places and missing:
        raise ExportError(f"domain {missing[0]!r} has weight but no path, though others have one; add it to --paths")


def _file(file: Path) -> dict[str, Any]:
    try:
        value = parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(one_line(f"{file}: cannot be read ({reason_of(error)}); it names paths by domain")) from None
    if not isinstance(value, dict):
        raise ExportError(f"{file}: should name paths by domain, such as `web: /data/web`")
    return {str(name): _long_form(places) for name, places in value.items()}


def _options(given: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """A name may hold `=` itself: the longest domain before one counts."""
    found: dict[str, Any] = {}
    for text in given:
        cuts = [i for i, sign in enumerate(text) if sign == "=" and text[:i] in names]
        if not cuts:
            raise ExportError(f"--path {text!r}: should be NAME=PLACE, with a domain of this run: {', '.join(names)}")
        name, path = text[: max(cuts)], text[max(cuts) + 1 :]
        found.setdefault(name, {"paths": []})["paths"].append({"path": path})
    return found


def _long_form(value: Any) -> Any:
    if isinstance(value, str):
        return {"paths": [{"path": value}]}
    if isinstance(value, list):
        return {"paths": [_place(place) for place in value]}
    if isinstance(value, dict) and "path" in value and "paths" not in value:
        return {"paths": [_place(value["path"])], **{key: rest for key, rest in value.items() if key != "path"}}
    if isinstance(value, dict) and isinstance(value.get("paths"), str | list):
        paths = value["paths"] if isinstance(value["paths"], list) else [value["paths"]]
        return {**value, "paths": [_place(place) for place in paths]}
    return value


def _place(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _validated(where: str, value: Any) -> Places:
    try:
        return Places.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"{part}: " for part in first["loc"])
        raise ExportError(one_line(f"{where}: {place}{first['msg']} in the paths; correct it")) from None
