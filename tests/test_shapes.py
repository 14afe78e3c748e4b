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
    from doremi.corpus.shards import begin

    train = begin._trained
    monkeypatch.setattr(begin, "_trained", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(BaseException):  # noqa: B017
        doremi("prepare", "my.yaml")
    monkeypatch.setattr(begin, "_trained", train)
    (done,) = Path("runs").rglob(".parted/parted.json")
    before = done.stat().st_mtime_ns
    seen: list[int] = []
    monkeypatch.setattr(begin, "_trained", lambda *a: (seen.append(done.stat().st_mtime_ns), train(*a))[1])
    doremi("prepare", "my.yaml")
    assert seen == [before]
    assert everything("prose") == sorted([*texts_of("web"), *texts_of("law")])


# -- init ------------------------------------------------------------------------------------------------------------


def test_init_of_one_file_with_a_field_for_the_domain() -> None:
    names = {"web": "https://web", "code": "code", "law": "Law & Order"}
    records = [
        {"body": {"text": r["text"]}, "source": names.get(r["meta"].get("source"), "")} for r in mixed(TOPICS)
    ] + [{"body": {"text": "x"}, "source": "blog"}]
    write(Path("all.jsonl"), lines(records))
    said = doremi("init", "my.yaml", "all.jsonl", "--text-field", "body.text", "--domain-field", "source")
    assert "left out: 1 rare values and documents without one (3 documents, of which 2 without)" in said
    made = yaml.safe_load(Path("my.yaml").read_text())["data"]
    assert (made["train"], made["domain_field"], made["text_field"]) == ("all.jsonl", "source", "body.text")
    assert made["domains"] == {"https:--web": {"values": ["https://web"]}, "Law & Order": {}, "code": {}}
    doremi("prepare", "my.yaml")
    assert everything("https:--web") == sorted(texts_of("web"))


def test_init_of_a_folder_of_files() -> None:
    for topic in TOPICS:
        half = len(texts_of(topic)) // 2
        for part, texts in enumerate((texts_of(topic)[:half], texts_of(topic)[half:])):
            write(
                Path(f"data/{topic}-{part:05}-of-00002.jsonl"), lines([{"parts": text.split("\n")} for text in texts])
            )
    write(Path("data/README.md"), b"about")
    said = doremi("init", "my.yaml", "data", "--text-field", "parts")
    assert "web: 2 training files" in said
    made = yaml.safe_load(Path("my.yaml").read_text())["data"]
    assert list(made["domains"]) == ["code", "law", "web"]
    assert made["join"] == "\n\n"
    doremi("prepare", "my.yaml", data__join='"\\n"')
    assert everything("law") == sorted(texts_of("law"))


def test_an_odd_file_and_an_odd_folder_do_not_end_init(monkeypatch: pytest.MonkeyPatch) -> None:
    for topic in TOPICS:
        write(Path(f"data/{topic}/a.jsonl"), lines([{"text": text} for text in texts_of(topic)]))
    write(Path("data/web/b.jsonl.gz"), b"no archive")
    write(Path("data/law/b.jsonl"), b'{"text": null}\n')
    write(Path("data/pictures/a.png"), b"x")
    write(Path("data/broken/a.parquet"), b"x")
    said = doremi("init", "my.yaml", "data")
    assert "web: domain 'web': " in said
    assert "b.jsonl.gz: cannot be read (Not a gzipped file" in said
    assert "law: records that are no text: 1; data.on_bad_record: skip leaves them out" in said
    assert "left out: pictures: data.domains.pictures.train: " in said
    assert "left out: broken: domain 'broken': " in said
    assert list(yaml.safe_load(Path("my.yaml").read_text())["data"]["domains"]) == ["code", "law", "web"]


def test_what_init_cannot_describe_is_one_line() -> None:
    write(Path("all.jsonl"), lines(mixed(["web"])))
    assert "is a single file; say with --domain-field" in refused("init", "my.yaml", "all.jsonl")
    assert "has 1 frequent values" in refused("init", "my.yaml", "all.jsonl", "--domain-field", "meta.source")
    for topic in TOPICS:
        write(Path(f"data/{topic}.jsonl"), lines([{"body": text} for text in texts_of(topic)]))
    assert "has 'body'; say with --text-field which is the right one" in refused("init", "my.yaml", "data")
    assert "in the environment" in refused("init", "my.yaml", "s3://name:password@bucket/data")
    for topic in range(120):
        write(Path(f"many/book {topic}.txt.gz"), b"x")
    assert not Path("my.yaml").exists()
