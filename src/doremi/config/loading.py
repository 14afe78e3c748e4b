"""A run's configuration from its YAML file and `--set` overrides, and mistakes told in one line.

Unknown keys are errors that name the nearest key. Where relative paths begin is said in paths.py.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from doremi.config.neutral import neutral_values
from doremi.config.paths import Here, from_here
from doremi.config.prepared import check, completed
from doremi.config.safe_yaml import parse
from doremi.config.schema import DataConfig, DomainConfig, RunConfig, TrainingConfig
from doremi.credentials import masked, secrets_in
from doremi.errors import ConfigError, RunError, one_line, reason_of

_PART = re.compile(r""""[^"]+"|'[^']+'|[^.="'][^.=]*""")
_OVERRIDE = re.compile(rf"(?P<key>({_PART.pattern})(\.({_PART.pattern}))*)\s*=(?P<value>.*)", re.DOTALL)


def load(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, override and validate a run's configuration; `ConfigError` names file, key and what to do."""
    value = read_yaml(path)
    value.setdefault("name", path.stem)
    value.setdefault("runs", Here("runs"))
    for override in overrides:
        _set(value, override)
    config = _validated(completed(value, path.parent), str(path), path.parent)
    check(config.data)
    return config


def load_run(folder: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration that a run directory records, its run being where the folder is now.

    It records every setting that there was, so one that it lacks is newer, and had its neutral value. `RunError` if the
    folder is no run directory, `ConfigError` as in `load`.
    """
    path = folder / "config.yaml"
    if not path.exists():
        raise RunError(f"{folder}: is not a run directory (it has no config.yaml); give one, or a configuration")
    place = folder.resolve()
    value = {**read_yaml(path), "name": place.name, "runs": str(place.parent)}
    if isinstance(training := value.get("training"), dict):
        value["training"] = {**neutral_values(TrainingConfig), **training}
    for override in overrides:
        _set(value, override)
    return _validated(value, str(path), folder)


def validate(value: dict[str, Any], where: str) -> RunConfig:
    """A `RunConfig` from plain values whose paths are absolute, or relative to where one stands.

    The first mistake becomes a `ConfigError` that starts with `where`.
    """
    return _validated(value, where, None)


def _validated(value: dict[str, Any], where: str, folder: Path | None) -> RunConfig:
    """Paths are relative to `folder`; without it they stay as they are."""
    _refuse_credentials(value, where)
    try:
        return RunConfig.model_validate(value, context={"folder": folder})
    except ValidationError as error:
        raise ConfigError(f"{where}: {one_line(_explain(error.errors()))}") from None
    except RecursionError:
        raise ConfigError(f"{where}: is nested too deeply to be a configuration") from None


def _refuse_credentials(value: dict[str, Any], where: str) -> None:
    """A configuration is recorded and passed on: a key or password in it would be too. None is ever shown."""
    for key, kind in secrets_in(value):
        raise ConfigError(
            f"{where}: {one_line(key)}: holds {kind}. A configuration is kept with every run, so leave it out and give "
            "it in the environment, where the library that needs it looks (docs/data.md)"
        )


def dump(config: RunConfig) -> str:
    """The resolved configuration as YAML, defaults included; loading it gives the same configuration."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file; repeated keys are an error, for they hide one of two domains."""
    try:
        value = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; `doremi init {path} FOLDER` writes one") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; give a YAML file (a run directory's own is its config.yaml)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({reason_of(error)})") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {one_line(str(error))}") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{path}: is not a configuration (a mapping of keys such as data and training)")
    return value


def _set(value: dict[str, Any], override: str) -> None:
    """Apply one `a.b=c`; the value is read as YAML, so that lists and numbers work.

    A name with a dot or an equals sign in it stands in quotes: `limits.domains."a.b".max_weight=0.5`.
    """
    found = _OVERRIDE.fullmatch(override.strip())
    shown = one_line(override)
    if found is None:
        raise ConfigError(
            f"--set {shown}: write it as section.key=value, for example training.steps=200; "
            "a name with a dot or = in it goes in quotes: 'data.domains.\"a.b\"=folder'"
        )
    try:
        parsed = parse(found["value"])
    except ValueError as error:
        raise ConfigError(f"--set {shown}: {one_line(str(error))}") from None
    *path, last = (part[1:-1] if part[0] in "\"'" else part.strip() for part in _PART.findall(found["key"]))
    for key in path:
        value = value.setdefault(key, {})
        if not isinstance(value, dict):
            raise ConfigError(f"--set {shown}: {one_line(key)} is not a section")
    value[last] = from_here(parsed)


def _explain(errors: Sequence[Any]) -> str:
    """The first of them. Where a value or `auto` may stand, there is one for each, whose place ends with its kind."""
    error, place = errors[0], errors[0]["loc"]
    or_auto = any(one["loc"] == (*place[:-1], "literal['auto']") for one in errors[1:])
    place = place[:-1] if or_auto else place
    location = [str(part) for part in place if part not in ("function-after", "constrained-int")]
    key = ".".join(location) or "configuration"
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return f"{key}: there is no such key; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    message = f"{message.partition(',')[0]}, or auto" if or_auto else message
    if error["type"] == "missing":
        return f"{key}: is missing; `doremi init` writes a complete example"
    if error["type"] == "value_error":
        return f"{key}: {message}" if error["loc"] else message
    if error["type"] in ("model_type", "dict_type"):
        return f"{key}: should be a mapping of keys to values (given: {_shown(error['input'])})"
    return f"{key}: {message[0].lower()}{message[1:]} (given: {_shown(error['input'])})"


def _known_keys(path: Sequence[str]) -> list[str]:
    """Keys of the section at `path`, following the models' own annotations."""
    section: type[BaseModel] = RunConfig
    for part in path:
        if section is DataConfig and part == "domains":
            return list(DomainConfig.model_fields)
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return sorted(section.model_fields)
        section = annotation
    return list(section.model_fields)


def _shown(value: Any) -> str:
    text = "not a number" if isinstance(value, float) and math.isnan(value) else masked(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."
