"""Readers: every format gives the same documents, and whatever is wrong is one line that says where."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from doremi.corpus import lines, readers
from doremi.corpus.place import Place
from doremi.corpus.readers import read_documents
from doremi.corpus.sources import DomainSource, find_files, paths
from doremi.errors import DataError

TEXTS = ["first", "zweiter Text: \u00e4\u00f6\u00fc \u4e2d\u6587 \U0001f600", "", "a\nb\r\n", "x" * 3000, "  "]


def jsonl(texts: list[str], field: str = "text") -> bytes:
    return "".join(json.dumps({"id": i, field: text}) + "\n" for i, text in enumerate(texts)).encode()


def write_parquet(path: Path, columns: dict, **options: Any) -> Path:
    parquet.write_table(pa.table(columns), path, **options)
    return path


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def read(*files: Path | str, field: str = "text") -> list[str]:
    return list(read_documents([str(file) for file in files], text_field=field, domain="web"))


def error_of(action: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


# -- every format ----------------------------------------------------------------------------------------------------

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".jsonl": lambda data: data,
    ".jsonl.gz": gzip.compress,
    ".jsonl.zst": zstandard.compress,
    ".json.gz": gzip.compress,
    ".json.zst": zstandard.compress,
    ".jsonl.bz2": bz2.compress,
    ".ndjson.xz": lzma.compress,
}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_text_columns(tmp_path: Path, kind: pa.DataType) -> None:
    many = TEXTS * 40  # more than one batch, and several row groups
    path = write_parquet(
        tmp_path / "a.parquet", {"n": range(len(many)), "text": pa.array(many, kind)}, row_group_size=90
    )
    assert read(path) == many


def test_parquet_column_with_a_dot_in_its_name(tmp_path: Path) -> None:
    assert read(write_parquet(tmp_path / "a.parquet", {"a.b": ["x"], "a": ["y"]}), field="a.b") == ["x"]


def test_a_text_file_is_one_document_kept_as_it_is(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.txt", b"one\r\n\ntwo\n"), write(tmp_path / "b.txt", b"")) == ["one\r\n\ntwo\n", ""]


def test_all_formats_in_one_folder_in_order_of_name(tmp_path: Path) -> None:
    write(tmp_path / "c.txt", b"three")
    write(tmp_path / "a.jsonl", jsonl(["one"]))
    write_parquet(tmp_path / "b.parquet", {"text": ["two"]})
    assert read(*paths(find_files(DomainSource([str(tmp_path)]), key="k").train)) == ["one", "two", "three"]


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_archives_of_several_frames(tmp_path: Path, suffix: str) -> None:
    data = jsonl(TEXTS)
    pieces = [data[:10], data[10:50], b"", data[50:]]
    assert read(write(tmp_path / f"a{suffix}", b"".join(PACK[suffix](piece) for piece in pieces))) == TEXTS


def test_skippable_zstandard_frame(tmp_path: Path) -> None:
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"abcd"
    assert read(write(tmp_path / "a.jsonl.zst", skipped + zstandard.compress(jsonl(["x"])))) == ["x"]


def test_lines_longer_than_a_block_and_a_last_line_without_newline(tmp_path: Path) -> None:
    texts = ["x" * 2_500_000, "short", "y" * 1_100_000]
    assert read(write(tmp_path / "a.jsonl", jsonl(texts).rstrip(b"\n"))) == texts


@given(cuts=st.lists(st.binary(max_size=5), max_size=8))
def test_lines_do_not_depend_on_where_blocks_end(cuts: list[bytes]) -> None:
    whole = b"".join(cuts)
    expected = whole.split(b"\n")
    assert list(lines.lines(cuts, Place("web", "x.jsonl"))) == (expected if expected[-1] else expected[:-1])


@pytest.mark.parametrize("suffix", PACK)
def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 MB of one letter, of which an archive holds a few kB; the bound lies on a line, not on a file."""
    monkeypatch.setattr(lines, "MOST_LINE_BYTES", 3 << 20)
    fine = jsonl(["x" * (2 << 20)] * 2)
    assert len(read(write(tmp_path / f"fine{suffix}", PACK[suffix](fine)))) == 2
    path = write(tmp_path / f"a{suffix}", PACK[suffix](fine + b'{"text": "' + b"x" * 60_000_000))
    tracemalloc.start()
    message = error_of(lambda: read(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"a{suffix}, line 3: is longer than 3,145,728 bytes" in message
    assert suffix.endswith(".zst") or peak < 50e6  # one step of unpacking may give it all


def test_blank_lines_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf" + b'{"text": "a"}\r\n\r\n  \n{"text": "b"}\n\n'
    assert read(write(tmp_path / "a.jsonl", data)) == ["a", "b"]
    assert read(write(tmp_path / "a.txt", b"\xef\xbb\xbfabc")) == ["abc"]


def test_other_field_name(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.jsonl", jsonl(["x"], field="content")), field="content") == ["x"]


@settings(deadline=None, max_examples=30)
@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=5))
def test_any_unicode_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    assert read(write(folder / "a.jsonl", jsonl(texts))) == texts
    assert read(write_parquet(folder / "a.parquet", {"text": pa.array(texts, pa.string())})) == texts


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    many = [jsonl([os.urandom(3000).hex()]) for _ in range(100)]
    with path.open("wb") as raw, zstandard.ZstdCompressor(level=1).stream_writer(raw) as file:
        for _ in range(50):
            file.write(b"".join(many))  # 30 MB in all
    tracemalloc.start()
    count = sum(1 for _ in read_documents([str(path)], text_field="text", domain="web"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 5000
    assert peak < 8e6


def test_a_parquet_row_group_is_never_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["x" * 2000] * 8000  # 16 MB in one row group
    path = write_parquet(tmp_path / "a.parquet", {"text": texts}, compression=None, use_dictionary=False)
    assert path.stat().st_size > 16e6
    sizes = []

    class Counting(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            found = super().read(-1 if size is None else size)
            sizes.append(len(found))
            return found

    monkeypatch.setattr(readers, "opened", Counting)
    assert read(path) == texts
    assert max(sizes) < 4e6


# -- what is wrong ---------------------------------------------------------------------------------------------------

BAD_LINES = [
    (b"{", ["line 2", "is not JSON"]),
    (b'{"text": "a"} trailing', ["line 2", "is not JSON"]),
    (b"[1]", ["line 2", "not an object", '{"text": "..."}']),
    (b'"text"', ["line 2", "not an object"]),
    (b'{"body": "a", "id": 1}', ["line 2", "no field 'text'", "'body', 'id'"]),
    (b"{}", ["line 2", "no field 'text'", "no fields"]),
    (b'{"text": 3}', ["line 2", "field 'text' is a number"]),
    (b'{"text": null}', ["line 2", "field 'text' is null"]),
    (b'{"text": true}', ["line 2", "field 'text' is true or false"]),
    (b'{"text": ["a"]}', ["line 2", "field 'text' is a list"]),
    (b'{"text": {"a": 1}}', ["line 2", "field 'text' is an object"]),
    (b'{"text": "\xff"}', ["line 2", "not valid UTF-8 at byte 11"]),
    (b'{"text": "\\ud800"}', ["line 2", "half of a surrogate pair"]),
    (b'{"text": "a\\u0000"}', ["line 2", "NUL character at position 2"]),
    (b'{"text": ' + b"[" * 5000, ["line 2", "is not JSON"]),
]


@pytest.mark.parametrize(("line", "parts"), BAD_LINES)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
def test_bad_lines_name_file_line_and_domain(tmp_path: Path, line: bytes, parts: list[str], suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", PACK[suffix](b'{"text": "fine"}\n' + line + b'\n{"text": "fine"}\n'))
    message = error_of(lambda: read(path))
    for part in ["domain 'web'", str(path), *parts]:
        assert part in message


def test_field_names_from_the_data_are_escaped_and_shortened(tmp_path: Path) -> None:
    names = {f"\x1b[31m{i}" + "n" * 100: 1 for i in range(30)}
    message = error_of(lambda: read(write(tmp_path / "a.jsonl", json.dumps(names).encode())))
    assert "\x1b" not in message
    assert "and 22 more" in message
    assert len(message) < 700 + len(str(tmp_path))


def test_documents_before_a_bad_line_are_read(tmp_path: Path) -> None:
    documents = read_documents([str(write(tmp_path / "a.jsonl", jsonl(["x"]) + b"{"))], text_field="text", domain="web")
    assert next(documents) == "x"


def test_bad_text_file(tmp_path: Path) -> None:
    message = error_of(lambda: read(write(tmp_path / "a.txt", b"good\nbad \xff")))
    assert "a.txt, line 2" in message
    assert "not valid UTF-8 at byte 10" in message
    assert "NUL" in error_of(lambda: read(write(tmp_path / "b.txt", b"a\0b")))


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_every_truncation_is_noticed(tmp_path: Path, suffix: str) -> None:
    packed = PACK[suffix](jsonl(["one", "two"]))
    for length in range(1, len(packed)):
        message = error_of(lambda n=length: read(write(tmp_path / f"a{suffix}", packed[:n])))
        assert f"a{suffix}: cannot be read" in message


def test_truncation_says_how_far_it_came(tmp_path: Path) -> None:
    packed = zstandard.compress(jsonl(["a" * 60]) * 4000)
    second = zstandard.compress(jsonl(["b"]))
    message = error_of(lambda: read(write(tmp_path / "a.jsonl.zst", packed + second[:-1])))
    assert "after line 4000" in message


def test_truncated_and_broken_parquet(tmp_path: Path) -> None:
    whole = write_parquet(tmp_path / "a.parquet", {"text": ["x" * 50] * 100}).read_bytes()
    for data in (whole[:-1], whole[:200], b"", b"PAR1", whole[:60] + b"\xff" * 100 + whole[160:]):
        assert "b.parquet: cannot be read" in error_of(lambda d=data: read(write(tmp_path / "b.parquet", d)))


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"body": ["x"], "n": [1]}, ["no column 'text'", "'body', 'n'"]),
        ({"text": [1, 2]}, ["column 'text' holds int64, not text"]),
        ({"text": pa.array([b"x"], pa.binary())}, ["column 'text' holds binary, not text"]),
        ({"text": pa.array(["x", None])}, ["row 2", "column 'text' is null"]),
        ({"text": pa.array(["x", "a\0"])}, ["row 2", "NUL"]),
        ({"text": pa.array([b"x", b"\xff"], pa.binary()).view(pa.string())}, ["row 2", "not valid UTF-8"]),
    ],
)
def test_bad_parquet_columns(tmp_path: Path, columns: dict, parts: list[str]) -> None:
    message = error_of(lambda: read(write_parquet(tmp_path / "a.parquet", columns)))
    for part in ["domain 'web'", "a.parquet", *parts]:
        assert part in message


def test_file_that_vanished_or_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in (".jsonl", ".txt", ".parquet"):
        assert "No such file" in error_of(lambda s=suffix: read(tmp_path / f"gone{s}"))

    def refuse(file: str) -> None:
        raise PermissionError(13, "Permission denied", file)

    monkeypatch.setattr(readers, "opened", refuse)
    for suffix in (".jsonl", ".txt", ".parquet"):
        message = error_of(lambda s=suffix: read(f"a{s}"))
        assert "a" + suffix + ": cannot be read (Permission denied)" in message


def test_read_error_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            if not found:
                raise OSError(5, "Input/output error")
            return found

    monkeypatch.setattr(readers, "opened", lambda file: Failing(jsonl(["a", "b"])))
    assert "after line 2 (Input/output error)" in error_of(lambda: read("a.jsonl"))


def documents_or_error(path: Path) -> bool:
    """Only texts or one `DataError` that names the file come out of `path`."""
    try:
        return all(isinstance(text, str) for text in read(path))
    except DataError as error:
        return path.name in str(error)


@settings(deadline=None, max_examples=100)
@given(data=st.binary(max_size=400), suffix=st.sampled_from([*PACK, ".json", ".parquet", ".txt"]))
def test_random_bytes_give_documents_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = write(tmp_path_factory.getbasetemp() / f"fuzz{suffix}", data)
    assert documents_or_error(path)


@settings(deadline=None, max_examples=100)
@given(place=st.integers(0, 10_000), value=st.integers(1, 255), suffix=st.sampled_from([*PACK, ".parquet"]))
def test_one_damaged_byte_gives_documents_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"flip{suffix}"
    if suffix == ".parquet":
        data = bytearray(write_parquet(path, {"text": TEXTS, "n": range(len(TEXTS))}).read_bytes())
    else:
        data = bytearray(PACK[suffix](jsonl(TEXTS)))
    data[place % len(data)] ^= value
    assert documents_or_error(write(path, bytes(data)))


# -- arrays, and records that are skipped ----------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_a_json_file_holds_an_array_or_lines(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    end = "" if pack is bytes else ".gz"
    array = json.dumps([{"text": text} for text in TEXTS], indent=1).encode()
    assert read(write(tmp_path / f"a.json{end}", pack(b"\xef\xbb\xbf \n" + array))) == TEXTS
    assert read(write(tmp_path / f"b.json{end}", pack(jsonl(TEXTS)))) == TEXTS


def test_bad_records_are_skipped_and_counted_by_reason(tmp_path: Path) -> None:
    bad = [line for line, _ in BAD_LINES]
    skipped: Counter[str] = Counter()
    path = write(tmp_path / "a.jsonl", b'{"text": "fine"}\n' + b"\n".join(bad) + b'\n{"text": "too"}')
    assert list(read_documents([str(path)], text_field="text", domain="web", skipped=skipped)) == ["fine", "too"]
    assert sum(skipped.values()) == len(bad)
    assert skipped["null"] == skipped["lone surrogate"] == skipped["NUL"] == skipped["not UTF-8"] == 1
    column = write_parquet(tmp_path / "b.parquet", {"text": ["x", None, "y\0"]})
    skipped.clear()
    assert list(read_documents([str(column)], text_field="text", domain="web", skipped=skipped)) == ["x"]
    assert skipped == {"null": 1, "NUL": 1}


def test_a_broken_file_is_no_bad_record(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl.gz", gzip.compress(jsonl(TEXTS))[:-9])
    with pytest.raises(DataError):
        list(read_documents([str(path)], text_field="text", domain="web", skipped=Counter()))
