"""`doremi sample --path`: data sets drawn from the user's own text and tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config.loading import dump
from doremi.config.prepared import asked
from doremi.corpus.key import corpus_key
from doremi.corpus.library import CORPORA, place, take
from doremi.corpus.prepare import Progress, prepare
from doremi.corpus.store import verify_in_place
from doremi.corpus.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from doremi.drawing.order import Drawn
from doremi.drawing.source import Source
from doremi.errors import DamageError
from doremi.export.mapping import read_places
from doremi.export.sampled import NAME, mapped
from doremi.export.sampled.mapped import mapped_corpus
from doremi.rundir.data_request import prepare_request
from doremi.rundir.layout import RunDirectory
from read_exports import weights_file
from tiny import tiny_config, write_corpus
from token_shapes import FORMS

WEIGHTS = {"prose": 0.25, "code": 0.75, "digits": 0.0}
MINE = {"prose": 120, "code": 90}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A prepared run without trainings. Beside it lies the user's text, of which the run has seen nothing."""
    folder = tmp_path_factory.mktemp("mapped")
    config = tiny_config(folder, write_corpus(folder / "source"))
    request = prepare_request(config)
    key = corpus_key(request)
    corpus = prepare(request, place(folder / "runs", key), key=key)
    config.root.mkdir()
    (config.root / "config.yaml").write_text(dump(config))
    (config.root / "manifest.json").write_text("{}")
    take(corpus, config.root / "corpus", asked(config.data), full_check=False)
    weights_file(folder / "mixture.json", WEIGHTS)
    for name, count in MINE.items():
        (folder / "mine" / name).mkdir(parents=True)
        texts = (f"number {i}: " + f"my {name} and more " * (5 + i % 7) for i in range(count))
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / "mine" / name / "all.jsonl").write_text("\n".join(lines) + "\n")
    return RunDirectory(config.root)


def texts_of(folder: Path, name: str) -> set[str]:
    return {json.loads(line)["text"] for line in (folder / name / "all.jsonl").read_text().splitlines()}


def command(run: RunDirectory, out: Path, to: str, *options: str, mine: Path | None = None) -> tuple[int, str]:
    """The exit code, and all that is said."""
    folder = run.root.parents[1]
    paths = [f"--path={name}={(mine or folder / 'mine') / name}" for name in MINE]
    words = ["sample", str(run.root), "--tokens=20k", f"--to={to}", f"--out={out}", f"--mixture={folder}/mixture.json"]
    result = CliRunner().invoke(app, [*words, *(options or paths)])
    return result.exit_code, result.output + (str(result.exception) if result.exit_code else "")


def test_documents_are_those_of_the_paths(run: RunDirectory, tmp_path: Path) -> None:
    """Text and tokens: only the user's documents, in their shares, each pass whole; the text is encoded once."""
    code, said = command(run, tmp_path / "text", "jsonl")
    assert code == 0, said
    assert "'prose', 'code' is encoded into" in said
    receipt = json.loads((tmp_path / "text" / NAME).read_text(encoding="utf-8"))
    assert receipt["finished"]
    assert list(receipt["domains"]) == list(MINE)
    lines = [path.read_text(encoding="utf-8").splitlines() for path in sorted((tmp_path / "text").glob("*.jsonl"))]
    found = [json.loads(line)["text"] for shard in lines for line in shard]
    mine = {name: texts_of(run.root.parents[1] / "mine", name) for name in MINE}
    tokenizer = load_tokenizer(str(run.corpus_folder / "tokenizer"))
    for name, texts in mine.items():
        own = [text for text in found if name in text]
        assert all(any(part in text for text in texts) for part in set(own) - texts)  # what is held out in part
        tokens = sum(len(tokenizer.encode(text)) + 1 for text in own)
        domain = receipt["domains"][name]
        assert tokens == domain["tokens"] == pytest.approx(20_000 * WEIGHTS[name], abs=100)
        assert len(own) == domain["documents"]
        assert domain["epochs"] == pytest.approx(tokens / domain["corpus_tokens"])
        assert domain["epochs"] < 1 or len(set(own) & texts) > MINE[name] / 2
    assert receipt["domains"]["code"]["epochs"] > 1
    assert len(found) == receipt["total"]["documents"]
    assert any("tokens of the text are held out, as in `doremi prepare`" in note for note in receipt["notes"])
    code, said = command(run, tmp_path / "flat", "flat")
    assert code == 0, said
    assert "encoded into" not in said
    assert json.loads((tmp_path / "flat" / NAME).read_text())["domains"] == receipt["domains"]
    flat = np.concatenate([np.fromfile(path, "<u2") for path in sorted((tmp_path / "flat").glob("*.bin"))])
    assert flat.tolist() == [
        token for text in found for token in [*tokenizer.encode(text), run.corpus().tokenizer.end_of_text_id]
    ]


