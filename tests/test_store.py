"""Token files: what is written is what is read, nothing half-written stays, damage is found by name."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from doremi.corpus import store
from doremi.corpus.manifest import SplitCounts
from doremi.corpus.store import DomainWriter, SplitWriter, disk_errors, expected_size, token_file, tokens, verify
from doremi.corpus.tokenizer import train_tokenizer
from doremi.corpus.value import Corpus
from doremi.errors import DamageError, RunError
from doremi.files import FORMAT, file_sha256, write_json
from make_run import NOTHING_LEFT_OUT


def ids(values: list[int], dtype: str = "<u2") -> bytes:
    return np.array(values, dtype).tobytes()


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """One domain with three training and two validation documents, and a real tokenizer."""
    with DomainWriter(tmp_path / "web", "uint16") as writer:
        for document in ([1, 2, 3, 0], [4, 0], [5, 6, 0]):
            writer.train.add(ids(document), text_bytes=7, unknown=len(document) // 3)
        writer.validation.add(ids([7, 8, 0]), text_bytes=5, half=1)
        writer.validation.add(ids([9, 0]), text_bytes=3, half=0)
        entry = writer.finish()
    tokenizer = train_tokenizer(["abc"], 257)
    tokenizer.save(tmp_path / "tokenizer")
    manifest = {
        "format": FORMAT,
        "tokenizer": {
            "source": "trained",
            "sha256": tokenizer.sha256,
            "vocab_size": 257,
            "end_of_text": tokenizer.end_of_text,
            "end_of_text_id": 0,
        },
        "dtype": "uint16",
        "domains": {"web": {"folder": "web", "tokens": 14, "found": NOTHING_LEFT_OUT, **entry}},
        "fingerprint": "",
    }
    write_json(tmp_path / "manifest.json", manifest)
    return Corpus.read(tmp_path)


def test_files_as_the_format_has_them(corpus: Corpus) -> None:
    assert tokens(corpus, "web", "train").tolist() == [1, 2, 3, 0, 4, 0, 5, 6, 0]
    assert np.fromfile(corpus.path("web", "train.ends"), "<u8").tolist() == [4, 6, 9]
    assert tokens(corpus, "web", "validation").tolist() == [7, 8, 0, 9, 0]
    documents = {name: values.tolist() for name, values in corpus.validation_documents("web").items()}
    assert documents == {"bytes": [5, 3], "report": [True, False], "tokens": [3, 2]}
    assert sorted(file.name for file in corpus.path("web", "").iterdir()) == [
        *["train.bin", "train.ends", "validation.bin", "validation.documents", "validation.ends"]
    ]


def test_manifest_entry(corpus: Corpus) -> None:
    entry = asdict(corpus.entries["web"])
    counts = {key: value for key, value in entry["train"].items() if key != "files"}
    assert counts == {"documents": 3, "bytes": 21, "tokens": 9, "unknown": 2, "skipped": 0, "segments": 0}
    assert list(entry["train"]["files"]) == ["web/train.bin", "web/train.ends"]
    for split in ("train", "validation"):
        for name, checksum in entry[split]["files"].items():
            assert hashlib.sha256((corpus.folder / name).read_bytes()).hexdigest() == checksum


def test_four_byte_tokens(tmp_path: Path) -> None:
    with DomainWriter(tmp_path / "web", "uint32") as writer:
        writer.train.add(ids([70_000, 0], "<u4"), text_bytes=1)
        entry = writer.finish()
    assert entry["train"]["tokens"] == 2
    assert np.fromfile(tmp_path / "web" / "train.bin", "<u4").tolist() == [70_000, 0]


# -- nothing half-written --------------------------------------------------------------------------------------------


def test_without_finish_nothing_stays_and_old_files_are_untouched(corpus: Corpus) -> None:
    folder = corpus.path("web", "")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with DomainWriter(folder, "uint16") as writer:
        writer.train.add(ids([9] * 1000), text_bytes=1)
        assert len(list(folder.iterdir())) == len(before) + 5
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_left_overs_of_a_killed_preparation_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".train.bin.123.tmp").write_bytes(b"half")
    with DomainWriter(tmp_path, "uint16"):
        pass
    assert list(tmp_path.iterdir()) == []


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """What the kernel then says is what it says on a full disk, with another number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("documents", [10, 40_000])  # fails when flushed at the end, or in the middle
def test_full_disk_names_the_file_and_leaves_nothing(tmp_path: Path, documents: int) -> None:
    def fill() -> None:
        with DomainWriter(tmp_path / "web", "uint16") as writer:
            for _ in range(documents):
                writer.train.add(ids([1] * 100), text_bytes=1)
            writer.finish()

    with file_size_limit(1000), pytest.raises(RunError) as caught:
        fill()
    assert f"{tmp_path / 'web' / 'train.bin'}: cannot be written after " in str(caught.value)
    assert "File too large" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "web").iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="web: cannot be written after 0 bytes"):
        DomainWriter(tmp_path / "file" / "web", "uint16")
    with pytest.raises(RunError, match="No space left"), disk_errors(tmp_path):
        raise OSError(28, "No space left on device")


