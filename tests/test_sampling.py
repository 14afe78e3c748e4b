"""Samples of domains: what is read of the files, in which order, and how large the whole is then said to be."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile
from pyarrow import parquet
from typer.testing import CliRunner

from doremi.cli import commands as cli
from doremi.cli import init
from doremi.config import load
from doremi.corpus import sampling
from doremi.corpus.excerpt import Excerpt
from doremi.corpus.prepare import prepare
from doremi.corpus.readers import read_documents
from doremi.corpus.sampling import Draw, Drawn, draw, order
from doremi.corpus.size import Given
from doremi.corpus.sources import DomainSource, find_files
from doremi.errors import DataError
from doremi.mixture.plain import natural
from doremi.rundir.data_request import prepare_request
from doremi.rundir.layout import RunDirectory
from tiny import DOMAINS, tiny_values, write_corpus


def texts(seed: int, number: int, words: int = 40) -> list[str]:
    """Documents that no two seeds share."""
    rng = random.Random(seed)
    return [f"{seed} {i} " + " ".join(str(rng.randint(0, 999)) for _ in range(words)) for i in range(number)]


def lines(documents: list[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in documents).encode()


def drawn(folder: Path | str, tokens: int, place: Path) -> tuple[list[str], Drawn]:
    """The texts of a sample of about so many tokens, and what it says of itself."""
    source = DomainSource([str(folder)])
    files = find_files(source, key="domain").train
    found = draw(Draw("web", source, files, tokens), place / f"{tokens}.jsonl", rate=None, stop=lambda: False)
    return [json.loads(line)["text"] for line in Path(found.file.path).read_text().splitlines()], found


@pytest.fixture
def small_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SLOT", 4096)


# -- excerpts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_blocks_of_lines_hold_every_line_once(tmp_path: Path, size: int, end: bytes) -> None:
    documents = ["", "x", "a" * 150, *texts(0, 9, 2), "b" * 70, "y", "z"]
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(documents).rstrip(b"\n") + end)
    whole = path.stat().st_size
    found = [
        text
        for start in range(0, whole, size)
        for text in read_documents(
            [str(path)], text_field="text", domain="web", excerpt=Excerpt(span=(start, min(whole, start + size)))
        )
    ]
    assert found == documents


def test_an_error_in_a_block_says_where_it_counts_from(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(texts(0, 20)) + b"no json\n" + lines(texts(1, 1)))
    start = len(lines(texts(0, 18)))
    with pytest.raises(DataError, match=rf"a.jsonl, after byte {start:,}, line 3: is not JSON"):
        list(read_documents([str(path)], text_field="text", domain="web", excerpt=Excerpt(span=(start, start + 10**6))))


# -- samples ---------------------------------------------------------------------------------------------------------


def write_lines(folder: Path) -> None:
    for i in range(6):
        (folder / f"{i}.jsonl").write_bytes(lines(texts(i, 200)))


def write_tables(folder: Path) -> None:
    for i in range(6):
        parquet.write_table(pa.table({"text": texts(i, 200)}), folder / f"{i}.parquet", row_group_size=20)


def write_large_groups(folder: Path) -> None:
    for i in range(6):
        parquet.write_table(pa.table({"text": texts(i, 200)}), folder / f"{i}.parquet", row_group_size=70)


def write_packed(folder: Path) -> None:
    for i in range(6):
        (folder / f"{i}.jsonl.gz").write_bytes(gzip.compress(lines(texts(i, 200)), mtime=0))


def write_texts(folder: Path) -> None:
    for i in range(60):
        (folder / f"{i}.txt").write_text(texts(i, 1, 900)[0])


@pytest.mark.parametrize("write", [write_lines, write_tables, write_large_groups, write_packed, write_texts])
def test_a_larger_sample_contains_a_smaller_and_is_spread(
    write: Callable[[Path], None], tmp_path: Path, small_slots: None
) -> None:
    (tmp_path / "web").mkdir()
    write(tmp_path / "web")
    everything = sorted(drawn(tmp_path / "web", 10**9, tmp_path)[0])
    smaller: set[str] = set()
    for tokens in (4_000, 12_000, 30_000):
        found, how = drawn(tmp_path / "web", tokens, tmp_path)
        assert smaller < set(found) < set(everything)
        assert len(found) == len(set(found))
        assert 3.5 * tokens <= how.text == sum(len(text.encode()) for text in found)
        assert how.sample is not None
        assert how.sample.bytes < how.sample.of_bytes
        assert how.sample.packed == (write is write_packed)
        smaller = set(found)
    assert len({text.split()[0] for text in smaller}) >= 5  # of the files' seeds
    assert len(everything) == len(set(everything)) == (60 if write is write_texts else 1200)
    assert drawn(tmp_path / "web", 10**9, tmp_path)[1].sample is None  # it is all that there is


def test_a_sample_is_the_same_wherever_its_files_lie(tmp_path: Path, small_slots: None) -> None:
    found = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        write_lines(tmp_path / place)
        found.append(drawn(tmp_path / place, 5_000, tmp_path / f"of-{place}")[0])
    assert found[0] == found[1]


def test_the_size_of_the_whole_is_estimated_well(tmp_path: Path, small_slots: None) -> None:
    for write in (write_lines, write_tables):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(folder)
        whole = drawn(folder, 10**9, folder.with_suffix(".of"))[1].text
        _, part = drawn(folder, 10_000, folder.with_suffix(".of"))
        assert part.sample is not None
        assert part.text * part.sample.of_bytes / part.sample.bytes == pytest.approx(whole, rel=0.1)


def test_slots_are_taken_in_an_order_that_never_changes(tmp_path: Path) -> None:
    """A sample of today is a part of a larger one of next year."""
    for name in ("a.jsonl", "b/c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\n" * (3 << 20))
    files = find_files(DomainSource([str(tmp_path)]), key="domain").train
    assert [(file.name, slot) for file, slot in order(files)] == ORDER


ORDER = [("a.jsonl", 0), ("a.jsonl", 2), ("a.jsonl", 1), ("b/c.jsonl", 0), ("b/c.jsonl", 1), ("b/c.jsonl", 2)]


# -- how much is fetched -----------------------------------------------------------------------------------------------


class CountedFile(AbstractBufferedFile):
    """A file at an address, which counts what is fetched of all such files. It reads ahead unless it is told not to."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        CountedSystem.fetched += end - start
        return CountedSystem.store[self.path].getvalue()[start:end]