def test_a_large_text_is_told_of_in_tenths(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepared(*_: object, progress: Progress, **__: object) -> None:
        for done in (0, 4, 15, 16, 29, 100):
            progress("code", done, 100)
        progress("prose", 0, 0)

    monkeypatch.setattr(mapped, "prepare", prepared)
    monkeypatch.setattr(mapped.library, "find", lambda folder, key: None)
    places = read_places(None, [f"code={run.root.parents[1] / 'mine' / 'code'}"], list(run.corpus().domains))
    said: list[str] = []
    mapped_corpus(run, places, ["code"], said.append)
    assert said[1:] == ["code: 10 % is read", "code: 20 % is read", "code: 100 % is read"]


def test_other_text_needs_another_folder(run: RunDirectory, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in MINE:
        (mine / name).mkdir(parents=True)
        (mine / name / "all.jsonl").write_text((run.root.parents[1] / "mine" / name / "all.jsonl").read_text())
    assert command(run, tmp_path / "out", "flat", mine=mine)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    code, said = command(run, tmp_path / "out", "flat", mine=mine)
    assert (code, "finished already" in said) == (0, True)
    with (mine / "code" / "all.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')
    code, said = command(run, tmp_path / "out", "flat", mine=mine)
    assert code != 0
    assert "begun with another RUN or text at its paths" in said
    assert {path: path.read_bytes() for path in before} == before


REFUSED = {
    "domain 'prose' has weight but no path, though others have one": ["code={mine}/code"],
    "should be NAME=PLACE, with a domain of this run": ["news={mine}/code"],
    "nowhere": ["prose={mine}/nowhere", "code={mine}/code"],
    "holds samples of a trainer; give files of text or of tokens": ["prose={mine}/mds", "code={mine}/code"],
    "belongs to domain 'prose' too, so its text would count twice": ["prose={mine}/code", "code={mine}/code"],
}


@pytest.mark.parametrize("words", REFUSED)
def test_refused_before_anything_is_written(words: str, run: RunDirectory, tmp_path: Path) -> None:
    mine = run.root.parents[1] / "mine"
    (mine / "mds").mkdir(exist_ok=True)
    (mine / "mds" / "index.json").write_text('{"shards": [{"samples": 3}]}')
    before = sorted((run.root.parent / CORPORA).iterdir())
    options = [f"--path={one}".format(mine=mine) for one in REFUSED[words]]
    code, said = command(run, tmp_path / "out", "flat", *options)
    assert code != 0
    assert words in said.replace("\n", " ")
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    assert sorted((run.root.parent / CORPORA).iterdir()) == before


# -- tokens ------------------------------------------------------------------------------------------------------------


def as_tokens(run: RunDirectory, form: str, folder: Path, tokenizer: TextTokenizer | None = None) -> list[str]:
    """The user's text of `code` as files of tokens, that of `prose` as text; the options that name them."""
    own, mine = tokenizer or load_tokenizer(str(run.corpus_folder / "tokenizer")), run.root.parents[1] / "mine"
    lines = (mine / "code" / "all.jsonl").read_text().splitlines()
    end = run.corpus().tokenizer.end_of_text_id
    ended = [] if form == "no ends" else [end]
    write = FORMS["datatrove" if form == "no ends" else form]  # whose index tells documents apart
    write(folder, [[*own.encode(json.loads(line)["text"]), *ended] for line in lines])
    return [f"--path=prose={mine / 'prose'}", f"--path=code={folder}"]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in FORMS if name != "flat"]


@pytest.mark.parametrize("form", ["flat", "no ends", *SLOW])
def test_tokens_are_drawn_as_their_text_would_be(form: str, run: RunDirectory, tmp_path: Path) -> None:
    """The same bytes."""
    options = as_tokens(run, form, tmp_path / "tokens")
    code, said = command(run, tmp_path / "out", "flat", *options)
    assert code == 0, said
    assert "the tokens of 'code' are used where they lie" in said
    assert command(run, tmp_path / "text", "flat")[0] == 0
    assert (tmp_path / "out" / "shard-00000.bin").read_bytes() == (tmp_path / "text" / "shard-00000.bin").read_bytes()


def test_a_prefix_of_megatron(run: RunDirectory, tmp_path: Path) -> None:
    options = as_tokens(run, "megatron", tmp_path / "tokens")
    code, said = command(run, tmp_path / "out", "jsonl", f"{options[1]}/a_text_document", options[0])
    assert code == 0, said
    texts = [json.loads(line)["text"] for line in (tmp_path / "out" / "shard-00000.jsonl").read_text().splitlines()]
    assert len({text for text in texts if "code" in text}) == pytest.approx(MINE["code"] / 2, abs=3)


def test_tokens_of_another_tokenizer_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    """Whether its ids are too large, or are those of other texts."""
    other = train_tokenizer([f"{i * 7919} another text" for i in range(3000)], 290)
    options = as_tokens(run, "megatron", tmp_path / "tokens", other)
    code, said = command(run, tmp_path / "out", "flat", *options)
    assert (code != 0, "the run's tokenizer has not made these tokens" in said) == (True, True), said
    large = np.full(500, 60_000, "<u2")
    large[::50] = run.corpus().tokenizer.end_of_text_id
    (tmp_path / "large").mkdir()
    large.tofile(tmp_path / "large" / "tokens.bin")
    code, said = command(run, tmp_path / "out", "flat", options[0], f"--path=code={tmp_path / 'large'}")
    assert (code != 0, "60,000" in said, "tokens of the run's tokenizer only" in said) == (True, True, True), said
    assert not (tmp_path / "out").exists()


def test_a_file_of_tokens_that_changed_or_ends_early_is_named(run: RunDirectory, tmp_path: Path) -> None:
    """Of the run's own corpus, whose files nobody looks at again. Here it is the corpus of mapped paths."""
    options = as_tokens(run, "flat", tmp_path / "tokens")
    places = read_places(None, [one.removeprefix("--path=") for one in options], list(run.corpus().domains))
    corpus = mapped_corpus(run, places, list(MINE), print)
    path = tmp_path / "tokens" / "tokens.bin"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DamageError, match=r"tokens\.bin has [\d,]+ bytes instead of"):
        verify_in_place(corpus, full=False)
    source = Source.of(corpus)
    drawn = Drawn(np.array([1]), np.array([corpus.entries["code"].train.documents - 1]))
    with (tmp_path / "out").open("wb") as file, pytest.raises(DamageError, match="a token file is shorter"):
        source.open(drawn).write(file.fileno())