def test_files_are_flushed_to_the_disk_before_they_get_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    monkeypatch.setattr(store.os, "fsync", lambda descriptor: flushed.append(list(tmp_path.glob("[!.]*"))))
    with DomainWriter(tmp_path, "uint16") as writer:
        writer.finish()
    assert flushed == [[]] * 5


# -- damage ----------------------------------------------------------------------------------------------------------


def test_a_whole_corpus_passes(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(store, "file_sha256", lambda path: (read.append(path.name), file_sha256(path))[1])
    verify(corpus, full=False)
    assert read == []
    verify(corpus, full=True)
    assert sorted(set(read)) == sorted(FILES)


FILES = ["train.bin", "train.ends", "validation.bin", "validation.ends", "validation.documents"]


@pytest.mark.parametrize("name", FILES)
def test_size_and_absence_are_found_without_reading(corpus: Corpus, name: str) -> None:
    path = corpus.path("web", name)
    whole = path.read_bytes()
    for data in (whole[:-1], whole + b"x"):
        path.write_bytes(data)
        with pytest.raises(DamageError, match=f"{name}: has {len(data)} bytes instead of {len(whole)}; remove"):
            verify(corpus, full=False)
    path.unlink()
    with pytest.raises(DamageError, match=f"{name}: cannot be read"):
        verify(corpus, full=False)


@pytest.mark.parametrize("name", FILES)
def test_one_wrong_bit_is_found_by_checksum(corpus: Corpus, name: str) -> None:
    path = corpus.path("web", name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    verify(corpus, full=False)
    with pytest.raises(DamageError, match=f"{name}: its checksum is not the one"):
        verify(corpus, full=True)


def test_a_changed_tokenizer_is_found(corpus: Corpus) -> None:
    train_tokenizer(["abcabc"], 260).save(corpus.folder / "tokenizer")
    with pytest.raises(DamageError, match=r"tokenizer.json: is not the tokenizer that the corpus was made with"):
        verify(corpus, full=True)
    for data in ("{", ""):
        (corpus.folder / "tokenizer" / "tokenizer.json").write_text(data)
        with pytest.raises(DamageError, match=r"tokenizer.json: cannot be read"):
            verify(corpus, full=True)


def test_tokens_of_a_file_that_is_gone(corpus: Corpus) -> None:
    corpus.path("web", "train.bin").unlink()
    with pytest.raises(DamageError, match=r"train.bin: cannot be read"):
        tokens(corpus, "web", "train")


def test_sizes_of_a_domain_of_a_trillion_tokens() -> None:
    counts = SplitCounts(tokens=10**12, documents=10**9)
    assert expected_size(Path("train.bin"), counts, 4) == 4 * 10**12
    assert expected_size(Path("train.ends"), counts, 4) == 8 * 10**9


def test_ends_beyond_32_bits(tmp_path: Path) -> None:
    writer = SplitWriter(tmp_path, "train", "uint16")
    writer.counts["tokens"] = 2**33
    writer.add(ids([1, 0]), text_bytes=1)
    writer.close("web")
    writer.publish()
    assert np.fromfile(tmp_path / "train.ends", "<u8").tolist() == [2**33 + 2]


def test_token_files_are_read_in_place_and_say_where_they_fail(corpus: Corpus) -> None:
    file = token_file(corpus, "web", "train")
    out = np.zeros(3, dtype=np.int64)
    file.read(3, out)
    assert out.tolist() == [0, 4, 0]
    with pytest.raises(DamageError, match=r"web/train.bin: ends before token 10;"):
        file.read(7, out)


def test_a_file_cut_off_while_it_is_read_is_an_error_not_a_crash(corpus: Corpus) -> None:
    file = token_file(corpus, "web", "train")
    os.truncate(file.path, 4)
    with pytest.raises(DamageError, match=r"web/train.bin: ends before token 8;"):
        file.read(5, np.zeros(3, dtype=np.int64))


def test_disk_that_fails_is_named_with_file_and_token(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    file = token_file(corpus, "web", "train")

    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("doremi.corpus.store.os.pread", broken)
    with pytest.raises(DamageError, match=r"web/train.bin: cannot be read at token 2 \(Input/output error\)"):
        file.read(2, np.zeros(3, dtype=np.int64))


def test_more_domains_than_the_shell_allows_files(corpus: Corpus) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        files = [token_file(corpus, "web", "train") for _ in range(100)]
        assert len(files) == 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
