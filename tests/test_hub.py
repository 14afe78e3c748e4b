"""Datasets of the Hugging Face Hub by name: which files are meant, and a Hub on this machine that serves them."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from doremi.config import load
from doremi.config.prepared import asked as hash_of
from doremi.config.prepared import settings
from doremi.corpus import remote
from doremi.corpus.hub import dataset as asking
from doremi.corpus.hub.card import of_converted, read_card
from doremi.corpus.hub.dataset import Dataset, dataset_at
from doremi.corpus.patterns import expand
from doremi.corpus.readers import read_documents
from doremi.errors import ConfigError, DataError
from hub import Hub, served
from shaped import WORDS, lines, mixed, texts_of, write
from test_addresses import table
from test_shapes import config, doremi, everything, here, refused

__all__ = ["here"]
TOPICS = list(WORDS)
TOKEN = "t0ken-that-nobody-writes"


# -- the card and the names of files ---------------------------------------------------------------------------------

C4 = {"configs": [
    {"config_name": "en", "data_files": [
        {"split": "train", "path": "en/c4-train.*.json.gz"}, {"split": "validation", "path": ["en/c4-validation.*"]},
    ]},
    {"config_name": "all", "default": True, "data_files": "**/*.json.gz"},
]}  # fmt: skip
C4_FILES = [
    "README.md",
    "en/c4-train.0.json.gz",
    "en/c4-validation.0.json.gz",
    "de/c4-train.0.json.gz",
    "en/.x.json.gz",
]
LAYOUTS: dict[str, tuple[dict[str, Any], list[str], str | None, dict[str, list[str]]]] = {
    "a card": (C4, C4_FILES, "en", {"train": ["en/c4-train.0.json.gz"], "validation": ["en/c4-validation.0.json.gz"]}),
    "the card's default": (
        C4, C4_FILES, None,
        {"train": ["de/c4-train.0.json.gz", "en/c4-train.0.json.gz", "en/c4-validation.0.json.gz"]},
    ),
    "splits of other names": (
        {"configs": [{"config_name": "x", "data_files": [
            {"split": "some", "path": "a/*.jsonl"}, {"split": "test", "path": ["b.jsonl"]}]}]},
        ["a/1.jsonl", "a/deep/2.jsonl", "b.jsonl"], None, {"some": ["a/1.jsonl"], "test": ["b.jsonl"]},
    ),
    "a folder of the card": (
        {"configs": [
            {"config_name": "x", "data_dir": "x"}, {"config_name": "y", "data_dir": "y", "data_files": "*.csv"}]},
        ["x/train.jsonl", "x/dev.jsonl", "y/a.csv", "y/z/b.csv"], "x",
        {"train": ["x/train.jsonl"], "validation": ["x/dev.jsonl"]},
    ),
    "files of a folder of the card": (
        {"configs": [
            {"config_name": "x", "data_dir": "x"}, {"config_name": "y", "data_dir": "./y/", "data_files": "*.csv"}]},
        ["x/a.csv", "y/a.csv", "y/z/b.csv"], "y", {"train": ["y/a.csv"]},
    ),
    "shards": (
        {}, ["data/train_sft-00000-of-00002.parquet", "data/train_sft-00001-of-00002.parquet", "data/train.parquet",
             "data/test-00000-of-00001-ab.parquet", "README.md"], None,
        {"train_sft": ["data/train_sft-00000-of-00002.parquet", "data/train_sft-00001-of-00002.parquet"],
         "test": ["data/test-00000-of-00001-ab.parquet"]},
    ),
    "folders": (
        {}, ["x/training-set/a.jsonl", "my val/b.jsonl", "train.jsonl", "other/c.jsonl"], None,
        {"train": ["x/training-set/a.jsonl"], "validation": ["my val/b.jsonl"]},
    ),
    "names": (
        {}, ["x/train.jsonl", "my-dev_1.jsonl", "eval.2.jsonl", "contest.jsonl", "trainer.jsonl", ".hid/train.jsonl"],
        None,
        {"train": ["x/train.jsonl"], "validation": ["my-dev_1.jsonl"], "test": ["eval.2.jsonl"]},
    ),
    "no names": (
        {}, ["a.jsonl", "b/c.jsonl", "__old/d.jsonl", "dataset_infos.json", ".gitattributes"], None,
        {"train": ["a.jsonl", "b/c.jsonl"]},
    ),
}  # fmt: skip


def card_text(said: dict[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(said)}---\n# Words\n" if said else "# Words only\n---\n"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_are_those_that_the_card_or_their_names_say(layout: str) -> None:
    said, names, asked, splits = LAYOUTS[layout]
    card = read_card(card_text(said))
    found = card.splits(asked or card.default or "", names)
    assert {split: sorted(files) for split, files in found.items()} == splits


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_they_are_what_the_library_takes(layout: str, tmp_path: Path) -> None:
    if find_spec("datasets") is None:
        pytest.skip("not installed: datasets")
    from datasets import load_dataset_builder

    said, names, asked, splits = LAYOUTS[layout]
    for name in names:
        data = b"{}" if name == "dataset_infos.json" else b'{"text": "x"}\n'
        write(tmp_path / "d" / name, gzip.compress(data) if name.endswith(".gz") else data)
    write(tmp_path / "d" / "README.md", card_text(said).encode())
    builder = load_dataset_builder(str(tmp_path / "d"), name=asked, cache_dir=str(tmp_path / "cache"))
    theirs = {
        str(s): sorted(str(Path(f).relative_to(tmp_path / "d")) for f in fs)
        for s, fs in builder.config.data_files.items()
    }
    assert theirs == splits


def test_a_converted_dataset_has_a_folder_for_each_configuration() -> None:
    names = ["en/train/0000.parquet", "en/extra_split/0000.parquet", "de/train/0000.parquet", ".gitattributes"]
    card = of_converted(names)
    assert card is not None
    assert card.splits("en", names) == {"train": [names[0]], "extra_split": [names[1]]}
    assert of_converted([*names, "data/x.jsonl"]) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [("---\na: [\n---\n", "is not YAML"), ("---\nconfigs: 5\n---\n", "not a list"),
     ("---\nconfigs: [{data_files: {train: x}}]\n---\n", "are no paths"),
     ("---\nconfigs: [{data_files: [{path: x}]}]\n---\n", "without its name"),
     ("---\nconfigs: [{data_files: 7}]\n---\n", "are no paths")],
)  # fmt: skip
def test_a_card_that_cannot_be_understood(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_card(text).splits("default", ["a.jsonl"])


def test_an_address_of_a_dataset_is_read_back() -> None:
    for asked in (
        Dataset("a/b"),
        Dataset("a/b.c", "x y", "s", "refs/pr/1"),
        Dataset("a/b", split="tést", revision="v1"),
    ):
        assert dataset_at(asked.address) == asked
    assert dataset_at("hf://datasets/a/b@refs/convert/parquet") == Dataset("a/b", revision="refs/convert/parquet")
    for other in ("hf://datasets/a/b/c.jsonl", "hf://a/b", "s3://datasets/a/b", "datasets/a/b", "hf://datasets/a/*"):
        assert dataset_at(other) is None
    with pytest.raises(DataError, match="cannot be asked for 'cofnig'"):
        dataset_at("hf://datasets/a/b?cofnig=en")


@pytest.mark.parametrize(
    ("domain", "says"),
    [
        ({"dataset": "squad"}, "'squad' is no name of a dataset; give OWNER/NAME"),
        ({"train": "x", "config": "en"}, "config needs dataset"),
        ({"train": "x", "dataset": "a/b"}, "has both train and dataset"),
    ],
)
def test_a_domain_says_one_of_files_and_dataset(domain: dict[str, str], says: str) -> None:
    config(domains={"a": domain, "b": "b"})
    with pytest.raises(ConfigError, match=says):
        load(Path("my.yaml"))


def test_all_that_is_asked_of_a_dataset_makes_another_corpus() -> None:
    said = [{}, {"config": "en"}, {"split": "train"}, {"revision": "v1"}, {"dataset": "a/c"}]
    made = []
    for one in said:
        config(domains={"a": {"dataset": "a/b", **one}, "b": "b"})
        made.append(load(Path("my.yaml")).data)
    assert len({hash_of(data) for data in made}) == len(said)
    assert settings(made[0])["domains"]["b"].keys().isdisjoint({"dataset", "config", "split", "revision"})


# -- a Hub on this machine -------------------------------------------------------------------------------------------


def jsonl(topic: str) -> bytes:
    return lines([{"text": text} for text in texts_of(topic)])


def halves(topic: str, *names: str) -> list[dict[str, str]]:
    return [{"split": name, "path": f"{topic}/{file}*"} for name, file in zip(names, "ab", strict=True)]


def own() -> dict[str, bytes]:
    card = {"configs": [
        {"config_name": "all", "data_files": "*/**"},
        {"config_name": "web", "data_files": halves("web", "train", "test")},
        {"config_name": "code", "data_files": "code/*.parquet"},
        {"config_name": "law", "data_files": halves("law", "some", "more")},
    ]}  # fmt: skip
    return {
        "README.md": card_text(card).encode(), ".gitattributes": b"x",
        "web/a.jsonl.gz": gzip.compress(jsonl("web"), mtime=0),
        "web/b.jsonl": jsonl("law"), "code/a.parquet": table("code"), "law/a.jsonl": jsonl("law"), "law/b.jsonl": b"{}",
    }  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with a dataset, which this process takes for the real one."""
    from huggingface_hub import HfFileSystem, constants
    from huggingface_hub.utils import _http

    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(_http, "time", SimpleNamespace(time=time.time, sleep=lambda _: None))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    there = Hub()
    there.put("own/texts", own())
    with served(there) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        forget()
        yield there
    HfFileSystem.clear_instance_cache()