class CountedSystem(MemoryFileSystem):
    protocol = "counted"
    store: dict[str, Any] = {}  # noqa: RUF012 - one for all, as the class above has it
    pseudo_dirs = [""]  # noqa: RUF012
    fetched = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("counted://"))

    def _open(self, path: str, mode: str = "rb", *_: Any, **kwargs: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **kwargs)
        return CountedFile(self, path, mode, **{key: kwargs[key] for key in kwargs if key == "cache_type"})


@pytest.fixture
def counted() -> Iterator[CountedSystem]:
    fsspec.register_implementation("counted", CountedSystem, clobber=True)
    system = CountedSystem()
    yield system
    CountedSystem.store.clear()


def test_one_per_cent_of_a_hundred_tables_fetches_less_than_two(
    counted: CountedSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as much for each look at it: the rule, the tokenizer, the held-out text, the training text."""
    monkeypatch.setattr(sampling, "SLOT", 1 << 15)
    size = text = 0
    words = texts(0, 1500, 30)
    for i in range(100):
        own = [f"{i} {word}" for word in words]
        text += sum(len(one.encode()) for one in own)
        with counted.open(f"/web/{i:03}.parquet", "wb") as file:
            parquet.write_table(pa.table({"text": own}), file, row_group_size=100, use_dictionary=False)
        size += counted.size(f"/web/{i:03}.parquet") or 0
    values = {
        "name": "sampled", "runs": str(tmp_path / "runs"),
        "data": {"domains": {"web": {"train": "counted://web", "sample_tokens": round(text / 100 / 3.5)}},
                 "vocab_size": 300, "sequence_length": 16, "validation_max_tokens": 2000, "workers": 1},
    }  # fmt: skip
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values))
    CountedSystem.fetched = 0
    corpus = prepare(prepare_request(load(tmp_path / "my.yaml", [])), tmp_path / "corpus")
    read = corpus.entries["web"].train.bytes + corpus.entries["web"].validation.bytes
    assert 0.01 <= read / text < 0.013
    assert 0.005 < CountedSystem.fetched / size < 0.02
    assert corpus.samples["web"].of_files == 100
    assert corpus.sizes["web"].how == "estimated"
    assert corpus.sizes["web"].tokens == pytest.approx(corpus.entries["web"].tokens * text / read, rel=0.05)


# -- whole commands ----------------------------------------------------------------------------------------------------


def sampled_values(corpus: Path, runs: Path, **sizes: int) -> dict[str, Any]:
    """A tiny run that reads a part of prose, and is told how large that is."""
    values = tiny_values(corpus, runs)
    values["data"]["domains"]["prose"] = {"train": str(corpus / "prose"), "sample_tokens": 900, **sizes}
    return values


def command(place: Path, values: dict[str, Any], *words: str) -> str:
    (place / "my.yaml").write_text(yaml.safe_dump(values))
    done = CliRunner().invoke(cli.app, [words[0], str(place / "my.yaml"), *words[1:]], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_natural_weights_of_a_sample_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SLOT", 1024)
    corpus = write_corpus(tmp_path / "text")
    trained = prepare(prepare_request(load_values(tmp_path, tiny_values(corpus, tmp_path / "first"))), tmp_path / "all")
    whole = tiny_values(corpus, tmp_path / "runs")
    whole["data"]["tokenizer"] = str(trained.folder / "tokenizer")
    command(tmp_path, whole, "prepare")
    one = RunDirectory(tmp_path / "runs" / "tiny").corpus()
    part = sampled_values(corpus, tmp_path / "runs", tokens=one.entries["prose"].tokens)
    part["name"], part["data"]["tokenizer"] = "part", whole["data"]["tokenizer"]
    said = command(tmp_path, part, "prepare")
    run = RunDirectory(tmp_path / "runs" / "part")
    other = run.corpus()
    assert other.entries["prose"].tokens < one.entries["prose"].tokens / 2
    assert other.samples["prose"].bytes < other.samples["prose"].of_bytes
    assert not list((tmp_path / "runs" / "corpora").rglob("sample.json*"))
    assert natural(other.natural_sizes(run.passes())).weights == natural(one.natural_sizes({})).weights
    assert other.true_tokens()[:2] == one.count("train", "tokens")[:2]
    held = one.entries["prose"].validation.tokens - other.entries["prose"].validation.tokens  # less of the sample
    assert other.true_tokens()[2] == one.count("train", "tokens")[2] + held
    weights = [
        json.loads((tmp_path / "runs" / name / "mixtures" / "natural.json").read_text()) for name in ("tiny", "part")
    ]
    assert weights[0]["weights"] == weights[1]["weights"]
    epochs = [one["domains"]["prose"]["epochs"] for one in weights]
    assert epochs[0] == pytest.approx(epochs[1], rel=0.02)
    assert weights[1]["domains"]["prose"]["size"] == "given"
    assert "size" not in weights[1]["domains"]["code"]
    assert "size" not in weights[0]["domains"]["prose"]
    assert "prose" in said


def load_values(place: Path, values: dict[str, Any]) -> Any:
    (place / "values.yaml").write_text(yaml.safe_dump(values))
    return load(place / "values.yaml", [])


@pytest.mark.parametrize("what", ["tokens", "bytes"])
def test_a_size_that_is_less_than_what_was_read_is_refused(what: str, tmp_path: Path) -> None:
    values = tiny_values(write_corpus(tmp_path / "text"), tmp_path / "runs")
    values["data"]["domains"]["code"] = {"train": str(tmp_path / "text" / "code"), what: 100}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values))
    done = CliRunner().invoke(cli.app, ["prepare", str(tmp_path / "my.yaml")])
    assert isinstance(done.exception, DataError)
    assert f"data.domains.code.{what} is 100, but" in str(done.exception)


def test_a_large_budget_over_a_sample_is_planned_with_true_sizes(tmp_path: Path) -> None:
    """It was refused with the size of the sample as the largest feasible budget."""
    values = sampled_values(write_corpus(tmp_path / "text"), tmp_path / "runs", tokens=10**9)
    for name in DOMAINS:
        entry = values["data"]["domains"][name]
        values["data"]["domains"][name] = {**(entry if isinstance(entry, dict) else {"train": entry}), "tokens": 10**9}
    values |= {"budget_tokens": 3 * 10**9, "limits": {"max_epochs": 2.0}}
    values["candidates"] = {"mixtures": ["doremi", "natural", "unimax"], "seeds": 1}
    command(tmp_path, values, "prepare")
    corpus = RunDirectory(tmp_path / "runs" / "tiny").corpus()
    assert corpus.given["code"] == Given(tokens=10**9)
    for name in ("natural", "unimax"):
        record = json.loads((tmp_path / "runs" / "tiny" / "mixtures" / f"{name}.json").read_text())
        assert all(counts["epochs"] == pytest.approx(1.0, rel=1e-3) for counts in record["domains"].values())


# -- init --------------------------------------------------------------------------------------------------------------


def test_init_opens_twenty_files_of_a_thousand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 0
    for domain in ("a", "b"):
        for i in range(1000):
            path = tmp_path / "text" / domain / f"part-{i // 100}" / f"{i}.{'jsonl' if domain == 'a' else 'json'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(lines(texts(i, 1 + i % 3, 10)))
            size += path.stat().st_size
    opened: list[str] = []
    original = Path.open

    def counted_open(self: Path, *options: Any, **more: Any) -> Any:
        opened.extend([str(self)] if "text" in self.parts else [])
        return original(self, *options, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", counted_open)
        done = CliRunner().invoke(cli.app, ["init", str(tmp_path / "my.yaml"), str(tmp_path / "text")])
    assert done.exit_code == 0, done.output
    for domain in ("a", "b"):
        mine = {path for path in opened if f"/{domain}/" in path}
        assert len(mine) == 20
        assert len({Path(path).parent for path in mine}) >= 6  # spread over the folders
    assert done.output.count("(estimated from 20 of 1,000 files)") == 2
    said = next(line for line in done.output.splitlines() if line.startswith("a "))
    documents, counted = (int(word.strip("~").replace(",", "")) for word in said.split()[1:3])
    assert documents == pytest.approx(2000, rel=0.3)
    assert counted == pytest.approx(0.8 * size / 2, rel=0.3)
    assert load(tmp_path / "my.yaml", []).data.sample_tokens is None  # it is small, and read whole


def test_init_proposes_a_sample_of_a_large_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "LARGE_TOKENS", 4000)
    monkeypatch.setattr(init, "SAMPLE_TOKENS", 5000)
    corpus = write_corpus(tmp_path / "a, b: {c}")
    done = CliRunner().invoke(cli.app, ["init", str(tmp_path / "my.yaml"), str(corpus)])
    assert done.exit_code == 0, done.output
    found = load(tmp_path / "my.yaml", []).data
    assert found.sample_tokens == 5000
    assert found.domains["prose"].train == [str(corpus / "prose")]
    sizes = {name: sum(len(text.encode()) for text in read_documents(
        [str(corpus / name / "text.jsonl")], text_field="text", domain=name)) for name in DOMAINS}  # fmt: skip
    assert {name: domain.bytes for name, domain in found.domains.items()} == {
        name: size if size > 3.5 * 5000 else None for name, size in sizes.items()
    }
    assert "large domains: about 5,000 tokens of each are read (data.sample_tokens)" in done.output
