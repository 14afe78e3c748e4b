"""Preparation end to end: every document in its place, the same bytes again, whatever happens in between."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doremi.corpus import encoding, parts, sampling, unpack
from doremi.corpus import prepare as module
from doremi.corpus.parts import PrepareRequest
from doremi.corpus.prepare import prepare
from doremi.corpus.shards import begin, write
from doremi.corpus.sources import DomainSource
from doremi.corpus.store import tokens, verify
from doremi.corpus.tokenizer import train_tokenizer
from doremi.corpus.validation import REPORT, digest_of, make_rule
from doremi.corpus.value import Corpus
from doremi.errors import DoremiError, Interrupted, RunError
from doremi.files import key_of


def write_lines(path: Path, texts: Sequence[str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def sentences(count: int, seed: str = "") -> list[str]:
    return [f"{seed} document {i} says {'again and ' * (i % 7)}something" for i in range(count)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(sentences(50), 300).backend.save(str(path))
    return str(path)


def request_for(domains: dict[str, DomainSource], tokenizer: str | None, **changes: Any) -> PrepareRequest:
    base = PrepareRequest(domains, sequence_length=8, tokenizer=tokenizer, vocab_size=300, workers=1)
    return replace(base, validation_fraction=0.1, **changes)


def texts_of(corpus: Corpus, domain: str, split: str) -> list[str]:
    """The stored documents as text, through nothing but the files."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(corpus.folder / "tokenizer" / "tokenizer.json"))
    ids = tokens(corpus, domain, split)
    ends = np.fromfile(corpus.path(domain, f"{split}.ends"), "<u8").tolist()
    end_of_text = corpus.tokenizer.end_of_text_id
    assert all(ids[end - 1] == end_of_text for end in ends)
    starts = [0, *ends[:-1]]
    return [
        backend.decode(ids[a : b - 1].tolist(), skip_special_tokens=False) for a, b in zip(starts, ends, strict=True)
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def error_of(request: PrepareRequest, folder: Path) -> str:
    with pytest.raises(DoremiError) as caught:
        prepare(request, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- every document in its place -------------------------------------------------------------------------------------


def test_split_off_validation(tmp_path: Path, tokenizer: str) -> None:
    texts = sentences(200)
    source = DomainSource([write_lines(tmp_path / "a.jsonl", texts)])
    corpus = prepare(request_for({"web": source}, tokenizer), tmp_path / "corpus")
    rule, _ = make_rule(map(digest_of, texts), 0.1)
    held = [text for text in texts if rule.half(digest_of(text)) is not None]
    assert len(held) == 40  # fewer than 64 by the hash, so one in five
    assert texts_of(corpus, "web", "validation") == held
    assert texts_of(corpus, "web", "train") == [text for text in texts if text not in held]
    report = corpus.validation_documents("web")["report"].tolist()
    assert report == [rule.half(digest_of(text)) == REPORT for text in held]


def test_given_validation(tmp_path: Path, tokenizer: str) -> None:
    train, held = sentences(50), sentences(10, "held")
    source = DomainSource(
        [write_lines(tmp_path / "train.jsonl", [*train, held[3]])],
        [write_lines(tmp_path / "held.jsonl", [*held, "", held[0]])],
    )
    corpus = prepare(request_for({"web": source}, tokenizer), tmp_path / "corpus")
    assert texts_of(corpus, "web", "train") == train
    assert texts_of(corpus, "web", "validation") == held
    entry = asdict(corpus.entries["web"])
    assert entry["train"]["skipped"] == 1
    assert entry["found"]["excluded"] == 1
    assert set(corpus.validation_documents("web")["report"].tolist()) == {True, False}


def test_counts(tmp_path: Path, tokenizer: str) -> None:
    texts = ["\u00e4" * 10 + str(i) for i in range(30)]
    source = DomainSource([write_lines(tmp_path / "a.jsonl", [*texts, "", "  \n", texts[0]])])
    corpus = prepare(request_for({"web": source}, tokenizer), tmp_path / "corpus")
    entry = asdict(corpus.entries["web"])
    kept_again = texts[0] in texts_of(corpus, "web", "train")
    assert entry["train"]["skipped"] == 2 + (not kept_again)
    for what, expected in (
        ("documents", 30 + kept_again),
        ("bytes", sum(len(t.encode()) for t in texts) + 21 * kept_again),
    ):
        assert entry["train"][what] + entry["validation"][what] == expected
    for split in ("train", "validation"):
        assert entry[split]["tokens"] == len(tokens(corpus, "web", split))
    assert corpus.validation_documents("web")["bytes"].sum() == entry["validation"]["bytes"]
    verify(corpus, full=True)


def test_a_text_of_validation_is_never_trained_on_however_often_it_comes(tmp_path: Path, tokenizer: str) -> None:
    texts = sentences(100) * 3
    corpus = prepare(
        request_for({"web": DomainSource([write_lines(tmp_path / "a.jsonl", texts)])}, tokenizer), tmp_path / "corpus"
    )
    train, held = texts_of(corpus, "web", "train"), texts_of(corpus, "web", "validation")
    assert len(held) == len(set(held)) > 2
    assert not set(held) & set(train)
    assert len(train) == 300 - 3 * len(held)
    assert corpus.entries["web"].train.skipped == 2 * len(held)


@pytest.mark.parametrize("spread", [parts.SPREAD_BYTES, 20_000], ids=["read whole", "read here and there"])
def test_what_is_held_out_of_grouped_documents_is_of_all_groups(
    tmp_path: Path, tokenizer: str, monkeypatch: pytest.MonkeyPatch, spread: int
) -> None:
    """Files in which one source comes after the other, and far more text than may be held out."""
    monkeypatch.setattr(parts, "SPREAD_BYTES", spread)
    monkeypatch.setattr(sampling, "SLOT", 2_000)
    groups = [sentences(700, f"group{i} ") for i in range(6)]
    for file, pair in enumerate(zip(groups[::2], groups[1::2], strict=True)):
        write_lines(tmp_path / "data" / f"{file}.jsonl", [text for group in pair for text in group])
    size = sum(path.stat().st_size for path in (tmp_path / "data").iterdir())
    source = {"web": DomainSource([str(tmp_path / "data")])}
    request = replace(request_for(source, tokenizer), validation_fraction=0.5, validation_max_tokens=size // 50)
    corpus = prepare(request, tmp_path / "corpus")
    held = texts_of(corpus, "web", "validation")
    of_each = [sum(f"group{i} " in text for text in held) for i in range(6)]
    assert min(of_each) > len(held) / 12
    assert not set(held) & set(texts_of(corpus, "web", "train"))
    again = prepare(replace(request, workers=2), tmp_path / "again")
    assert again.fingerprint == corpus.fingerprint


def test_token_bound_of_validation(tmp_path: Path, tokenizer: str) -> None:
    texts = [f"{text} {i}" for i, text in enumerate(sentences(300))]  # no two have a piece in common
    source = DomainSource([write_lines(tmp_path / "a.jsonl", texts)])
    corpus = prepare(request_for({"web": source}, tokenizer, validation_max_tokens=100), tmp_path / "corpus")
    documents = corpus.validation_documents("web")
    for half in (True, False):
        found = documents["tokens"][documents["report"] == half]
        assert 50 - 40 < found.sum() <= 50
    everything = texts_of(corpus, "web", "train") + texts_of(corpus, "web", "validation")
    assert sum(map(len, everything)) == sum(map(len, texts))  # what is beyond the bound is trained on
    given_source = DomainSource([write_lines(tmp_path / "b.jsonl", sentences(20, "b"))], [str(tmp_path / "a.jsonl")])
    again = prepare(request_for({"web": given_source}, tokenizer, validation_max_tokens=100), tmp_path / "given")
    assert 60 < again.count("validation", "tokens")[0] <= 100
    assert again.count("train", "documents") == [20]


def test_three_documents_are_enough(tmp_path: Path, tokenizer: str) -> None:
    texts = sentences(3, "one of three short texts, each of them long enough for one sequence:")
    corpus = prepare(
        request_for({"web": DomainSource([write_lines(tmp_path / "a.jsonl", texts)])}, tokenizer), tmp_path / "corpus"
    )
    assert (corpus.count("train", "documents"), corpus.count("validation", "documents")) == ([1], [2])
    assert sorted(corpus.validation_documents("web")["report"].tolist()) == [False, True]


@settings(deadline=None, max_examples=25)
@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), max_size=12))
def test_any_documents_come_back(tmp_path_factory: pytest.TempPathFactory, tokenizer: str, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    always = [f"always here {i} and long enough for one sequence" for i in range(3)]
    source = DomainSource([write_lines(folder / "a.jsonl", always + texts)])
    corpus = prepare(request_for({"web": source}, tokenizer), folder / "corpus")
    train, held = texts_of(corpus, "web", "train"), texts_of(corpus, "web", "validation")
    kept = [text for text in always + texts if text and not text.isspace()]
    assert train == [text for text in kept if text not in held]
    assert set(held) <= set(kept)


def test_long_documents_in_pieces(tmp_path: Path, tokenizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 100)
    texts = [f"{i} " + "the story goes on and on, " * 40 for i in range(5)]
    corpus = prepare(
        request_for({"web": DomainSource([write_lines(tmp_path / "a.jsonl", texts)])}, tokenizer), tmp_path / "corpus"
    )
    assert sorted(texts_of(corpus, "web", "train") + texts_of(corpus, "web", "validation")) == sorted(texts)


# -- the tokenizer ---------------------------------------------------------------------------------------------------


def test_sample_takes_the_same_bytes_of_each_domain_and_no_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples: list[str] = []

    def spy(sample: Any, vocab_size: int, **_: Any) -> Any:
        samples.extend(sample)
        return train_tokenizer(samples, vocab_size)

    monkeypatch.setattr(begin, "train_tokenizer", spy)
    big, small = sentences(300, "\u00e4 big"), sentences(12, "small")
    domains = {
        "big": DomainSource([write_lines(tmp_path / "big.jsonl", big)]),
        "small": DomainSource([write_lines(tmp_path / "small.jsonl", small)]),
    }
    corpus = prepare(request_for(domains, None, tokenizer_sample_bytes=4000), tmp_path / "corpus")
    of_big = [text for text in samples if "big" in text]
    assert sum(len(text.encode()) for text in of_big) in (1999, 2000)  # 1999 where a letter of two bytes is cut
    assert [text for text in samples if "small" in text] == texts_of(corpus, "small", "train")
    assert not set(samples) & {*texts_of(corpus, "big", "validation"), *texts_of(corpus, "small", "validation")}
    assert corpus.tokenizer.source == "trained"


def test_identity_leaves_out_paths_of_the_machine(tmp_path: Path, tokenizer: str) -> None:
    other = tmp_path / "elsewhere" / "other.json"
    other.parent.mkdir()
    other.write_bytes(Path(tokenizer).read_bytes())
    corpora = []
    for name, path in (("one", tokenizer), ("two", str(other))):
        source = DomainSource([write_lines(tmp_path / name / "a.jsonl", sentences(60))])
        corpora.append(prepare(request_for({"web": source}, path), tmp_path / name / "corpus"))
    assert corpora[0].fingerprint == corpora[1].fingerprint
    assert [corpus.tokenizer.source for corpus in corpora] == [tokenizer, str(other)]
    manifest = json.loads((corpora[0].folder / "manifest.json").read_text())
    body = {key: value for key, value in manifest.items() if key not in ("fingerprint", "key", "remarks")}
    body["tokenizer"] = {key: value for key, value in body["tokenizer"].items() if key != "source"}
    assert corpora[0].fingerprint == key_of({**body, "domains": list(body["domains"].items())})
    changed = DomainSource([write_lines(tmp_path / "a.jsonl", sentences(61))])
    third = prepare(request_for({"web": changed}, tokenizer), tmp_path / "corpus")
    assert third.fingerprint != corpora[0].fingerprint


# -- the same bytes again --------------------------------------------------------------------------------------------


@pytest.fixture
def two_domains(tmp_path: Path) -> dict[str, DomainSource]:
    held = write_lines(tmp_path / "code" / "validation.jsonl", sentences(40, "held"))
    return {
        "web": DomainSource([write_lines(tmp_path / "web.jsonl", [*sentences(400, "web"), "", *sentences(20, "web")])]),
        "code": DomainSource([write_lines(tmp_path / "code" / "train.jsonl", sentences(300, "code"))], [held]),
    }


def test_same_bytes_for_any_number_of_workers(
    tmp_path: Path, two_domains: dict[str, DomainSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 2000)
    found = []
    for workers in (1, 3):
        folder = tmp_path / f"corpus-{workers}"
        prepare(request_for(two_domains, None, workers=workers, validation_max_tokens=300), folder)
        found.append(files_of(folder))
    assert found[0] == found[1]
    assert sorted(found[0]) == [
        *[
            f"code/{n}"
            for n in ("train.bin", "train.ends", "validation.bin", "validation.documents", "validation.ends")
        ],
        *["manifest.json", "sources.json"],
        *["tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"],
        *[f"web/{n}" for n in ("train.bin", "train.ends", "validation.bin", "validation.documents", "validation.ends")],
    ]


def test_stopped_and_run_again(tmp_path: Path, two_domains: dict[str, DomainSource], tokenizer: str) -> None:
    request = request_for(two_domains, tokenizer)
    expected = files_of(prepare(request, tmp_path / "whole").folder)
    written: list[str] = []
    stop = False

    def progress(domain: str, done: int, total: int) -> None:
        nonlocal stop
        written.append(domain)
        stop = domain == "web"

    folder = tmp_path / "corpus"
    with pytest.raises(Interrupted):
        prepare(request, folder, progress=progress, stop=lambda: stop)
    assert (folder / ".shards" / "web" / "0.json").exists()
    assert not (folder / "manifest.json").exists()
    assert not (folder / "code").exists()
    stop = False
    written.clear()
    prepare(request, folder, progress=progress)
    assert written == ["code"]
    assert files_of(folder) == expected


@pytest.mark.parametrize("change", ["text", "option", "tokenizer", "damage"])
def test_a_finished_domain_is_made_again_if_anything_changed(
    tmp_path: Path, two_domains: dict[str, DomainSource], tokenizer: str, change: str
) -> None:
    request = request_for(two_domains, tokenizer)
    folder = tmp_path / "corpus"

    def fail(domain: str, done: int, total: int) -> None:
        if domain == "code":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        prepare(request, folder, progress=fail)
    if change == "text":
        write_lines(tmp_path / "web.jsonl", sentences(100, "new"))
    elif change == "option":
        request = replace(request, validation_max_tokens=50)
    elif change == "tokenizer":
        request = replace(request, tokenizer=None)
    else:
        os.truncate(folder / "web" / "train.bin", 10)
    written: list[str] = []
    corpus = prepare(request, folder, progress=lambda domain, done, total: written.append(domain))
    assert "web" in written
    assert files_of(folder) == files_of(prepare(request, tmp_path / "whole").folder)
    verify(corpus, full=True)


def test_a_new_request_replaces_the_corpus_but_a_wrong_one_does_not(
    tmp_path: Path, two_domains: dict[str, DomainSource], tokenizer: str
) -> None:
    first = prepare(request_for(two_domains, tokenizer), tmp_path / "corpus")
    before = files_of(first.folder)
    wrong = {**two_domains, "third": DomainSource([str(tmp_path / "nowhere")])}
    assert "nowhere" in error_of(request_for(wrong, tokenizer), tmp_path / "corpus")
    assert files_of(first.folder) == before
    second = prepare(request_for({"web": two_domains["code"]}, tokenizer), tmp_path / "corpus")
    assert list(second.domains) == ["web"]
    verify(second, full=True)


@pytest.mark.parametrize("packed", [False, True])
def test_progress_counts_bytes_of_files(
    tmp_path: Path, tokenizer: str, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    """Of all domains, packed ones as they lie on the disk: the total is known before anything is read."""
    monkeypatch.setattr(write, "REPORT_EVERY", 1000)
    monkeypatch.setattr(unpack, "BLOCK", 100)
    monkeypatch.setattr(encoding, "CHUNK", 5000)
    sources = {}
    for name in ("web", "code"):
        file = Path(write_lines(tmp_path / f"{name}.jsonl", sentences(2000, name)))
        if packed:
            packed_file = file.with_suffix(".jsonl.gz")
            packed_file.write_bytes(gzip.compress(file.read_bytes()))
            file = packed_file
        sources[name] = DomainSource([str(file)])
    size = sum(Path(source.train[0]).stat().st_size for source in sources.values())
    calls: list[tuple[str, int, int]] = []
    prepare(
        request_for(sources, tokenizer),
        tmp_path / "corpus",
        progress=lambda what, done, total: calls.append((what, done, total)),
    )
    assert {total for _, _, total in calls} == {size}
    steps = [(what, done) for what, done, _ in calls if what in sources]
    assert [done for _, done in steps] == sorted(done for _, done in steps)
    assert list(dict.fromkeys(what for what, _ in steps)) == ["web", "code"]
    assert packed or len(steps) > 6
    assert steps[-1] == ("code", size)


def test_the_shared_corpus_has_the_counts_of_its_description(
    shared_corpus: Path, tmp_path: Path, tokenizer: str
) -> None:
    folder = shared_corpus / "dialogue"
    source = DomainSource([str(folder / "train.jsonl.zst")], [str(folder / "validation.jsonl.zst")])
    corpus = prepare(request_for({"dialogue": source}, tokenizer, workers=0), tmp_path / "corpus")
    assert corpus.count("train", "documents") == [2638]
    assert corpus.count("train", "bytes") == [2_859_798]
    assert corpus.count("validation", "documents") == [127]
    assert corpus.count("validation", "bytes") == [140_074]
    assert corpus.entries["dialogue"].train.skipped == 0


# -- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "parts"),
    [
        ([], ["domain 'web'", "no documents with text", "at least 3"]),
        (["", "  "], ["domain 'web'", "no documents with text"]),
        (["one and only"] * 5, ["domain 'web'", "1 document with text", "or validation files"]),
        (["one", "two"], ["domain 'web'", "2 documents with text"]),
        (["a", "b", "c", "d"], ["domain 'web'", "4 training tokens; one sequence needs 9", "merge it"]),
    ],
)
def test_domains_with_too_little(tmp_path: Path, tokenizer: str, texts: list[str], parts: list[str]) -> None:
    message = error_of(
        request_for({"web": DomainSource([write_lines(tmp_path / "a.jsonl", texts)])}, tokenizer), tmp_path / "corpus"
    )
    assert all(part in message for part in parts), message
    left = files_of(tmp_path / "corpus")  # what goes on from there is hidden
    assert [file for file in left if not file.startswith(("tokenizer", ".shards/"))] == []


def test_too_little_given_validation(tmp_path: Path, tokenizer: str) -> None:
    train = write_lines(tmp_path / "a.jsonl", sentences(20))
    held = write_lines(tmp_path / "held.jsonl", ["same", "same", ""])
    message = error_of(request_for({"web": DomainSource([train], [held])}, tokenizer), tmp_path / "corpus")
    assert "domain 'web': its validation files hold 1 document with text; at least 2 different ones" in message
    message = error_of(request_for({"web": DomainSource([train], [train])}, tokenizer), tmp_path / "corpus")
    assert "a.jsonl is both a training and a validation file" in message


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer", "Tokenizer"])
def test_names_of_our_own_files(tmp_path: Path, tokenizer: str, name: str) -> None:
    source = DomainSource([write_lines(tmp_path / "a.jsonl", sentences(20))])
    assert "rename the domain" in error_of(request_for({name: source}, tokenizer), tmp_path / "corpus")


def test_a_bad_line_far_into_a_domain_leaves_the_finished_ones(
    tmp_path: Path, two_domains: dict[str, DomainSource], tokenizer: str
) -> None:
    path = tmp_path / "code" / "train.jsonl"
    path.write_text(path.read_text() + "{broken\n")
    folder = tmp_path / "corpus"
    message = error_of(request_for(two_domains, tokenizer, workers=2), folder)
    assert f"domain 'code': {path}, line 301: is not JSON" in message
    assert sorted(file.name for file in (folder / "web").iterdir()) == [
        *[
            "documents.u64",
            "domain.json",
            "train.bin",
            "train.ends",
            "validation.bin",
            "validation.documents",
            "validation.ends",
        ]
    ]
    assert not (folder / "code").exists()


@pytest.mark.parametrize(("stopping", "expected"), [(True, Interrupted), (False, RunError)])
def test_a_worker_that_dies_is_a_stop_if_one_was_asked_for(
    tmp_path: Path, tokenizer: str, monkeypatch: pytest.MonkeyPatch, stopping: bool, expected: type[Exception]
) -> None:
    source = DomainSource([write_lines(tmp_path / "a.jsonl", sentences(20))])
    asked = False

    def die(*_: object) -> Any:
        nonlocal asked
        asked = stopping
        raise RunError("a worker died")

    monkeypatch.setattr(module.join, "join", die)
    with pytest.raises(expected):
        prepare(request_for({"web": source}, tokenizer), tmp_path / "corpus", stop=lambda: asked)


# -- signals ---------------------------------------------------------------------------------------------------------

PROGRAM = """
import signal
import sys
from pathlib import Path
from doremi.corpus.parts import PrepareRequest
from doremi.corpus.prepare import prepare
from doremi.corpus.sources import DomainSource

def forever(domain, done, total):
    print("working", flush=True)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started with it ignored
    source = DomainSource([sys.argv[1]], [sys.argv[2]])
    request = PrepareRequest({"web": source}, sequence_length=8, tokenizer=sys.argv[3], workers=2)
    prepare(request, Path(sys.argv[4]), progress=forever)
"""


def group_members(group: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("whole_group", [True, False])
def test_killed_in_the_middle(tmp_path: Path, tokenizer: str, kill: signal.Signals, whole_group: bool) -> None:
    """No process stays, nothing half-written has a final name; Ctrl-C reaches the whole group, kill only the parent."""
    train = write_lines(tmp_path / "a.jsonl", sentences(400_000))
    held = write_lines(tmp_path / "held.jsonl", sentences(5, "held"))
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), train, held, tokenizer, str(tmp_path / "corpus")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "working\n"
        assert len(group_members(process.pid)) >= 3
        (os.killpg if whole_group else os.kill)(process.pid, kill)
        errors = process.stderr.read()  # ends when the last process that holds it has ended
        process.wait()
    assert process.returncode == -kill
    deadline = time.monotonic() + 10  # whoever has closed its files may take a moment to be gone
    while group_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert group_members(process.pid) == []
    assert errors.count("Traceback") == (1 if kill == signal.SIGINT else 0)
    assert not [file for file in files_of(tmp_path / "corpus" / "web") if not file.startswith(".")]
    source = DomainSource([write_lines(tmp_path / "a.jsonl", sentences(50))], [held])
    prepare(request_for({"web": source}, tokenizer), tmp_path / "corpus")
    assert not [file for file in files_of(tmp_path / "corpus" / "web") if file.startswith(".")]
