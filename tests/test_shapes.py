"""Every shape that a corpus comes in, through whole commands: what is tokenized is what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tokenizers import Tokenizer
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.errors import DoremiError
from doremi.rundir.layout import RunDirectory
from shaped import SHAPES, SMALL, WORDS, lines, mixed, texts_of, write

TOPICS = list(WORDS)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def doremi(*words: str, **settings: str) -> str:
    """One command in the current folder; all that it says."""
    options = [*SMALL, *(f"{key.replace('__', '.')}={value}" for key, value in settings.items())]
    options = options if words[0] != "init" else []
    result = CliRunner().invoke(app, [*words, *(part for option in options for part in ("--set", option))])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words: str, **settings: str) -> str:
    with pytest.raises(DoremiError) as caught:
        doremi(*words, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def config(**data: Any) -> None:
    Path("my.yaml").write_text(yaml.safe_dump({"data": data}))


def there(domain: str, split: str, run: str = "my") -> list[str]:
    corpus = RunDirectory(Path("runs") / run).whole_corpus()
    tokenizer = Tokenizer.from_file(str(corpus.folder / "tokenizer" / "tokenizer.json"))
    ids = np.fromfile(corpus.path(domain, f"{split}.bin"), "<u2")
    ends = np.fromfile(corpus.path(domain, f"{split}.ends"), "<u8").astype(int)
    return [tokenizer.decode(list(ids[a : b - 1])) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def everything(domain: str) -> list[str]:
    return sorted(there(domain, "train") + there(domain, "validation"))


def entry(domain: str, run: str = "my") -> dict[str, Any]:
    return json.loads((Path("runs") / run / "corpus" / "manifest.json").read_text())["domains"][domain]


def written(shapes: list[str]) -> None:
    """A domain in each shape, and the configuration that describes them."""
    domains = {}
    for topic, shape in zip(TOPICS, shapes, strict=True):
        write_in, said, pattern = SHAPES[shape]
        write_in(Path("data") / topic, texts_of(topic))
        domains[topic] = {"train": str(Path("data") / topic / pattern), **said}
    config(domains=domains)


# -- every reader ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [["csv", "saved", "tar"], ["sources", "nested", "messages"]], ids="-".join)
def test_every_document_of_every_shape_is_tokenized(shapes: list[str]) -> None:
    written(shapes)
    said = doremi("prepare", "my.yaml")
    for topic in TOPICS:
        assert everything(topic) == sorted(texts_of(topic))
    if "tar" in shapes:
        assert "left out: 1 .png in an archive, 1 hidden in an archive, 1 test file in an archive" in said
        assert "left out: 3 files" in said  # state.json, dataset_info.json, and a file of another dataset
        assert "not in the state.json of their dataset 1" in said
    else:
        assert "left out: 1 where language" in said
        assert entry("code")["found"]["left_out"] == {"where language": 1}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_goes_through_the_whole_run(shape: str) -> None:
    written([shape] * 3)
    doremi("run", "my.yaml")
    assert (Path("runs") / "my" / "report.html").exists()
    for topic in TOPICS:
        assert everything(topic) == sorted(texts_of(topic))


# -- one file for all domains ----------------------------------------------------------------------------------------


def shared(**data: Any) -> None:
    config(train="all.jsonl", domain_field="meta.source", domains={topic: {} for topic in TOPICS}, **data)
    write(Path("all.jsonl"), lines(mixed(TOPICS)))


def test_a_field_names_the_domain_of_each_document(monkeypatch: pytest.MonkeyPatch) -> None:
    shared()
    from doremi.corpus import readers

    opened, reads = readers.opened, []
    monkeypatch.setattr(readers, "opened", lambda file: (reads.append(file), opened(file))[1])
    assert "1 training file, parted by 'meta.source', validation split off" in doremi("run", "my.yaml", "--dry-run")
    reads.clear()
    said = doremi("prepare", "my.yaml")
    assert sum(file.endswith("all.jsonl") for file in reads) == 1
    assert "2 documents of no domain; left out: 1 meta.source 'blog', 1 no value" in said
    for topic in TOPICS:
        assert everything(topic) == sorted(texts_of(topic))
    assert not list(Path("runs").rglob(".parted"))
    assert "prepare                  done" in doremi("status", "my.yaml")


def test_others_go_where_they_are_told_to() -> None:
    shared(others="law")
    assert "of no domain" not in doremi("prepare", "my.yaml")
    assert everything("law") == sorted([*texts_of("law"), "of none", "of a rare one"])
    shared(others="stop")
    assert "has no value in a document, which names no domain" in refused("prepare", "my.yaml")
    config(
        train="all.jsonl", domain_field="meta.source",
        domains={"prose": {"values": ["web", "law"]}, "code": {}, "poems": {}},
    )  # fmt: skip
    message = refused("prepare", "my.yaml")
    assert "domain 'poems': in none of 182 documents 'meta.source' is 'poems'" in message
    assert "1 meta.source 'blog'" not in message or "blog" in message


def test_several_values_are_one_domain_and_a_pass_is_not_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    shared()
    config(
        train="all.jsonl", domain_field="meta.source",
        domains={"prose": {"values": ["web", "law"]}, "code": {}},
    )  # fmt: skip
    from doremi.corpus import prepare

    train = prepare._trained
    monkeypatch.setattr(prepare, "_trained", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(BaseException):  # noqa: B017
        doremi("prepare", "my.yaml")
    monkeypatch.setattr(prepare, "_trained", train)
    (done,) = Path("runs").rglob(".parted/parted.json")
    before = done.stat().st_mtime_ns
    seen: list[int] = []
    monkeypatch.setattr(prepare, "_trained", lambda *a: (seen.append(done.stat().st_mtime_ns), train(*a))[1])
    doremi("prepare", "my.yaml")
    assert seen == [before]
    assert everything("prose") == sorted([*texts_of("web"), *texts_of("law")])
