"""Tables, archives and fields inside others: what was written is read, and whatever is wrong is one line.

Cases of others: rows that an unclosed quote swallows, archives one after the other in one file, streams that are cut
off between two batches, words that YAML takes for truth values.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from doremi.corpus.readers import read_documents, read_shaped
from doremi.corpus.shape import MISSING, Document, Filter, Shape, lookup
from doremi.corpus.sources import DomainSource, find_all, find_files
from doremi.errors import DataError
from every import ENDS, tar_of, write_documents

PLAIN = Shape()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def read(path: Path, shape: Shape = PLAIN, **more: Any) -> list[str]:
    return [one.text for one in read_shaped([str(path)], shape=shape, domain="web", **more)]


def error_of(path: Path, shape: Shape = PLAIN) -> str:
    with pytest.raises(DataError) as caught:
        read(path, shape)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


# -- fields ----------------------------------------------------------------------------------------------------------


def test_a_path_leads_through_objects_and_lists() -> None:
    record = {"a": {"b": 1, "c.d": 2}, "a.b": 3, "l": [{"t": "x"}, {"t": "y"}, {}], "n": {"l": [["p"], ["q"]]}}
    assert lookup(record, "a.b") == 3  # the name as it stands goes first
    assert lookup(record, "a.c.d") == 2
    assert lookup(record, "l.t") == ["x", "y", MISSING]
    assert lookup(record, "n.l") == [["p"], ["q"]]
    for path in ("b", "a.x", "l.x", "a.b.c", "", "."):
        assert lookup(record, path) is MISSING


JOINED = Shape("m.t", "-")
LISTS = [
    ({"m": {"t": ["a", "", "b"]}}, "a--b"),
    ({"m": [{"t": "a"}, {"t": None}, {"t": ["b", "c"]}]}, "a-b-c"),
    ({"m": []}, ""),
]
NO_LISTS = [
    ({"m": [{"t": "a"}, {}]}, "is missing in one part of the list"),
    ({"m": [{"t": {"u": "a"}}]}, "is a list with an object, not text; it has 'u'; name one, as in m.t.NAME"),
    ({"m": [{"t": 3}]}, "is a list with a number"),
    ({"m": [{"t": "a\0"}]}, "NUL"),
    ({"m": 3}, "has no field 'm.t'"),
]


def test_lists_are_joined_and_nothing_in_them_is_lost(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", "".join(json.dumps(record) + "\n" for record, _ in LISTS).encode())
    assert read(path, JOINED) == [text for _, text in LISTS]
    assert "field 'm.t' is a list, not text; set join to" in error_of(path, Shape("m.t"))
    for record, says in NO_LISTS:
        assert says in error_of(put(tmp_path / "b.jsonl", json.dumps(record).encode()), JOINED)
    skipped: Counter[str] = Counter()
    bad = put(tmp_path / "c.jsonl", "".join(json.dumps(record) + "\n" for record, _ in NO_LISTS).encode())
    assert read(bad, JOINED, skipped=skipped) == []
    assert skipped.total() == len(NO_LISTS)


def test_filters_count_what_they_leave_out(tmp_path: Path) -> None:
    records = [
        {"text": "1", "l": "en", "n": 3}, {"text": "2", "l": "de", "n": 3}, {"text": "3", "l": ["fr", "en"], "n": 3.0},
        {"text": "4", "n": 3}, {"text": "5", "l": "en", "n": True}, {"l": "de"},
    ]  # fmt: skip
    path = put(tmp_path / "a.jsonl", "".join(json.dumps(record) + "\n" for record in records).encode())
    left: Counter[str] = Counter()
    shape = Shape(where=(Filter("l", ("en", "no")), Filter("n", (3,))))
    assert read(path, shape, left_out=left) == ["1", "3"]
    assert left == {"where l": 3, "where n": 1}
    assert read(path, Shape(where=(Filter("n", (1,)),))) == []  # true is no number
    table = put(tmp_path / "a.csv", b"text,n,x\na,3,true\nb,4,True\nc,3,false\n")
    assert read(table, Shape(where=(Filter("n", (3,)),))) == ["a", "c"]
    assert read(table, Shape(where=(Filter("x", (True,)),))) == ["a", "b"]
    norwegian = Shape(where=(Filter("text", (False,)),))  # `where: {text: no}`
    assert "put words such as no, yes, on and off in quotes" in error_of(table, norwegian)
    assert "has no column 'y'" in error_of(table, Shape(where=(Filter("y", ("a",)),)))
    text = put(tmp_path / "a.txt", b"plain")
    assert "is plain text and has no field 'y'" in error_of(text, Shape(where=(Filter("y", ("a",)),)))


def test_a_file_may_be_two_domains_where_no_record_can_be_both(tmp_path: Path) -> None:
    path = str(put(tmp_path / "a.jsonl", b'{"text": "x"}\n'))
    english, german = (DomainSource([path], where=(Filter("l", (value,)),)) for value in ("en", "de"))
    assert set(find_all({"en": english, "de": german})) == {"en", "de"}
    with pytest.raises(DataError, match="belongs to domain 'en' too"):
        find_all({"en": english, "all": DomainSource([path])})


# -- tables of text --------------------------------------------------------------------------------------------------


def test_tables_keep_quotes_line_breaks_and_long_fields(tmp_path: Path) -> None:
    long = "x" * 200_000  # more than the library's own limit
    data = "\ufeff" + f'id,text\r\n1,"a ""b"", c\r\nd"\r\n\r\n2,{long}\r\n'
    assert read(put(tmp_path / "a.csv", data.encode())) == ['a "b", c\r\nd', long]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'text\n"open\nnext\nlast\n', "row 1: cannot be read (unexpected end of data)"),
        (b'text,n\n"one" more,1\nb,2\n', "row 1: cannot be read ("),
        (b"text,n\na,1\nb\n", "row 2: has 1 columns where the first row has 2"),
        (b"id;text\n1;a\n", "has no column 'text'; it has 'id;text' (are its columns parted by ';'?"),
        (b"text,text\na,b\n", "has the column 'text' 2 times"),
        (b"text\na\n\xff\n", "row 2: is not valid UTF-8 at byte 1"),
        (b"text\na\rb\n", "row 1: cannot be read ("),
    ],
)
def test_broken_tables(tmp_path: Path, data: bytes, says: str) -> None:
    path = put(tmp_path / "a.csv", data)
    assert says in error_of(path)
    if "row" in says:
        skipped: Counter[str] = Counter()
        read(path, skipped=skipped)
        assert skipped.total() == 1


def test_a_table_beside_the_texts_is_left_out_but_not_one_that_is_named(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", b'{"text": "x"}\n')
    table = put(tmp_path / "metadata.csv", b"id,url\n1,x\n")
    found = find_files(DomainSource([str(tmp_path)]), key="k")
    assert found.left_out[".csv without a column 'text'"].files == 1
    assert len(find_files(DomainSource([str(table)]), key="k").train) == 1
    with pytest.raises(DataError, match=r"no file with documents, but \.csv without a column 'text' \(1\); set text_f"):
        find_files(DomainSource([str(tmp_path / "*.csv")]), key="k")
    put(tmp_path / "semicolons.csv", b"id;text\n1;x\n")
    files = find_files(DomainSource([str(tmp_path)]), key="k").train
    with pytest.raises(DataError, match="are its columns parted by ';'"):
        list(read_documents([file.path for file in files], text_field="text", domain="d"))


# -- Arrow -----------------------------------------------------------------------------------------------------------


def test_nested_columns_of_any_kind_of_text(tmp_path: Path) -> None:
    rows = [{"m": [{"c": "a", "r": 1}, {"c": "b", "r": 2}]}, {"m": [{"c": None, "r": 1}]}]
    kind = pa.schema(
        {"m": pa.large_list(pa.struct({"c": pa.dictionary(pa.int8(), pa.large_string()), "r": pa.int8()}))}
    )
    parquet.write_table(pa.Table.from_pylist(rows, kind), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", Shape("m.c", "+")) == ["a+b", ""]
    assert "set join to" in error_of(tmp_path / "a.parquet", Shape("m.c"))
    assert "holds fields, not text; set text_field to one of 'm.c', 'm.r'" in error_of(
        tmp_path / "a.parquet", Shape("m", "+")
    )
    assert "it has 'm.c', 'm.r'" in error_of(tmp_path / "a.parquet", Shape("m.x", "+"))


@pytest.mark.parametrize("end", [".arrow", ".feather"])
def test_every_truncation_of_arrow_is_noticed(tmp_path: Path, end: str) -> None:
    schema = pa.schema({"text": pa.string()})
    kind = ipc.new_file if end == ".feather" else ipc.new_stream
    with kind(tmp_path / f"a{end}", schema) as writer:
        for text in ("one", "two"):
            writer.write_table(pa.table({"text": [text]}))
    whole = (tmp_path / f"a{end}").read_bytes()
    assert read(tmp_path / f"a{end}") == ["one", "two"]
    for length in range(0, len(whole), 4):
        assert "cannot be read" in error_of(put(tmp_path / f"b{end}", whole[:length]))


# -- archives --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [ipc.new_file, ipc.new_stream])
def test_a_text_that_lies_outside_its_column_is_never_read(tmp_path: Path, new: Any) -> None:
    """A byte of the offsets that flipped on some disk; the library takes them as they are, and ends the process."""
    offsets = pa.array([0, 40, 3], pa.int32()).buffers()[1]
    texts = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"abc"))
    table = pa.RecordBatch.from_arrays([texts], ["text"])
    path = tmp_path / "a.arrow"
    with new(path, table.schema) as writer:
        writer.write_batch(table)
    with pytest.raises(DataError, match=r"a\.arrow: cannot be read .*; check that the file is complete"):
        next(read_documents([str(path)], text_field="text", domain="d"))


def test_an_archive_may_hold_files_of_records(tmp_path: Path) -> None:
    lines = b'{"text": "a"}\n{"text": null}\n{"text": "b"}\n'
    path = put(tmp_path / "a.tgz", gzip.compress(tar_of({"d/a.jsonl": lines, "b.csv": b"text\nc\n"})))
    assert "a.tgz: d/a.jsonl, line 2: field 'text' is null" in error_of(path)
    assert read(path, skipped=Counter()) == ["a", "b", "c"]


def test_archives_that_are_cut_off_or_follow_one_another(tmp_path: Path) -> None:
    one, two = tar_of({"a.txt": b"a" * 600}), tar_of({"b.txt": b"b"})
    for length in (100, 512, 1000, 1536):
        assert "cannot be read" in error_of(put(tmp_path / "a.tar", one[:length]))
    assert "goes on after the archive's end" in error_of(put(tmp_path / "a.tar", one + two))
    assert read(put(tmp_path / "a.tar", one + b"\0" * 5000)) == ["a" * 600]
    assert "cannot be read" in error_of(put(tmp_path / "a.tar", b"no archive at all" * 100))


def test_what_is_held_out_by_its_name_stays_so_in_an_archive(tmp_path: Path) -> None:
    names = ["train/a.txt", "test/b.txt", "validation/c.txt", "x/dev.jsonl", "how-to-test-software.txt"]
    left: Counter[str] = Counter()
    path = put(tmp_path / "a.tar", tar_of({name: name.encode() for name in names}))
    assert read(path, left_out=left) == ["train/a.txt", "how-to-test-software.txt"]
    assert left == {"test file in an archive": 1, "validation file in an archive": 2}


# -- names -----------------------------------------------------------------------------------------------------------


def test_a_pattern_that_says_which_files_are_texts(tmp_path: Path) -> None:
    for name in ("a.py", "sub/b.py", "sub/c.md", "sub/d.json", "tests/e.py"):
        put(tmp_path / name, b"x")
    found = find_files(DomainSource([str(tmp_path / "**/*.py")]), key="k")
    assert [file.name for file in found.train] == ["a.py", "sub/b.py"]
    assert [file.name for file in found.test] == ["tests/e.py"]
    assert read(tmp_path / "a.py") == ["x"]
    with pytest.raises(DataError, match="no file that doremi reads"):
        find_files(DomainSource([str(tmp_path / "sub" / "c*")]), key="k")


def test_what_names_a_domain_comes_with_the_text(tmp_path: Path) -> None:
    values = ["web", " ", None, 3, True, ["x"]]
    path = put(tmp_path / "a.jsonl", "".join(json.dumps({"text": "t", "s": v}) + "\n" for v in values).encode())
    names = [one.name for one in read_shaped([str(path)], shape=Shape(by="s"), domain="web")]
    assert names == ["web", None, None, "3", "True", None]
    assert Document("t").name is None


# -- anything --------------------------------------------------------------------------------------------------------

NEW = sorted(end for end, kind in ENDS.items() if kind in ("csv", "tsv", "arrow", "tar"))


def documents_or_error(path: Path) -> bool:
    try:
        return all(isinstance(text, str) for text in read(path))
    except DataError as error:
        return path.name in str(error)


@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=300), place=st.integers(0, 10_000), value=st.integers(1, 255), end=st.sampled_from(NEW))
def test_damaged_files_give_documents_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int, value: int, end: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert documents_or_error(put(folder / f"fuzz{end}", data))
    (path,) = write_documents(folder, end, False, ["first", "zw\u00f6lf", "x" * 700])
    whole = bytearray(Path(path).read_bytes())
    whole[place % len(whole)] ^= value
    assert documents_or_error(put(folder / f"flip{end}", bytes(whole)))
