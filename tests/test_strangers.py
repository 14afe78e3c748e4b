"""A configuration from a stranger: it writes nowhere but in its run directory, runs no code, and no bomb goes off."""

from __future__ import annotations

import ast
import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from doremi.cli.status import describe
from doremi.config import load
from doremi.corpus.tokenizer import load_tokenizer
from doremi.errors import ConfigError, DoremiError, RunError
from doremi.files import write_json
from doremi.model.build import build
from doremi.model.build import load as load_model
from doremi.pipeline.checks import check
from doremi.pipeline.workspace import open_workspace
from fuzz_targets import ALONE
from tiny import Silent, tiny_values, write_corpus

SOURCE = Path(__file__).resolve().parents[1] / "src"
NAMES = [
    *[
        "../x",
        "../../x",
        "..",
        ".",
        "",
        "a/../../x",
        "/tmp/x",
        "a\\..\\x",
        "a\0b",
        "x" * 5000,
        "𠀀" * 80,
        "~",
        "~nobody",
        "-rf",
    ],
    *["CON", "aux.txt", "a:b", "a.", " ", "$HOME", "`id`", "<b>", "\x1b[2J", "a\nb", "\u202egnp"],
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def everything_below(folder: Path) -> dict[str, bytes]:
    files = [p for p in sorted(folder.rglob("*")) if not p.is_relative_to(folder / "home" / "runs" / "tiny")]
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in files}


def put_run_name(values: dict[str, Any], name: str) -> None:
    values["name"] = name


def put_domain(values: dict[str, Any], name: str) -> None:
    values["data"]["domains"][name] = values["data"]["domains"]["prose"]


def put_path(values: dict[str, Any], name: str) -> None:
    values["data"]["domains"]["prose"] = name


def put_candidate(values: dict[str, Any], name: str) -> None:
    values["candidates"] = {"mixtures": [name]}


def put_candidate_file(values: dict[str, Any], name: str) -> None:
    values["candidates"] = {"mixtures": [name + ".json"]}


def put_size(values: dict[str, Any], name: str) -> None:
    values["candidates"] = {"sizes": [name]}


def put_preset(values: dict[str, Any], name: str) -> None:
    values["model"] = {"preset": name}


def put_tokenizer(values: dict[str, Any], name: str) -> None:
    values["data"]["tokenizer"] = name


PLACES = [put_run_name, put_domain, put_path, put_candidate, put_candidate_file, put_size, put_preset, put_tokenizer]


@pytest.mark.parametrize("put", PLACES, ids=lambda put: put.__name__)
def test_no_name_leads_out_of_the_run_directory(
    put: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))  # else `~` has all text of whoever runs the tests
    for name in NAMES:
        values = tiny_values(corpus, Path("runs"))
        put(values, name)
        (home / "c.yaml").write_text(yaml.safe_dump(values))
        before = everything_below(tmp_path)
        with contextlib.suppress(DoremiError):
            config = load(home / "c.yaml")
            with contextlib.suppress(DoremiError):
                describe(config)
            check(config, search=True)
            with open_workspace(config, ALONE, Silent()):
                pass
        after = everything_below(tmp_path)
        inside = re.compile(r"home/runs(/[^/]+(/(locks(/\w+\.lock)?|config\.yaml|manifest\.json))?)?")
        assert {path for path in after if before.get(path) != after[path] and not inside.fullmatch(path)} == set(), name
        assert before.keys() <= after.keys(), name


@pytest.mark.parametrize("runs", ["a\0b", "x" * 5000, "file", "file/x"])
def test_run_directory_that_cannot_be_is_one_line(runs: str, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "tiny").write_text("x")
    values = {**tiny_values(corpus, tmp_path), "runs": str(tmp_path / runs)}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(DoremiError) as caught, open_workspace(load(tmp_path / "c.yaml"), ALONE, Silent()):
        pass
    assert "\n" not in str(caught.value)


FOREIGN = {
    "a document": {"thesis.txt": "x"},
    "a hidden file": {".profile": "x"},
    "temporary files": {".thesis.tmp": "x", "work/.a.tmp": "x"},
    "a config of another tool": {"config.yaml": "theme: dark", ".thesis.tmp": "x"},
    "a broken config": {"config.yaml": "[", ".thesis.tmp": "x"},
    "a manifest of another tool": {"manifest.json": '{"name": "app"}', ".thesis.tmp": "x"},
    "an empty folder": {"work/x": "x"},
}


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_a_folder_of_someone_is_left_alone(files: dict[str, str], corpus: Path, tmp_path: Path) -> None:
    values = tiny_values(corpus, tmp_path)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    for name, text in files.items():
        (tmp_path / "tiny" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tiny" / name).write_text(text)
    with pytest.raises(DoremiError) as caught, open_workspace(load(tmp_path / "c.yaml"), ALONE, Silent()):
        pass
    if {"config.yaml", "manifest.json"}.isdisjoint(files):
        assert isinstance(caught.value, RunError)
        assert "not a run of doremi" in str(caught.value)
        assert not (tmp_path / "tiny" / "locks").exists()
    assert {name: (tmp_path / "tiny" / name).read_text() for name in files} == files


def test_an_empty_folder_and_a_run_that_died_at_once_are_taken(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tiny_values(corpus, tmp_path)))
    config = load(tmp_path / "c.yaml")
    config.root.mkdir()
    with open_workspace(config, ALONE, Silent()):
        (config.root / ".left.tmp").write_text("x")
    for name in ("config.yaml", "manifest.json"):
        (config.root / name).unlink()
    with open_workspace(config, ALONE, Silent()):
        assert not (config.root / ".left.tmp").exists()


