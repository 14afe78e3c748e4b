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
    assert config.root == Path.cwd() / "runs/my"
    assert config.data.domains["web"].train == [str(tmp_path / "texts/web")]
    assert config.data.domains["code"].train == [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
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
        (MINIMAL + "training: {learning_rate: .nan}", "training.learning_rate: .*finite.*, or auto"),
        (MINIMAL + "training: {learning_rate: 0}", r"training.learning_rate: .*greater than 0, or auto \(given: 0\)"),
        (MINIMAL + "training: {threads: fast}", r"training.threads: .*a valid integer, or auto \(given: 'fast'\)"),
        (MINIMAL + "training: {batch_size: 2}", "batch_size is 2 but there are 3 domains.*use at least 3"),
        (MINIMAL + "training: {accumulation: 5}", "batch_size 32 is not a multiple of accumulation 5"),
        (MINIMAL + "training: {final_learning_rate: 0}", "training: .*never reaches 0: use schedule linear"),
        (MINIMAL + "training: 3", "training: should be a mapping"),
        (MINIMAL + "model: {preset: null}", "give either model.preset or model.architecture"),
        (MINIMAL + "candidates: {mixtures: [doremi, doremi]}", "candidates.mixtures: .*only once"),
        (MINIMAL + "name: ../elsewhere", "name: '../elsewhere' cannot be a run's name"),
        ("data:\n domains:\n  a: x\n  a: y", "line 4: the key 'a' is there twice"),
        ("data:\n domains:\n  a: x\n  A: y", "'a' and 'A' are the same or too alike"),
        ("data:\n domains:\n  ../a: x", r"domain name '\.\./a' is not allowed"),
        ("data:\n domains:\n  <b>: x", "domain name '<b>' is not allowed"),
        ("data: {domains: {}}", "data.domains: there are no domains"),
        ("data: {domains: {no: x}}", "domain name False is not a string; put it in quotes"),
        ("data: {domains: {2024: x}}", "domain name 2024 is not a string; put it in quotes"),
        ("data:\n domains:\n  &more code: x", "line 3: a key begins with '&more'; put it in quotes"),
        (MINIMAL + "training: {steps: 0100}", "has 0100, which YAML reads as a number to base 8 or 60"),
        (MINIMAL + "training: {steps: 1:30}", "has 1:30, which YAML reads as a number to base 8 or 60"),
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


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("data.domains.C#=x", ["C#"]),
        ("data.domains.Q&A=x", ["Q&A"]),
        ("data.domains.it's=x", ["it's"]),
        ("data.domains.C++ =x", ["C++"]),
        ('data.domains."v1.2 = new"=x', ["v1.2 = new"]),
        ("data.domains.'a.b'=x", ["a.b"]),
        ("data.domains={C#: x, Q&A: x}", ["C#", "Q&A"]),
    ],
)
def test_overrides_take_domain_names_as_they_are(override: str, parts: list[str], tmp_path: Path) -> None:
    domains = load(write(tmp_path, "data: {domains: {}}"), [override]).data.domains
    assert {name: domain.train for name, domain in domains.items()} == {part: [str(Path.cwd() / "x")] for part in parts}


NUMBERS = {
    "3e11": 300_000_000_000, "1e3": 1000, "1.5e3": 1500, "300B": 300_000_000_000, "1.5b": 1_500_000_000,
    "10M": 10_000_000, "10 m": 10_000_000, "2.5k": 2500, "1T": 10**12, "1_000": 1000, "1.0": 1, "+5": 5, '"10M"': 10**7,
}  # fmt: skip
NO_NUMBERS = [
    "1.5",
    "1e-3",
    "1.0005K",
    "1,000",
    "12Q",
    "1e3K",
    "1e",
    "2G",
    "64KiB",
    "yes",
    "1e999",
    "1e99999999",
    "1e30",
]


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("key", ["budget_tokens", "training.steps", "training.threads", "downstream.limit"])
def test_whole_numbers_as_people_write_them(text: str, key: str, tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL), [f"{key}={text}"])
    section, _, name = key.rpartition(".")
    value = getattr(getattr(config, section) if section else config, name)
    assert (value, type(value)) == (NUMBERS[text], int)
    assert load(write(tmp_path, dump(config))) == config


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_whole_number(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"budget_tokens: .*(whole number|integer|at most 19 digits).*given"):
        load(write(tmp_path, MINIMAL), [f"budget_tokens={text}"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("30M", 30_000_000), ("30MB", 30_000_000), ("64 KiB", 65_536), ("2gb", 2 * 10**9), ("3e7", 3 * 10**7)],
)
def test_sizes_in_bytes(text: str, value: int, tmp_path: Path) -> None:
    assert load(write(tmp_path, MINIMAL), [f"data.tokenizer_sample_bytes={text}"]).data.tokenizer_sample_bytes == value


def test_a_b_is_no_billion_of_bytes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.tokenizer_sample_bytes: should be .*64KiB \(given: '30B'\)"):
        load(write(tmp_path, MINIMAL), ["data.tokenizer_sample_bytes=30B"])


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
