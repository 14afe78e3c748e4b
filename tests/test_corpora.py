"""One prepared corpus for any number of runs: where it lies, which one a run uses, and what a run keeps of it."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import DataConfig, RunConfig, load, load_run, validate
from doremi.config.prepared import NOT_IN_CORPUS, asked
from doremi.config.shapes import SharedFilesConfig
from doremi.corpus import library, peek, sources
from doremi.corpus.key import corpus_key
from doremi.corpus.shards.work import Work
from doremi.corpus.store import tokens
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.errors import ConfigError, DamageError, DataError, DoremiError, Interrupted, RunError
from doremi.events.event import Event, Reading, Said
from doremi.pipeline import preparing
from doremi.pipeline.workspace import open_workspace
from doremi.report.facts import read_facts
from doremi.rundir.corpora import find
from doremi.rundir.data_request import prepare_request
from doremi.rundir.layout import RunDirectory
from doremi.rundir.lock import CORPUS, Lock
from doremi.rundir.weights import mixture_named
from tiny import DOMAINS, Silent, tiny_config, tiny_values, write_corpus, write_tiny


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("generated"), documents=30)


@dataclass
class Place:
    """A folder with text in `text/`, `tiny.yaml` and, once something is prepared, `runs/`."""

    root: Path

    def __call__(self, command: str, *words: str, **settings: str) -> str:
        """One command on tiny.yaml; what it says, blanks and line breaks as one blank."""
        options = [f"--set={key.replace('__', '.')}={value}" for key, value in settings.items()]
        result = CliRunner().invoke(app, [command, *(words or (str(self.root / "tiny.yaml"),)), *options])
        if isinstance(result.exception, DoremiError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    def corpora(self) -> list[Path]:
        return sorted(path for path in (self.root / "runs" / "corpora").iterdir() if (path / "manifest.json").exists())

    def run(self, name: str = "tiny") -> RunDirectory:
        return RunDirectory(self.root / "runs" / name)

    def write(self, **changes: Any) -> Path:
        return write_tiny(self.root / "tiny.yaml", self.root / "text", self.root / "runs", **changes)

    def add(self, domain: str = "code", text: str = "one more document of a few words") -> None:
        with (self.root / "text" / domain / "text.jsonl").open("a") as file:
            file.write(json.dumps({"text": text}) + "\n")


@pytest.fixture
def place(tmp_path: Path, generated: Path) -> Place:
    shutil.copytree(generated, tmp_path / "text")
    made = Place(tmp_path)
    made.write()
    return made


# -- one corpus for several runs --------------------------------------------------------------------------------------


def test_runs_that_differ_in_training_alone_share_one_corpus(place: Place) -> None:
    first = place("prepare")
    assert "prepare: begins" in first
    again = place("prepare", training__batch_size="12")  # preparing binds nothing
    other = place("prepare", name="other", seed="3", training__steps="7", data__sequence_length="8")
    assert "prepare: begins" not in again + other
    (corpus,) = place.corpora()
    for name in ("tiny", "other"):
        assert place.run(name).whole_corpus().folder == corpus
        assert not list(place.run(name).root.rglob("train.*"))
    assert f"corpus: {corpus}" in other
    assert f"corpus: prepared, in {corpus}" in place("run", str(place.root / "tiny.yaml"), "--dry-run", name="third")


def test_another_vocabulary_makes_another_corpus_beside_the_old_one(place: Place) -> None:
    place("prepare")
    old = place.run().whole_corpus()
    place("prepare", data__vocab_size="280")
    new = place.run().whole_corpus()
    assert (new.tokenizer.vocab_size, old.tokenizer.vocab_size) == (280, 300)
    assert {old.folder, new.folder} == set(place.corpora())
    assert "prepare: begins" not in place("prepare")
    assert place.run().corpus().fingerprint == old.fingerprint


def test_the_order_of_the_domains_is_part_of_key_and_fingerprint(place: Place) -> None:
    place("prepare")
    domains = tiny_values(place.root / "text", place.root)["data"]["domains"]
    place.write(data={"domains": dict(reversed(domains.items()))})
    place("prepare", name="reversed")
    assert "prepare: begins" not in place("prepare", name="tiny")
    assert place.run().whole_corpus().folder == place.run("reversed").whole_corpus().folder
    shutil.rmtree(place.run().root)
    place.write()
    place("prepare")
    one, other = place.run().whole_corpus(), place.run("reversed").whole_corpus()
    assert other.domains.names == tuple(reversed(one.domains.names))
    assert one.fingerprint != other.fingerprint
    assert one.key != other.key


def test_passes_over_a_domain_belong_to_the_run(place: Place) -> None:
    place("prepare")
    place("prepare", name="twice", data__domains__code=f"{{train: {place.root / 'text' / 'code'}, epochs: 2}}")
    (corpus,) = place.corpora()
    passes = place.run("twice").passes()
    sizes = Corpus.read(corpus).natural_sizes(passes)
    once = Corpus.read(corpus).natural_sizes(place.run().passes())
    assert [sizes[name] / once[name] for name in DOMAINS] == [1, 2, 1]
    shares = [sizes[name] / sum(sizes.values()) for name in DOMAINS]
    natural = mixture_named(load_run(place.run("twice").root), Corpus.read(corpus), "natural", {})
    assert list(natural.aligned(Corpus.read(corpus).domains)) == pytest.approx(shares)
    assert read_facts(place.run("twice")).natural_weights() == pytest.approx(shares)


# -- sources that change, move or go ----------------------------------------------------------------------------------


def test_a_run_goes_on_with_the_corpus_that_it_recorded(place: Place) -> None:
    place("prepare")
    (corpus,) = place.corpora()
    os.utime(place.root / "text" / "prose" / "text.jsonl", (1, 1))
    assert corpus_key(prepare_request(load(place.root / "tiny.yaml"))) != Corpus.read(corpus).key  # nothing is read
    assert "has changed" not in place("prepare")  # another time, the same text
    place.add()
    said = place("prepare")
    assert "warning: The text has changed since it was prepared. code: 1 training file changed (text.jsonl)." in said
    assert f"start a new run (--set name=...), or remove {place.run().corpus_folder} and run the same command" in said
    assert place.corpora() == [corpus]
    shutil.rmtree(place.root / "text")
    assert "has changed" not in place("prepare")
    assert place.run().whole_corpus().folder == corpus


def test_new_text_is_taken_in_as_told(place: Place) -> None:
    place("prepare")
    place.add()
    shutil.rmtree(place.run().corpus_folder)
    assert "has changed" not in place("prepare")
    place("prepare", name="new")
    assert place.run().whole_corpus().folder == place.run("new").whole_corpus().folder
    old, new = (Corpus.read(path) for path in sorted(place.corpora(), key=lambda path: path.stat().st_mtime))
    assert sum(new.count("train", "documents")) == sum(old.count("train", "documents")) + 1


def test_text_that_was_moved_is_found_again(place: Place) -> None:
    place("prepare")
    (place.root / "text").rename(place.root / "moved")
    write_tiny(place.root / "tiny.yaml", place.root / "moved", place.root / "runs")
    assert "prepare: begins" not in place("prepare", name="other")
    assert len(place.corpora()) == 1


def test_runs_that_are_moved_with_their_corpora_go_on(place: Place) -> None:
    place("prepare")
    shutil.rmtree(place.root / "text")
    (place.root / "runs").rename(place.root / "elsewhere")
    run = RunDirectory((place.root / "elsewhere" / "tiny").rename(place.root / "elsewhere" / "renamed"))
    assert run.whole_corpus().folder.parent == place.root / "elsewhere" / "corpora"
    found = find(load(place.write(name="renamed"), [f"runs={place.root / 'elsewhere'}"]))
    assert found is not None
    assert found.folder == run.whole_corpus().folder


def test_a_corpus_that_is_gone_is_prepared_anew_or_missed_by_name(place: Place) -> None:
    place("prepare")
    before = place.run().whole_corpus()
    shutil.rmtree(place.root / "runs" / "corpora")
    with pytest.raises(RunError, match=r"the token files of this run are gone: its corpus is neither in .*/corpora/"):
        place.run().whole_corpus()
    said = place("prepare")
    assert "prepare: begins" in said
    assert "is gone" not in said
    assert place.run().whole_corpus().fingerprint == before.fingerprint
    shutil.rmtree(place.root / "runs" / "corpora")
    place.add()
    assert "warning: The corpus that this run used is gone, and its text has changed." in place("prepare")


def test_files_that_change_while_they_are_read_are_no_corpus(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def adds(work: Work) -> Corpus:
        work.progress = lambda *_: place.add()
        raise AssertionError(first_job(work))

    first_job = preparing._first_job
    monkeypatch.setattr(preparing, "_first_job", adds)
    with pytest.raises(DataError, match="changed while they were read; run the same command again"):
        place("prepare")
    assert place.corpora() == []


# -- data.corpus ------------------------------------------------------------------------------------------------------


@pytest.fixture
def named(place: Place) -> Place:
    """The corpus lies elsewhere, tiny.yaml names it by a relative path and no domains, and the text is gone."""
    place("prepare")
    place.corpora()[0].rename(place.root / "prepared")
    shutil.rmtree(place.root / "runs")
    shutil.rmtree(place.root / "text")
    values = tiny_values(place.root / "text", place.root / "runs")
    values["data"] = {"corpus": "prepared", "sequence_length": 16}
    (place.root / "tiny.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return place


def test_a_corpus_that_is_named_needs_no_domains(named: Place) -> None:
    config = load(named.root / "tiny.yaml", ["data.domains={code: {epochs: 3}}"])
    assert list(config.domains) == list(DOMAINS)
    assert (config.data.vocab_size, config.data.domains["code"].epochs) == (300, 3)
    named("prepare", data__domains="{code: {epochs: 3}}")
    assert named.run().whole_corpus().folder == named.root / "prepared"
    assert not (named.root / "runs" / "corpora").exists()
    assert named.run().passes()["code"] == 3
    named("status", str(named.run().root))  # the recorded configuration loads


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (
            "data.vocab_size=280",
            r"data\.vocab_size is 280 here, but the corpus .*/prepared was made with 300",
        ),
        (
            "data.domains={code: other}",
            r"domains\.code\.train is \['.*/other'\] here.* was made with \['.*/code'\]",
        ),
        ("data.domains={digits: {}, prose: {}}", r"digits, prose stand in another order in .*: prose, code, digits"),
        ("data.domains.law=x", r"'law' is not in the corpus .*/prepared, which has prose, code, digits"),
        ("data.corpus=nowhere", r"data\.corpus: .*/nowhere: there is no prepared corpus; check the path, or give"),
    ],
)
def test_what_contradicts_the_corpus_is_refused(setting: str, says: str, named: Place) -> None:
    key, _, value = setting.partition("=")
    with pytest.raises(ConfigError, match=says):
        named("prepare", **{key.replace(".", "__"): value})


def test_a_corpus_that_does_not_say_what_it_was_made_of_needs_domains(named: Place) -> None:
    (named.root / "prepared" / "data.json").unlink()
    with pytest.raises(ConfigError, match=r"data\.corpus: .*/prepared: .* or give data\.domains"):
        named("prepare")
    with pytest.raises(ConfigError, match=r"/prepared: has other domains than data\.domains: prose, code, digits"):
        named("prepare", data__domains="{code: x, prose: y, digits: z}")


def test_a_corpus_that_is_named_and_gone_is_missed_by_name(named: Place) -> None:
    named("prepare")
    (named.root / "prepared").rename(named.root / "away")
    with pytest.raises(RunError, match=r"data\.corpus: .*/prepared: there is no prepared corpus"):
        find(load(named.run().root / "config.yaml"))


# -- turns, and what a killed preparation leaves ----------------------------------------------------------------------


def prepare_alone(config: RunConfig, watch: Silent) -> Corpus:
    with open_workspace(config, World(0, 1, torch.device("cpu")), watch) as space:
        return preparing.prepare(space)


def test_of_two_that_want_the_same_corpus_one_waits(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(tmp_path, generated)
    made: list[Any] = []
    waits = threading.Event()

    def slow(work: Work) -> Any:
        assert waits.wait(60)
        made.append(first_job(work))
        return made[-1]

    class Waiting(Silent):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if isinstance(event, Said) and "Waiting for it" in event.message:
                waits.set()

    first_job = preparing._first_job
    monkeypatch.setattr(preparing, "_first_job", slow)
    watch = Waiting()
    first = threading.Thread(target=prepare_alone, args=(config, Silent()))
    first.start()
    key = corpus_key(prepare_request(config))
    while not (library.place(Path(config.runs), key) / "data.json").exists():
        assert first.is_alive()
    found = prepare_alone(config.model_copy(update={"name": "second"}), watch)
    first.join()
    assert [corpus.fingerprint for corpus in made] == [found.fingerprint]
    assert any(f"process {os.getpid()} is preparing this corpus. Waiting for it." in text for text in watch.messages)


def test_who_waits_can_be_stopped(generated: Path, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, generated)
    folder = library.place(Path(config.runs), corpus_key(prepare_request(config)))
    folder.mkdir(parents=True)
    with (
        Lock(folder, folder / CORPUS, print).alone(),
        pytest.raises(Interrupted, match="while another process prepared"),
    ):
        prepare_alone(config, Silent(0))


def test_a_killed_preparation_goes_on_where_it_stopped(generated: Path, tmp_path: Path) -> None:
    class Killed(Silent):
        def emit(self, event: Event) -> None:
            if isinstance(event, Reading) and event.what == "code":
                raise ZeroDivisionError

    config = tiny_config(tmp_path, generated)
    with pytest.raises(ZeroDivisionError):
        prepare_alone(config, Killed())
    folder = library.place(Path(config.runs), corpus_key(prepare_request(config)))
    left_over = folder / ".manifest.json.9.tmp"
    left_over.write_bytes(b"x")
    assert not (config.root / "corpus").exists()
    read: list[str] = []

    class Reader(Silent):
        def emit(self, event: Event) -> None:
            read.extend([event.what] if isinstance(event, Reading) else [])

    another = config.model_copy(update={"name": "another"})  # whoever comes next
    corpus = prepare_alone(another, Reader())
    assert list(dict.fromkeys(read)) == ["digits"]  # code was whole
    assert not left_over.exists()
    straight = prepare_alone(tiny_config(tmp_path / "straight", generated), Silent())
    assert corpus.fingerprint == straight.fingerprint


# -- what a run keeps -------------------------------------------------------------------------------------------------


def test_a_run_keeps_what_judging_needs_and_mends_it(place: Place) -> None:
    place("prepare")
    run = place.run()
    kept = sorted(str(path.relative_to(run.corpus_folder)) for path in run.corpus_folder.rglob("*") if path.is_file())
    validation = [f"{name}/validation.{what}" for name in sorted(DOMAINS) for what in ("documents", "ends")]
    assert kept == sorted(
        [*validation, "manifest.json", "sources.json", "where.json"]
        + ["tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"]
    )
    path = run.corpus_folder / "code" / "validation.documents"
    right = path.read_bytes()
    for damaged in (right[:-8], bytes(len(right))):
        path.write_bytes(damaged)
        place("prepare")
        assert path.read_bytes() == right


def test_another_corpus_in_its_place_is_damage(place: Place) -> None:
    place("prepare")
    (corpus,) = place.corpora()
    key = Corpus.read(corpus).key
    with pytest.raises(DamageError, match="holds another corpus"):
        library.find(corpus, key[: library.DIGITS] + "0" * 48)
    assert library.find(corpus, key) == Corpus.read(corpus)


def test_a_prepared_corpus_is_held_against_what_the_run_asks(place: Place) -> None:
    place("prepare")
    with pytest.raises(DataError, match=r"one sequence needs 100,000: lower data\.sequence_length"):
        place("prepare", data__sequence_length="99999")
    assert len(tokens(place.run().whole_corpus(), "code", "train")) > 0


# -- the key ----------------------------------------------------------------------------------------------------------

OTHER: dict[str, Any] = {
    "text_field": "body", "tokenizer": "gpt2", "vocab_size": 310, "tokenizer_sample_bytes": 2000,
    "sequence_length": 32, "validation_fraction": 0.2, "validation_max_tokens": 200, "on_bad_record": "skip",
    "duplicates": "drop", "max_unknown": 0.5, "epoch_matched": True, "workers": 2, "corpus": "nowhere",
    "sample_tokens": 5000, "join": " ", "where": {"language": "en"},
    "domain_field": "topic", "train": "code/text.jsonl", "validation": "code/text.jsonl", "others": "stop",
}  # fmt: skip


@pytest.mark.parametrize("field", [field for field in DataConfig.model_fields if field not in ("domains", "tokenized")])
def test_every_setting_is_in_the_key_or_changes_no_token(
    field: str, generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(generated)
    values = {**tiny_values(generated, Path("runs")), "budget_tokens": 10**9}
    if field in SharedFilesConfig.model_fields:
        domains = {name: {} for name in values["data"]["domains"]}
        values["data"] |= {"domains": domains, "domain_field": "source", "train": "prose/text.jsonl"}
    before = validate(values, "test")
    after = validate({**values, "data": {**values["data"], field: OTHER[field]}}, "test")
    in_key = corpus_key(prepare_request(before)) != corpus_key(prepare_request(after))
    assert in_key == (asked(before.data) != asked(after.data)) == (field not in NOT_IN_CORPUS)


def test_the_key_opens_no_file(generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (generated / "code" / "metadata.json").write_text('{"no": "text"}')
    request = prepare_request(validate(tiny_values(generated, Path("runs")), "test"))

    def opened(file: str) -> Iterator[bytes]:
        raise AssertionError(file)

    with monkeypatch.context() as patch:
        patch.setattr(peek, "opened", opened)
        key = corpus_key(request)
        with pytest.raises(AssertionError, match=r"metadata\.json"):
            sources.find_all(request.domains)
    (generated / "code" / "metadata.json").unlink()
    assert corpus_key(request) != key


def test_a_tokenizer_counts_by_how_its_files_look(generated: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text("{}")
        os.utime(tmp_path / name / "tokenizer.json", (5, 5))
    values = tiny_values(generated, Path("runs"))

    def key(tokenizer: Path) -> str:
        data = {**values["data"], "tokenizer": str(tokenizer)}
        return corpus_key(prepare_request(validate({**values, "data": data}, "test")))

    before = key(tmp_path / "one")
    assert key(tmp_path / "two") == before
    assert key(tmp_path / "one" / "tokenizer.json") != key(tmp_path / "nowhere")
    os.utime(tmp_path / "one" / "tokenizer.json", (6, 6))
    assert key(tmp_path / "one") != before