# -- bombs -------------------------------------------------------------------------------------------------------------


def laughs(first: str, row: str) -> str:
    """Nine times nine times ... something, in a few lines of YAML."""
    rows = [f"a{i}: &a{i} " + row.replace("#", ", ".join([f"*a{i - 1}"] * 9)) for i in range(1, 30)]
    return "\n".join([f"a0: &a0 {first}", *rows])


BOMBS = {
    "lists": laughs("[x, x]", "[#]"),
    "merged mappings": laughs("{x: 1}", "{<<: [#]}"),
    "brackets": "[" * 200_000,
    "braces": "{a: " * 100_000,
    "dashes": "- " * 100_000,
    "questions": "? " * 100_000,
    "itself": "data: &a [*a]",
    "itself in a mapping": "data: &a {domains: *a}",
    "digits": "seed: " + "9" * 10**6,
    "hexadecimal digits": "seed: 0x" + "f" * 10**6,
    "base 60": "seed: " + "1:" * 100_000 + "1",
    "fractions to base 60": "seed: " + "1:" * 100_000 + "1.0",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_before_they_go_off(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "c.yaml")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_aliases_are_not_forbidden(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data:\n  domains:\n    a: &a {train: x, epochs: 2}\n    b: {<<: *a, train: y}\n")
    assert load(tmp_path / "c.yaml").data.domains["b"].epochs == 2


# -- code of others ----------------------------------------------------------------------------------------------------

EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass Evil: pass\nraise SystemExit\n"


def planted(folder: Path) -> Path:
    folder.mkdir()
    (folder / "evil.py").write_text(EVIL)
    return folder


def obey(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who answers every question with yes."""

    def yes(*_: object) -> str:
        pytest.fail("the user was asked whether to run code")

    monkeypatch.setattr("builtins.input", yes)


def test_model_options_cannot_bring_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obey(monkeypatch)
    place = planted(tmp_path / "hub")
    for architecture in ("vit", "llama"):
        options = {
            "auto_map": {"AutoModelForCausalLM": f"{place}--evil.Evil"},
            "trust_remote_code": True,
            "hidden_size": 8,
        }
        with contextlib.suppress(ConfigError):
            build({"architecture": architecture, "num_hidden_layers": 1, "num_attention_heads": 2, **options}, 50, 8, 0)
        assert sorted(p.name for p in place.iterdir()) == ["evil.py"]
    with pytest.raises(ConfigError, match="transformers cannot build"):
        build({"architecture": "vit", **options}, 50, 8, 0)


def test_saved_models_and_tokenizers_cannot_bring_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obey(monkeypatch)
    place = planted(tmp_path / "hub")
    automatic = {
        "AutoConfig": "evil.Evil",
        "AutoModelForCausalLM": "evil.Evil",
        "AutoTokenizer": ["evil.Evil", "evil.Evil"],
    }
    write_json(place / "config.json", {"model_type": "stranger", "auto_map": automatic})
    write_json(place / "tokenizer_config.json", {"tokenizer_class": "Stranger", "auto_map": automatic})
    with pytest.raises(RunError, match="holds no model that can be loaded"):
        load_model(place)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_tokenizer(str(place))
    assert not (place / "ran").exists()


def test_pickled_weights_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    lm = build({"architecture": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
                "num_attention_heads": 2}, 50, 8, 0)  # fmt: skip
    lm.save_pretrained(tmp_path)
    load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(lm.state_dict(), tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    with pytest.raises(RunError, match="holds no model that can be loaded"):
        load_model(tmp_path)


def test_no_file_of_ours_can_unpickle_or_trust() -> None:
    loose = re.compile(
        r"trust_remote_code(?!=False)|\bpickle\b|(torch|np)\.load\(|allow_pickle|(?<![\w.])(eval|exec)\(|shell=True"
        r"|os\.system|yaml\.(unsafe_|full_)?load\((?!text, Loader=_Loader)"
    )
    found = [f"{p.name}: {m.group()}" for p in SOURCE.rglob("*.py") for m in loose.finditer(p.read_text())]
    assert found == []
    calls = [n for p in SOURCE.rglob("*.py") for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.Call)]
    loads = [c for c in calls if getattr(c.func, "attr", "") in ("from_pretrained", "from_config")]
    assert len(loads) >= 3
    assert all("trust_remote_code=False" in ast.unparse(call) for call in loads)
