"""The `data` section and prepared corpora: which of its settings a corpus is made of, and what need not be said again.

A prepared corpus has these settings in its data.json. A configuration that names the corpus (`data.corpus`) takes them
from there; what it says itself must agree with them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doremi.config.paths import InputPath
from doremi.config.schema import DataConfig, DomainConfig
from doremi.config.section import Section, reach_of
from doremi.config.shapes import HubConfig, RecordsConfig, SharedFilesConfig
from doremi.errors import ConfigError
from doremi.files import FORMAT, key_of, read_json, write_json

FILE = "data.json"
NOT_IN_CORPUS = frozenset(name for name in DataConfig.model_fields if "corpus" not in reach_of(DataConfig, name))
"""Settings of `data` that change no token: they belong to the run."""
NOT_IN_DOMAIN = {name for name in DomainConfig.model_fields if "corpus" not in reach_of(DomainConfig, name)}
"""The same of a domain: `epochs`, and how large the whole of it is."""


def settings(data: DataConfig) -> dict[str, Any]:
    """What a corpus is made of, as plain values; newer settings only where they are given."""
    made_of = data.model_dump(
        mode="json", exclude={**dict.fromkeys(NOT_IN_CORPUS, True), "domains": {"__all__": NOT_IN_DOMAIN}}
    )
    domains = {name: _as_said(entry, _OF_DOMAIN) for name, entry in made_of["domains"].items()}
    return {**_as_said(made_of, _OF_ALL), "domains": domains}


def _defaults(*sections: type[Section]) -> dict[str, Any]:
    return {name: field.default for section in sections for name, field in section.model_fields.items()}


_OF_ALL = {**_defaults(RecordsConfig, SharedFilesConfig), "sample_tokens": None}
_OF_DOMAIN = {**_defaults(RecordsConfig, HubConfig), "values": [], "sample_tokens": None}
"""Settings newer than some corpora: they are left out where they are not given, so that these are found."""


def _as_said(values: Mapping[str, Any], neutral: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in neutral or value != neutral[name]}


def asked(data: DataConfig) -> str:
    """Hash of these settings, the domains in their order. Other paths to the same files are another one."""
    made_of = settings(data)
    return key_of({**made_of, "domains": list(made_of["domains"].items())})


def record(data: DataConfig, corpus: Path) -> None:
    """Write data.json into a corpus folder."""
    write_json(corpus / FILE, {"format": FORMAT, "data": settings(data)})


def recorded(corpus: Path) -> dict[str, Any] | None:
    """The settings that a corpus says it was made of; None where it does not say."""
    path = corpus / FILE
    return read_json(path, "record of a corpus's settings")["data"] if os.path.exists(path) else None  # noqa: PTH110 - for names that are no paths, pathlib's fails


# -- data.corpus -----------------------------------------------------------------------------------------------------


def completed(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values of a configuration in `folder`, with what the corpus that it names was made of.

    `ConfigError` for a folder without a corpus where the domains are not given, and for domains that it has not.
    """
    data = value.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("corpus"), str):
        return value
    place = Path(InputPath().absolute(data["corpus"], folder))
    made_of = recorded(place)
    if made_of is None:
        if data.get("domains"):
            return value
        raise ConfigError(f"data.corpus: {place}: there is no prepared corpus; check the path, or give data.domains")
    domains = _completed_domains(made_of["domains"], data.get("domains") or {}, place)
    return {**value, "data": {**made_of, **data, "domains": domains}}


def _completed_domains(made_of: Mapping[str, Any], given: Any, place: Path) -> Any:
    if not isinstance(given, dict):
        return given
    for name in given:
        if name not in made_of:
            raise ConfigError(
                f"data.domains: {name!r} is not in the corpus {place}, which has {', '.join(made_of)}; leave it out, "
                "or leave data.corpus out"
            )
    if list(given) != [name for name in made_of if name in given]:
        raise ConfigError(
            f"data.domains: {', '.join(given)} stand in another order in the corpus {place}: {', '.join(made_of)}. "
            "The order matters, so leave data.domains out, or data.corpus"
        )
    return {name: {**entry, **_long_form(given.get(name, {}))} for name, entry in made_of.items()}


def _long_form(entry: Any) -> dict[str, Any]:
    return entry if isinstance(entry, dict) else {"train": entry}


def check(data: DataConfig) -> None:
    """`ConfigError` that names the first setting which is not that of the corpus named, and both values."""
    made_of = recorded(Path(data.corpus)) if data.corpus is not None else None
    if made_of is None:
        return
    theirs, ours = _flat(made_of), _flat(settings(data))
    for key in {**theirs, **ours}:
        here, there = ours.get(key), theirs.get(key)
        if here != there:
            raise ConfigError(
                f"data.{key} is {here!r} here, but the corpus {data.corpus} was made with {there!r}; "
                "leave it out, or leave data.corpus out to prepare another corpus"
            )


def _flat(made_of: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted key."""
    domains = {f"domains.{name}.{key}": v for name, entry in made_of["domains"].items() for key, v in entry.items()}
    return {**{key: value for key, value in made_of.items() if key != "domains"}, **domains}
