"""What went wrong for other people with their data, through whole commands: what is said is what lies on the disk."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import WordLevelTrainer
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.errors import DoremiError
from doremi.rundir.layout import RunDirectory

WORDS = {
    "web": "the river market people often walk small city garden music light evening train story share bread",
    "code": "def return self class import value index range print list dict none true false while break",
}
SMALL = [
    *["model.preset=0.1m", "training.steps=20", "training.batch_size=8", "data.sequence_length=32"],
    *["data.vocab_size=400", "data.workers=1", "data.validation_max_tokens=20000"],
]


def docs(topic: str, number: int, seed: int = 0) -> list[str]:
    rng = random.Random(f"{topic}{seed}")
    return [f"{topic} {i}. " + " ".join(rng.choice(WORDS[topic].split()) for _ in range(60)) for i in range(number)]


def jsonl(path: str, texts: list[Any]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def refused(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert isinstance(result.exception, DoremiError)
    return str(result.exception)


def doremi(*words: str, **settings: str) -> str:
    """One command in the current folder; all that it says."""
    options = SMALL if words[0] not in ("init",) else []
    options = [*options, *(f"{key.replace('__', '.')}={value}" for key, value in settings.items())]
    result = CliRunner().invoke(app, [*words, *(part for option in options for part in ("--set", option))])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def texts_of(run: str, domain: str, split: str) -> list[str]:
    corpus = RunDirectory(Path("runs") / run).whole_corpus()
    tokenizer = Tokenizer.from_file(str(corpus.folder / "tokenizer" / "tokenizer.json"))
    ids = np.fromfile(corpus.path(domain, f"{split}.bin"), "<u2")
    ends = np.fromfile(corpus.path(domain, f"{split}.ends"), "<u8").astype(int)
    return [tokenizer.decode(list(ids[a : b - 1])) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def entry(run: str, domain: str) -> dict[str, Any]:
    return json.loads((Path("runs") / run / "corpus" / "manifest.json").read_text())["domains"][domain]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_validation_and_test_files_in_the_folder_are_never_trained_on() -> None:
    for name in ("web", "code"):
        held, test = ([f"{mark} {text}" for text in docs(name, 30, seed)] for seed, mark in ((1, "HELD"), (2, "TEST")))
        jsonl(f"data/{name}/train.jsonl", docs(name, 100))
        jsonl(f"data/{name}/validation.jsonl", held)
        Path(f"data/{name}/data").mkdir()
        parquet.write_table(pa.table({"text": test}), f"data/{name}/data/test-00000-of-00001.parquet")
    said = doremi("init", "my.yaml", "data")
    assert "web: 1 training file, 1 validation file, not read: 1 test file (data/test-00000-of-00001.parquet)" in said
    assert "1 training file, 1 validation file, not read: 1 test file" in doremi("run", "my.yaml", "--dry-run")
    assert "not read: 1 test files (data/test-00000-of-00001.parquet)" in doremi("prepare", "my.yaml")
    for name in ("web", "code"):
        assert texts_of("my", name, "train") == docs(name, 100)
        assert sorted(texts_of("my", name, "validation")) == sorted(f"HELD {text}" for text in docs(name, 30, 1))


def test_splits_at_the_top_are_no_domains() -> None:
    for name in ("train", "validation"):
        jsonl(f"data/{name}/a.jsonl", docs("web", 10))
    assert "'train'. That is the name of a split, not of a domain." in refused("init", "my.yaml", "data")


def test_held_out_text_of_one_domain_is_trained_on_in_none() -> None:
    web, again = docs("web", 150), "in other words\n"
    jsonl("data/web/train.jsonl", web[:100])
    jsonl("held/web.jsonl", web[100:])
    rewrapped = [text.replace(" ", "\n", 9).replace(". ", ".  ") for text in web[100:]]
    jsonl("data/crawl/train.jsonl", [*docs("code", 100), *rewrapped, again])
    Path("my.yaml").write_text(
        "data: {domains: {web: {train: data/web, validation: held/web.jsonl}, crawl: data/crawl}}"
    )
    said = doremi("prepare", "my.yaml")
    held = {" ".join(text.split()) for text in texts_of("my", "crawl", "validation")}
    excluded = 50 - len(held & set(web[100:]))  # what crawl holds out itself is in both validation sets
    assert excluded > 40
    assert f"{excluded} not trained on because their text is held out" in said
    assert entry("my", "crawl")["found"]["excluded"] == excluded
    trained = {" ".join(text.split()) for text in texts_of("my", "crawl", "train")}
    assert not trained & set(web[100:])
    assert "in other words" in trained | held


def test_of_a_few_long_documents_parts_are_held_out() -> None:
    jsonl("data/web/a.jsonl", docs("web", 400))
    Path("data/code").mkdir()
    books = ["\n".join(docs("code", 200, seed)) for seed in range(4)]
    for i, book in enumerate(books):
        Path(f"data/code/book-{i}.txt").write_text(book)
    doremi("init", "my.yaml", "data")
    doremi("prepare", "my.yaml", data__validation_max_tokens="3000")
    code, web = entry("my", "code"), entry("my", "web")
    assert 1000 < code["validation"]["tokens"] <= 3000
    assert code["validation"]["documents"] >= 20
    # no text is lost, none is on both sides
    train, held = texts_of("my", "code", "train"), texts_of("my", "code", "validation")
    assert sum(map(len, train)) + sum(map(len, held)) == sum(map(len, books))
    assert not any(piece in part for piece in held for part in train)
    # natural weights are those of the text that there is
    sizes = {name: domain["tokens"] for name, domain in (("code", code), ("web", web))}
    assert sizes["code"] == code["train"]["tokens"] + code["validation"]["tokens"]
    characters = {"code": sum(map(len, books)), "web": sum(map(len, docs("web", 400)))}
    assert sizes["code"] / sum(sizes.values()) == pytest.approx(characters["code"] / sum(characters.values()), abs=0.03)


def test_nothing_counts_twice_in_silence() -> None:
    for name in ("web", "code"):
        jsonl(f"data/{name}/part-0.jsonl", docs(name, 100))
    Path("data/web/part-0.jsonl.gz").write_bytes(gzip.compress(Path("data/web/part-0.jsonl").read_bytes()))
    Path("data/code/latest.jsonl").symlink_to("part-0.jsonl")
    jsonl("data/code/more.jsonl", [*docs("code", 10), *docs("web", 5)])
    said = doremi("init", "my.yaml", "data")
    assert "packed copy of a file beside it 1" in said
    assert "the same file under another name 1" in said
    kept = doremi("prepare", "my.yaml")
    assert "web: " in kept
    assert entry("my", "code")["found"]["duplicates"] == {"within": 10, "across": 0, "dropped": 0}
    # the domains are in alphabetical order: code's copies of web come first
    assert entry("my", "web")["found"]["duplicates"] == {"within": 0, "across": 5, "dropped": 0}
    assert entry("my", "web")["train"]["documents"] + entry("my", "web")["validation"]["documents"] == 100
    doremi("prepare", "my.yaml", name="dropped", data__duplicates="drop")
    assert entry("dropped", "code")["found"]["duplicates"] == {"within": 10, "across": 0, "dropped": 10}
    assert entry("dropped", "web")["found"]["duplicates"]["dropped"] == 5
    every = [text for name in ("web", "code") for text in texts_of("dropped", name, "train")]
    assert len(every) == len(set(every))


def test_sources_that_changed_are_told_and_a_run_without_them_goes_on() -> None:
    for name in ("web", "code"):
        jsonl(f"data/{name}/a.jsonl", docs(name, 100))
    doremi("init", "my.yaml", "data")
    doremi("prepare", "my.yaml")
    assert "has changed" not in doremi("prepare", "my.yaml")
    jsonl("data/web/b.jsonl", docs("web", 100, seed=5))
    for said in (doremi("prepare", "my.yaml"), doremi("run", "my.yaml", "--dry-run")):
        flat = " ".join(said.split())
        assert "The text has changed since it was prepared. web: 1 training file new (b.jsonl)." in flat
        assert "To take the new text in, start a new run (--set name=...)" in flat
    Path("data").rename("gone")
    assert "the prepared corpus is used" in doremi("run", "my.yaml", "--dry-run")
    assert "has changed" not in doremi("prepare", "my.yaml")


def test_a_domain_of_unknown_tokens_is_refused_unless_allowed() -> None:
    for name in ("web", "code"):
        jsonl(f"data/{name}/a.jsonl", docs(name, 60))
    backend = Tokenizer(WordLevel(unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    backend.train_from_iterator(docs("web", 60), WordLevelTrainer(special_tokens=["<unk>", "</s>"]))
    backend.save("words.json")
    doremi("init", "my.yaml", "data")
    settings = {"data__tokenizer": "words.json", "name": "words"}
    options = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    said = refused("prepare", "my.yaml", *(part for option in options for part in ("--set", option)))
    assert "domain 'code': the tokenizer does not know" in said
    assert "data.max_unknown is 10.0%" in said
    said = doremi("prepare", "my.yaml", data__max_unknown="1.0", **settings)
    counts = entry("words", "code")["train"]
    assert counts["unknown"] / counts["tokens"] > 0.5
    share = f"{counts['unknown'] / counts['tokens']:.2%}"
    assert share in next(line for line in said.splitlines() if line.startswith("code "))
    assert "warning: The tokenizer does not know some of the text of code (" in " ".join(said.split())


def test_bad_records_stop_or_are_counted() -> None:
    for name in ("web", "code"):
        jsonl(f"data/{name}/a.jsonl", [*docs(name, 60), *([None, 3, "a\0b"] if name == "web" else [])])
    with Path("data/web/a.jsonl").open("a") as file:
        file.write('{"text": "\\ud800"}\n')
    Path("my.yaml").write_text("data: {domains: {web: data/web, code: data/code}}")
    said = refused("prepare", "my.yaml", "--set", "name=stopped")
    assert "line 61: field 'text' is null, not text" in said
    assert "set data.on_bad_record to skip" in said
    said = doremi("prepare", "my.yaml", data__on_bad_record="skip")
    assert entry("my", "web")["found"]["bad"] == {"NUL": 1, "a number": 1, "lone surrogate": 1, "null": 1}
    assert "skipped: 1 NUL, 1 a number, 1 lone surrogate, 1 null" in said
