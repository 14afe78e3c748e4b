"""`doremi sample`: data sets of each form as they lie on the disk."""

from __future__ import annotations

import json
import re
import shlex
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from pyarrow import parquet
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.corpus.library import place, take
from doremi.corpus.parts import PrepareRequest
from doremi.corpus.prepare import prepare
from doremi.corpus.sources import DomainSource
from doremi.corpus.value import Corpus
from doremi.drawing import shards
from doremi.errors import DamageError, ExportError, Interrupted
from doremi.executors import ray_shards
from doremi.export import export
from doremi.export.sampled import NAME, sample
from doremi.rundir.layout import RunDirectory
from make_run import MadeRun, make_run
from read_exports import weights_file
from tiny import DOMAINS, write_corpus

NAMES = ("web", "code", "grüne Bücher", "never")
WEIGHTS = {"web": 0.25, "code": 0.75 - 1e-6, "grüne Bücher": 1e-6, "never": 0.0}
TOKENS = 40_000  # code is gone through several times
SHARD = 6_000
AWKWARD = ("e\u0301 <|endoftext|>\u2028 \U0001f600\n", "\t x ")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
Documents = dict[bytes, tuple[int, int]]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory(make_run(tmp_path / "runs" / "demo", MadeRun(domains=NAMES, seeds=(0,))))
    configure(made, workers=1)
    return made