def forget() -> None:
    """As another process would, know nothing of the Hub."""
    for one in (asking._commit, asking._tree, asking._read_card):
        one.cache_clear()


def domains(**more: str) -> dict[str, Any]:
    asked = {"dataset": "own/texts", **more}
    return {topic: {**asked, "config": topic, **({"split": "some"} if topic == "law" else {})} for topic in TOPICS}


def test_what_is_wrong_with_a_dataset_is_one_line(hub: Hub) -> None:
    hub.put("own/program", {"program.py": b"", "data.txt": b"x"})
    hub.put("own/gated", own())
    hub.put("own/private", own())
    hub.put("own/empty", {"README.md": b""})
    hub.gated.add("own/gated")
    hub.private["own/private"] = "another"
    for asked, says in {
        "own/none": "dataset own/none: there is no such dataset, or it is private; check its name, or set HF_TOKEN",
        "own/private": "dataset own/private: there is no such dataset, or it is private",
        "own/texts": "dataset own/texts: has several configurations: all, web, code, law; say which with `config`",
        "own/texts?config=latin": "has no configuration 'latin', but all, web, code, law; give one of them as `config`",
        "own/texts?config=web&split=tset": "has no split 'tset', but train, test; give one of them as `split`",
        "own/texts?config=law": "has several splits: some, more; say which with `split`",
        "own/texts@v9?config=web": "dataset own/texts: there is no such revision",
        "own/program": "is made by a program (program.py), which doremi does not run",
        "own/empty": "has no files of the configuration 'default'",
    }.items():
        with pytest.raises(DataError) as caught:
            expand(f"hf://datasets/{asked}", "data.domains.web.train")
        assert str(caught.value).startswith("data.domains.web.train: dataset own/")
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="is gated; ask for access on its page at the Hub"):
        next(read_documents([expand("hf://datasets/own/gated?config=web", "k")[0].path], text_field="text", domain="a"))


