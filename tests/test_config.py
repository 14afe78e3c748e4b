"""The configuration: what loads, what round-trips, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from doremi.config import RunConfig, dump, load, validate
from doremi.errors import ConfigError

MINIMAL = "data:\n  domains:\n    web: texts/web\n    code: [a.jsonl, b.jsonl]\n    wiki: {train: w, epochs: 3}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text)
    return path


def test_short_forms_and_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL))
    assert config.name == "my"
    assert config.root == Path("runs/my")
    assert config.data.domains["web"].train == ["texts/web"]
    assert config.data.domains["code"].train == ["a.jsonl", "b.jsonl"]
    assert config.data.domains["wiki"].epochs == 3
    assert config.proxy.eta == 1
    assert config.proxy.smoothing == 1e-3
    assert config.run_tokens == 1000 * 32 * 256


def test_overrides_and_dump_round_trip(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    config = load(path, ["training.learning_rate=1e-2", "training.steps=5", "candidates.mixtures=[natural]"])
    assert (config.training.learning_rate, config.training.steps) == (0.01, 5)
    assert config.candidates.mixtures == ["natural"]
    assert load(write(tmp_path, dump(config))) == config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINIMAL + "training: {stpes: 5}", "training.stpes: there is no such key; did you mean 'steps'"),
        (MINIMAL + "trainng: {}", "trainng: there is no such key; did you mean 'training'"),
        ("data:\n domains:\n  a: {train: x, vlidation: y}", "data.domains.a.vlidation.*did you mean 'validation'"),
        (MINIMAL + "training: {steps: many}", "training.steps: .*integer.*'many'"),
        (MINIMAL + "training: {steps: -1}", "training.steps: .*greater than or equal to 1.*-1"),
        (MINIMAL + "training: {learning_rate: .nan}", "training.learning_rate: .*finite"),
        (MINIMAL + "training: {batch_size: 2}", "batch_size is 2 but there are 3 domains.*use at least 3"),
        (MINIMAL + "training: {accumulation: 5}", "batch_size 32 is not a multiple of accumulation 5"),
        (MINIMAL + "training: 3", "training: should be a mapping"),
        (MINIMAL + "model: {preset: null}", "give either model.preset or model.architecture"),
        (MINIMAL + "candidates: {mixtures: [doremi, doremi]}", "candidates.mixtures: .*only once"),
        (MINIMAL + "reference: {mixture: doremi}", "reference.mixture cannot be doremi"),
        (MINIMAL + "name: ../elsewhere", "name: '../elsewhere' cannot be a run's name"),
        ("data:\n domains:\n  a: x\n  a: y", "line 4: the key 'a' is there twice"),
        ("data:\n domains:\n  a: x\n  A: y", "'a' and 'A' are the same or too alike"),
        ("data:\n domains:\n  ../a: x", r"domain name '\.\./a' is not allowed"),
        ("data:\n domains:\n  <b>: x", "domain name '<b>' is not allowed"),
        ("data: {domains: {}}", "data.domains: there are no domains"),
        ("data: {domains: {a: 3}}", "data.domains.a: should be a mapping"),
        ("data: [", "line 1"),
        ("- a", "is not a configuration"),
        ("x: 1", "data: is missing"),
    ],
)
def test_mistakes_are_one_line_with_file_and_key(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load(write(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path / "my.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.steps", "write it as"),
        ("=3", "write it as"),
        ("name.x=1", "name is not a section"),
        ("a=[", "line 1"),
    ],
)
def test_overrides_that_are_none(override: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        load(write(tmp_path, MINIMAL), [override])


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "binary.yaml")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(RunConfig.model_fields)), TREES)
def test_any_value_for_any_section_loads_or_is_a_config_error(section: str, value: Any) -> None:
    values: dict[str, Any] = {"name": "x", "data": {"domains": {"a": "b"}}, section: value}
    try:
        config = validate(values, "fuzz")
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(config, RunConfig)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_load_or_are_a_config_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "c.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        load(path)


def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [f.annotation for f in model.model_fields.values()]
    nested = [m for m in inner if isinstance(m, type) and issubclass(m, BaseModel)]
    return [model, *(s for m in nested for s in sections(m))]


def test_every_key_says_what_it_is() -> None:
    silent = [
        f"{s.__name__}.{key}"
        for s in sections(RunConfig)
        for key, field in s.model_fields.items()
        if not field.description and s is not RunConfig
    ]
    assert silent == []
