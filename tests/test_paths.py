"""Where the paths in a configuration begin, and that every field that holds one is marked as such."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import RunConfig, dump, load, load_run
from doremi.config.paths import InputPath
from doremi.errors import ConfigError
from doremi.rundir.layout import RunDirectory
from tiny import write_corpus, write_tiny

NO_PATHS = {
    "data.domain_field", "data.others", "data.join", "data.where", "data.domains.join", "data.domains.where",
    "data.domains.values",
    "data.tokenized.field", "data.domains.tokenized.field",
    "executor",
    "profile",
    "name", "data.text_field", "data.domains.text_field", "model.preset", "model.architecture", "candidates.sizes",
    "limits.groups.domains",
    "data.domains.dataset", "data.domains.config", "data.domains.split", "data.domains.revision",
}  # fmt: skip


def strings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Every field that holds text, by its dotted key, with the marks of that text."""
    for name, field in model.model_fields.items():
        for kind, marks in kinds(field.annotation, list(field.metadata)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from strings(kind, f"{prefix}{name}.")
            elif kind is str:
                yield f"{prefix}{name}", marks


def kinds(annotation: Any, marks: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """What an annotation is made of, without the keys of mappings; what is written as one of a few words is no text."""
    if hasattr(annotation, "__metadata__"):
        yield from kinds(annotation.__origin__, [*marks, *annotation.__metadata__])
    elif parts := [part for part in get_args(annotation) if not isinstance(part, str)]:
        for part in parts[1:] if getattr(annotation, "__origin__", None) is dict else parts:
            yield from kinds(part, marks)
    else:
        yield annotation, marks


def test_every_field_that_holds_text_is_a_path_or_is_known_as_none() -> None:
    """A new field of a path cannot be forgotten: it is marked, or it is listed here as none."""
    marked = {key: [mark for mark in marks if isinstance(mark, InputPath)] for key, marks in strings(RunConfig)}
    assert {key for key, marks in marked.items() if not marks} == NO_PATHS
    assert {key: marks[0].kind for key, marks in marked.items() if marks} == {
        "runs": "path",
        "data.train": "path",
        "data.validation": "path",
        "data.domains.train": "path",
        "data.domains.validation": "path",
        "data.corpus": "path",
        "data.tokenizer": "tokenizer",
        "reference.mixture": "mixture",
        "reference.reuse": "path",
        "proxy.sampling": "mixture",
        "candidates.mixtures": "mixture",
        "downstream.tasks": "path",
    }


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`conf/my.yaml`, read by someone who stands in `here/`."""
    (tmp_path / "here").mkdir()
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "conf" / "my.yaml"


def loaded(config: Path, text: str, *overrides: str) -> RunConfig:
    config.write_text("data: {domains: {web: texts/web}}\n" + text)
    return load(Path("..") / "conf" / "my.yaml", overrides)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("texts/web", "conf/texts/web"),
        ("../texts/*.jsonl", "texts/*.jsonl"),
        ("./a", "conf/a"),
        ("/a/../b", "/b"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("~nobody-of-that-name/x", "conf/~nobody-of-that-name/x"),
    ],
)
def test_paths_of_the_file_begin_where_it_lies(text: str, path: str, config: Path, tmp_path: Path) -> None:
    expected = path if "://" in path else str(tmp_path / path)
    runs = "" if "://" in path else f"runs: '{text}'\n"  # they lie in folders
    made = loaded(config, f"downstream: {{tasks: '{text}'}}\nreference: {{reuse: '{text}'}}\n{runs}")
    assert (made.downstream.tasks, made.reference.reuse) == (expected, expected)
    assert not runs or made.runs == expected
    assert made.data.domains["web"].train == [str(tmp_path / "conf/texts/web")]


def test_paths_of_the_command_line_begin_where_one_stands(config: Path, tmp_path: Path) -> None:
    made = loaded(
        config, "", "data.domains={web: a, code: [b, c]}", "data.domains.books={train: d, validation: ../e}", "runs=r"
    )
    assert {name: [*d.train, *d.validation] for name, d in made.data.domains.items()} == {
        "web": [str(tmp_path / "here/a")],
        "code": [str(tmp_path / "here/b"), str(tmp_path / "here/c")],
        "books": [str(tmp_path / "here/d"), str(tmp_path / "e")],
    }
    assert made.root == tmp_path / "here/r/my"
    assert loaded(config, "").root == tmp_path / "here/runs/my"


def test_mixtures_and_tokenizers_are_names_or_paths(config: Path, tmp_path: Path) -> None:
    text = "reference: {mixture: a.json}\nproxy: {sampling: uniform}\ncandidates: {mixtures: [natural, ../b.json]}\n"
    made = loaded(config, text, "proxy.sampling=c.json", "data.tokenizer=gpt2")
    assert (made.reference.mixture, made.proxy.sampling) == (
        str(tmp_path / "conf/a.json"),
        str(tmp_path / "here/c.json"),
    )
    assert made.candidates.mixtures == ["natural", str(tmp_path / "b.json")]
    assert made.data.tokenizer == "gpt2"
    (tmp_path / "here" / "gpt2").mkdir()
    assert loaded(config, "", "data.tokenizer=gpt2").data.tokenizer == str(tmp_path / "here/gpt2")
    assert loaded(config, "", "data.tokenizer=./mine/").data.tokenizer == str(tmp_path / "here/mine")


def test_what_is_recorded_means_the_same_from_anywhere(config: Path, tmp_path: Path) -> None:
    made = loaded(config, "downstream: {tasks: t}\n", "runs=../r")
    made.root.mkdir(parents=True)
    (made.root / "config.yaml").write_text(dump(made))
    (tmp_path / "r").rename(tmp_path / "moved")
    again = load_run(tmp_path / "moved" / "my", ["reference.reuse=other"])
    assert again.runs == str(tmp_path / "moved")
    assert again.reference.reuse == str(tmp_path / "here/other")
    assert (again.data, again.downstream) == (made.data, made.downstream)


def test_a_run_cannot_be_called_as_the_corpora_are(config: Path) -> None:
    with pytest.raises(ConfigError, match="name: 'Corpora' is where the prepared corpora lie"):
        loaded(config, "name: Corpora\n")


def test_a_run_finds_the_same_files_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "conf" / "text", documents=30)
    path = write_tiny(tmp_path / "conf" / "tiny.yaml", Path("text"), Path("../runs"))
    keys = []
    for place in ("one", "two/three"):
        (tmp_path / place).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / place)
        result = CliRunner().invoke(app, ["prepare", str(path), "--set", f"name={Path(place).name}"])
        assert result.exit_code == 0, result.output
        keys.append(RunDirectory(tmp_path / "runs" / Path(place).name).whole_corpus().key)
    assert keys[0] == keys[1]


def test_init_writes_paths_that_hold_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "text", documents=30)
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, folder in (("conf/relative.yaml", "text"), ("conf/absolute.yaml", str(tmp_path / "text"))):
        assert CliRunner().invoke(app, ["init", name, folder], catch_exceptions=False).exit_code == 0
    written = yaml.safe_load(Path("conf/relative.yaml").read_text())["data"]["domains"]
    assert written["code"] == "../text/code"
    monkeypatch.chdir("/")
    relative, absolute = (load(tmp_path / "conf" / f"{name}.yaml") for name in ("relative", "absolute"))
    assert relative.data.domains == absolute.data.domains
    assert relative.data.domains["code"].train == [str(tmp_path / "text" / "code")]