def test_without_a_network_the_hub_is_not_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="the Hub is not asked, since HF_HUB_OFFLINE is set"):
        expand("hf://datasets/own/texts?config=web", "k")
    assert hub.asked == []


def test_only_what_is_asked_for_is_found(hub: Hub) -> None:
    files = expand("hf://datasets/own/texts?config=web", "k")
    assert [(file.name, file.split) for file in files] == [("web/a.jsonl.gz", "train"), ("web/b.jsonl", "test")]
    (one,) = expand("hf://datasets/own/texts?config=web&split=test", "k")
    assert (one.name, one.split, one.size) == ("web/b.jsonl", None, len(jsonl("law")))
    assert one.path == f"hf://datasets/own/texts@{hub.branches['own/texts', 'main']}/web/b.jsonl"
    before = {file.name: file.version for file in files}
    hub.put("own/texts", {**own(), "web/b.jsonl": b"{}", "new": b""})
    forget()
    after = {file.name: file.version for file in expand("hf://datasets/own/texts?config=web", "k")}
    assert [name for name in before if before[name] != after[name]] == ["web/b.jsonl"]


def test_a_preparation_that_goes_on_reads_what_it_began_with(hub: Hub) -> None:
    """Although the branch has moved; another run reads what is there now. The token is written nowhere."""
    hub.gated.add("own/texts")
    config(domains=domains())
    assert "is gated; ask for access" in refused("prepare", "my.yaml")
    first = hub.branches["own/texts", "main"]
    assert json.loads(Path("runs/my/revisions.json").read_text())["commits"] == {"own/texts@main": first}
    hub.put("own/texts", {**own(), "law/a.jsonl": lines([{"text": f"new {text}"} for text in texts_of("law")])})
    hub.gated.clear()
    forget()
    said = doremi("prepare", "my.yaml")
    for topic in TOPICS:
        assert everything(topic) == sorted(texts_of(topic))
    said += doremi("status", "my.yaml")
    assert "changed" not in said
    assert TOKEN not in said
    assert [p for p in Path().rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()] == []
    paths = [
        file["path"] for file in json.loads(Path("runs/my/corpus/sources.json").read_text())["domains"]["web"]["train"]
    ]
    assert paths == [f"hf://datasets/own/texts@{first}/web/a.jsonl.gz"]
    hub.datasets.clear()  # and a commit needs nobody to be asked
    forget()
    assert "changed" not in doremi("status", "my.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, {"breaks_after": 900}, {"busy_every": 4}], ids=str)
def test_init_and_run_over_a_hub(hub: Hub, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SMALLEST_BLOCK", 256)
    monkeypatch.setattr(remote, "BLOCK", 4096)
    monkeypatch.setattr(remote, "TRIES", 12)
    hub.put("own/texts", {name: data for name, data in own().items() if name != "law/b.jsonl"})
    said = doremi("init", "my.yaml", "hf://datasets/own/texts")
    assert "left out: all: the files of other configurations" in said
    text = Path("my.yaml").read_text()
    assert f"{{dataset: own/texts, config: code, revision: {hub.branches['own/texts', 'main']}}}" in text
    for name, value in how.items():
        setattr(hub, name, value)
    doremi("prepare" if how else "run", "my.yaml")
    for topic in TOPICS:
        assert everything(topic) == sorted(texts_of(topic))
    if "busy_every" in how:
        assert any(status == 429 for _, status in hub.asked)


@pytest.mark.slow
def test_a_dataset_of_one_configuration_wants_a_field(hub: Hub) -> None:
    hub.put("own/mixed", {"data/train-00000-of-00001.jsonl": lines(mixed(TOPICS))})
    assert "has one configuration only; say with --domain-field" in refused(
        "init", "my.yaml", "hf://datasets/own/mixed"
    )
    doremi("init", "my.yaml", "hf://datasets/own/mixed", "--domain-field", "meta.source")
    doremi("prepare", "my.yaml")
    assert everything("law") == sorted(texts_of("law"))