@pytest.fixture
def draw(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Draws into a folder of `tmp_path`; the receipt."""
    mixture = weights_file(tmp_path / "mixture.json", WEIGHTS)

    def drawn(name: str, to: str = "flat", shard_tokens: int = SHARD, **changes: Any) -> dict[str, Any]:
        monkeypatch.setattr("doremi.export.sampled.SHARD_TOKENS", shard_tokens)
        options = {"tokens": str(TOKENS), "to": to, "mixture": mixture, **changes}
        return json.loads(sample(run, out=tmp_path / name, **options).read_text(encoding="utf-8"))

    return drawn


def configure(run: RunDirectory, **changes: Any) -> None:
    (run.root / "config.yaml").write_text(yaml.safe_dump({**run.config(), **changes}))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*"))}


def split(tokens: np.ndarray) -> list[bytes]:
    """Documents of a flat array; 0 ends each."""
    return [part.tobytes() for part in np.split(tokens, np.flatnonzero(tokens == 0) + 1)[:-1]]


def documents_of(corpus: Corpus) -> Documents:
    """Domain and number of each training document by its tokens."""
    found = {}
    for i, name in enumerate(corpus.domains):
        for number, one in enumerate(split(np.fromfile(corpus.path(name, "train.bin"), "<u2"))):
            found[one] = (i, number)
    assert len(found) == sum(corpus.count("train", "documents"))
    return found


# -- data sets of tokens ---------------------------------------------------------------------------------------------


def test_flat(run: RunDirectory, draw: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Whole documents; each once a pass; tokens within a document; nothing of a domain without weight."""
    receipt, corpus = draw("out"), run.whole_corpus()
    known = documents_of(corpus)
    data = contents(tmp_path / "out")
    assert len(data) == -(-TOKENS // SHARD)
    assert receipt["finished"]
    assert receipt["files"] == {name: len(one) for name, one in data.items()}
    found = [known[one] for one in split(np.frombuffer(b"".join(data.values()), "<u2"))]
    for i, name in enumerate(NAMES):
        said, numbers = receipt["domains"][name], [number for domain, number in found if domain == i]
        sizes = [len(tokens) // 2 for tokens, (domain, _) in known.items() if domain == i]
        assert said["documents"] == len(numbers)
        assert said["tokens"] == sum(sizes[number] for number in numbers)
        assert abs(said["tokens"] - WEIGHTS[name] * TOKENS) <= max(sizes)
        assert said["epochs"] == pytest.approx(said["tokens"] / sum(sizes))
        times = Counter(numbers)
        assert not times or max(times.values()) - min([times[number] for number in range(len(sizes))]) <= 1
    assert receipt["domains"]["never"]["documents"] == 0
    assert receipt["domains"]["code"]["epochs"] > 4
    passes = [number for domain, number in found if domain == 1]
    assert sorted(passes[:200]) == sorted(passes[200:400]) == list(range(200))
    assert passes[:200] != passes[200:400]
    assert receipt["total"]["tokens"] == sum(one["tokens"] for one in receipt["domains"].values())


def test_megatron(run: RunDirectory, draw: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    draw("flat")
    receipt = draw("out", "megatron")
    flat, data = contents(tmp_path / "flat"), contents(tmp_path / "out")
    assert {name: one for name, one in data.items() if name.endswith(".bin")} == flat
    number = 0
    for name, tokens in flat.items():
        head, rest = data[name.replace(".bin", ".idx")][:34], data[name.replace(".bin", ".idx")][34:]
        magic, version, code, sequences, boundaries = struct.unpack("<9sQBQQ", head)
        assert (magic, version, code, boundaries) == (b"MMIDIDX\x00\x00", 1, 8, sequences + 1)
        sizes, starts = np.frombuffer(rest, "<i4", sequences), np.frombuffer(rest, "<i8", sequences, 4 * sequences)
        parts = [tokens[start : start + 2 * size] for start, size in zip(starts, sizes, strict=True)]
        assert parts == split(np.frombuffer(tokens, "<u2"))
        assert np.frombuffer(rest, "<i8", offset=12 * sequences).tolist() == list(range(sequences + 1))
        number += sequences
    assert number == receipt["total"]["documents"]
    pairs = [line.split() for line in (tmp_path / "out" / "blend.txt").read_text().splitlines()]
    assert sum(int(tokens) for tokens, _ in pairs) == receipt["total"]["tokens"]
    assert [Path(f"{prefix}.bin").read_bytes() for _, prefix in pairs] == list(flat.values())


@pytest.mark.parametrize("to", ["flat", "megatron"])
def test_documents_longer_than_shards_make_no_empty_file(to: str, draw: Callable[..., dict[str, Any]]) -> None:
    receipt = draw("out", to, tokens="400", shard_tokens=1)
    assert 1 < len(receipt["files"]) < 400
    assert all(receipt["files"].values())


def test_any_number_of_processes_writes_the_same(
    run: RunDirectory, draw: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    said: list[str] = []
    one = draw("one", say=said.append)
    assert said[-7:] == [f"{number} of 7 shards are written" for number in range(1, 8)]
    configure(run, workers=2)
    assert draw("two") == one
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("ray", ["like Ray", pytest.param("Ray", marks=[needs_ray, pytest.mark.slow])])
def test_ray_writes_the_same(
    ray: str, run: RunDirectory, draw: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command, with what stands for Ray, and with Ray."""
    one = draw("one")
    configure(run, executor="ray")
    like = LikeRay()
    if ray != "Ray":
        monkeypatch.setattr(ray_shards, "connected", lambda address: nullcontext(like))
    words = ["sample", str(run.root), f"--tokens={TOKENS}", "--to=flat", f"--mixture={tmp_path / 'mixture.json'}"]
    result = CliRunner().invoke(app, [*words, f"--out={tmp_path / 'two'}"])
    assert result.exit_code == 0, result.output
    assert "7 of 7 shards are written" in result.output
    assert like.tasks == (0 if ray == "Ray" else 7)
    assert json.loads((tmp_path / "two" / NAME).read_text(encoding="utf-8")) == one
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


class LikeRay:
    """Does a task when its result is asked for."""

    tasks = 0

    def remote(self, work: Callable[..., object]) -> Any:
        return SimpleNamespace(options=lambda num_cpus: SimpleNamespace(remote=lambda *given: (work, given)))

    def wait(self, waiting: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return waiting[:num_returns], waiting[num_returns:]

    def get(self, ready: list[Any]) -> list[object]:
        self.tasks += len(ready)
        return [work(*given) for work, given in ready]


def test_a_machine_of_ray_without_the_folder(tmp_path: Path) -> None:
    job = shards.Job(tmp_path / "gone", "flat", None, None, (), 1)  # type: ignore[arg-type]
    assert str(ray_shards._write(job, 0)).endswith("all machines of Ray must have the same folders")


def test_a_stopped_command_goes_on_with_the_same_bytes(
    run: RunDirectory, draw: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = draw("whole", "megatron")
    write, written = shards.written, []

    def stopped(job: Any, number: int) -> Any:
        if number == 3:
            raise KeyboardInterrupt
        return write(job, number)

    def counted(job: Any, number: int) -> Any:
        written.append(number)
        return write(job, number)

    monkeypatch.setattr(shards, "written", stopped)
    out = tmp_path / "out"
    with pytest.raises(Interrupted, match="Finished shards are kept"):
        draw("out", "megatron")
    assert len(contents(out)) == 6
    (out / "shard-00001.idx").unlink()  # killed between the two files of a shard
    (out / ".shard-00003.bin.tmp").write_bytes(b"half")
    monkeypatch.setattr(shards, "written", counted)
    assert draw("out", "megatron") == whole
    assert written == [1, *range(3, 7)]
    assert contents(out) == contents(tmp_path / "whole")
    assert not list(out.glob(".*.tmp"))


@pytest.mark.parametrize("number", [0, 6])
def test_a_shard_that_fails_leaves_no_file(
    number: int,
    run: RunDirectory,
    draw: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the next one is written meanwhile, and is whole."""

    def full(path: Path) -> None:
        if f"shard-{number:05}" in path.name:
            raise OSError(28, "no space left")

    monkeypatch.setattr(shards, "flush_to_disk", full)
    with pytest.raises(OSError, match="no space"):
        draw("out")
    assert set(contents(tmp_path / "out")) == {f"shard-{i:05}.bin" for i in (range(6) if number else [1])}
    assert not list((tmp_path / "out").glob(".*.tmp"))


def test_a_finished_folder_is_left_alone(
    run: RunDirectory, draw: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    said: list[str] = []
    receipt = draw("out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[!.]*")}
    assert draw("out", say=said.append) == receipt
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(said) == 1
    assert "finished already" in said[0]
    data = contents(tmp_path / "out")
    (tmp_path / "out" / "shard-00002.bin").write_bytes(b"cut")  # copied badly, say
    assert draw("out") == receipt
    assert contents(tmp_path / "out") == data


REFUSED = {
    "another --tokens (40000, now 50000)": {"tokens": "50k"},
    "another --to (flat, now megatron)": {"to": "megatron"},
    "another --mixture": {"mixture": "natural"},
    "should be flat, megatron, jsonl, parquet": {"to": "torchtitan"},
    "should be a number of tokens": {"tokens": "many"},
    "less than half a document of any domain": {"name": "other", "tokens": "1"},
    "holds something else": {"name": "foreign"},
}


@pytest.mark.parametrize("words", REFUSED)
def test_refused(words: str, run: RunDirectory, draw: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    draw("out", tokens=str(TOKENS), shard_tokens=10**6)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError) as error:
        draw(**{"name": "out", **REFUSED[words]})
    assert words in str(error.value)
    assert [path.name for path in (tmp_path / "foreign").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("to", ["jsonl", "parquet"])
def test_a_tokenizer_that_is_none_is_named(to: str, draw: Callable[..., dict[str, Any]]) -> None:
    """The corpus of these tests has no real one."""
    with pytest.raises(DamageError, match=r"tokenizer\.json: is no tokenizer \(Model missing"):
        draw("out", to)


def test_other_seed_and_other_corpus_are_named(
    run: RunDirectory, draw: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    draw("out")
    configure(run, seed=3)
    with pytest.raises(ExportError, match=r"another seed of the run \(0, now 3\)"):
        draw("out")
    assert draw("other")["total"]["tokens"]
    assert contents(tmp_path / "other") != contents(tmp_path / "out")


def test_a_domain_that_was_read_in_part(run: RunDirectory, draw: Callable[..., dict[str, Any]]) -> None:
    configure(run, data={"domains": {"code": {"tokens": 5_000_000}}})
    receipt = draw("out")
    assert receipt["domains"]["code"]["whole_domain_tokens"] > 4_900_000
    assert any("hold only a part of 'code'" in note for note in receipt["notes"])
    assert "whole_domain_tokens" not in receipt["domains"]["web"]


# -- data sets of text -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, dict[str, set[str]]]:
    """A run over real text with a real tokenizer, and the texts of each domain."""
    folder = tmp_path_factory.mktemp("text")
    source = write_corpus(folder / "source")
    with (source / "code" / "text.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in AWKWARD)
    texts = {name: set(lines_of(source / name / "text.jsonl")) for name in DOMAINS}
    domains = {name: DomainSource((str(source / name),)) for name in DOMAINS}
    request = PrepareRequest(domains, sequence_length=16, vocab_size=300, validation_max_tokens=300, workers=1)
    corpus = prepare(request, folder / "new")
    corpus = Corpus.read((folder / "new").rename(_parents_made(place(folder / "runs", corpus.key))))
    root = folder / "runs" / "demo"
    root.mkdir()
    (root / "config.yaml").write_text(yaml.safe_dump({"name": "demo", "seed": 0, "workers": 1}))
    (root / "manifest.json").write_text("{}")
    take(corpus, root / "corpus", "as made", full_check=False)
    weights_file(folder / "mixture.json", {"prose": 0.1, "code": 0.9, "digits": 0.0})
    return RunDirectory(root), texts


def _parents_made(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path


def lines_of(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def read_texts(folder: Path, to: str) -> list[str]:
    if to == "parquet":
        tables = [parquet.read_table(path) for path in sorted(folder.glob("*.parquet"))]
        return [text for table in tables for text in table["text"].to_pylist()]
    return [text for path in sorted(folder.glob("*.jsonl")) for text in lines_of(path)]


@pytest.mark.parametrize("to", ["jsonl", "parquet"])
def test_text_is_that_of_the_files(to: str, text_run: tuple[RunDirectory, dict[str, set[str]]], tmp_path: Path) -> None:
    run, texts = text_run
    mixture = run.root.parents[1] / "mixture.json"
    command = ["sample", str(run.root), "--tokens", "20k", "--to", to, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--mixture", str(mixture)])
    assert result.exit_code == 0, result.output
    receipt = json.loads((tmp_path / "out" / NAME).read_text(encoding="utf-8"))
    found = read_texts(tmp_path / "out", to)
    assert len(found) == receipt["total"]["documents"]
    parts = [text for text in set(found) if text not in texts["prose"] | texts["code"]]
    assert set(AWKWARD) <= set(found)
    assert 0 < len(parts) < len(set(found)) / 10  # of documents that are held out in part
    assert all(any(part in whole for whole in texts["prose"] | texts["code"]) for part in parts)
    assert receipt["domains"]["code"]["epochs"] > 1
    assert any("all encode to the tokens that they had" in note for note in receipt["notes"])
    flat = sample(run, tokens="20k", to="flat", out=tmp_path / "flat", mixture=mixture)
    assert json.loads(flat.read_text())["domains"] == receipt["domains"]


def test_text_that_tokens_do_not_give_back_is_said(
    text_run: tuple[RunDirectory, dict[str, set[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = text_run
    monkeypatch.setattr("doremi.corpus.tokenizer.TextTokenizer.encode", lambda self, text: [1])
    out = sample(run, tokens="20k", to="jsonl", out=tmp_path / "out", mixture=run.root.parents[1] / "mixture.json")
    notes = " ".join(json.loads(out.read_text())["notes"])
    assert re.search(r"decoding is not exact: of (\d\d) documents, \1 encode to other tokens", notes)


def test_the_command_in_the_readme_of_axolotl(
    text_run: tuple[RunDirectory, dict[str, set[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = text_run
    out = tmp_path / "for axolotl"
    export(run, "axolotl", mixture=run.root.parents[1] / "mixture.json", out=out)
    readme = (out / "README.txt").read_text(encoding="utf-8")
    line = next(line for line in readme.replace("\\\n", " ").splitlines() if "doremi sample" in line)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    listed = yaml.safe_load((out / "datasets.yaml").read_text(encoding="utf-8"))["datasets"]
    files = [path for one in listed for path in out.glob(one["data_files"])]
    assert (
        sum(path.read_bytes().count(b"\n") for path in files)
        == json.loads((out / "sampled" / NAME).read_text(encoding="utf-8"))["total"]["documents"]
    )
