"""Which files are training, validation or test, which are not read, and that nothing counts twice."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import fsspec
import pytest

from doremi.corpus.source_record import record_sources, source_changes
from doremi.corpus.sources import DomainFiles, DomainSource, File, describe, find_all, find_files
from doremi.errors import DataError


def write(path: Path, text: str = '{"text": "some text"}\n') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def found(*patterns: Path | str, validation: Sequence[str] = ()) -> DomainFiles:
    return find_files(DomainSource([str(pattern) for pattern in patterns], validation), key="k")


def names(files: list[File]) -> list[str]:
    return [file.name for file in files]


def error_of(action: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- splits ----------------------------------------------------------------------------------------------------------

HELD = [
    *["validation.jsonl", "valid-00.jsonl", "VAL_1.txt", "val2.parquet", "validation/x.txt", "dev/y.jsonl"],
    *["c4-validation.00000-of-00008.json.gz", "data/validation-00000-of-00001.parquet", "en/dev.jsonl.zst"],
    *["valid_set/deep/er/part.txt", "web_val.ndjson", "x-valset.jsonl"],
]
TEST = [
    *["test.jsonl", "data/test-00000-of-00001.parquet", "tests/a.txt", "eval/b.jsonl", "holdout.jsonl"],
    *[
        "held-out/c.txt",
        "train/test.jsonl",
        "my.test.jsonl.gz",
        "Evaluation/x.jsonl",
        "test_data.parquet",
        "human_testset.jsonl",
    ],
]
KEPT = [
    *["train.jsonl", "values.txt", "validated.jsonl", "latest.jsonl", "contest/a.txt", "device/b.jsonl"],
    *["how-to-test-software.txt", "data/train-00000-of-00001.parquet", "evaluations-of-schools.txt", "medieval.txt"],
]


@pytest.mark.parametrize("name", [*HELD, *TEST, *KEPT])
def test_splits_by_name_at_any_depth(tmp_path: Path, name: str) -> None:
    write(tmp_path / "part-0.jsonl")
    write(tmp_path / name)
    files = found(tmp_path)
    side = files.validation if name in HELD else files.test if name in TEST else files.train
    assert name in names(side)
    assert len([*files.train, *files.validation, *files.test]) == 2


def test_a_file_that_the_user_names_is_what_the_user_says(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl")
    assert found(path).train[0].path == str(path)
    assert names(found(tmp_path / "test*").train) == ["test.jsonl"]
    assert "has test files only" in error_of(lambda: found(tmp_path))


def test_the_folder_above_decides_nothing(tmp_path: Path) -> None:
    write(tmp_path / "test" / "val" / "web" / "a.jsonl")
    assert names(found(tmp_path / "test" / "val" / "web").train) == ["a.jsonl"]
    assert names(found(tmp_path / "test" / "val" / "*" / "*.jsonl").train) == ["web/a.jsonl"]


def test_given_validation_files_are_not_trained_on(tmp_path: Path) -> None:
    for name in ("a.jsonl", "held.jsonl", "validation.jsonl"):
        write(tmp_path / name)
    files = found(tmp_path, validation=[str(tmp_path / "held.jsonl")])
    assert (names(files.train), names(files.validation)) == (["a.jsonl"], ["held.jsonl"])
    assert files.left_out["validation files, since others are given"].files == 1
    both = found(tmp_path, validation=[str(tmp_path)])
    assert (names(both.train), names(both.validation)) == (["a.jsonl", "held.jsonl"], ["validation.jsonl"])


def test_only_validation_files(tmp_path: Path) -> None:
    write(tmp_path / "validation.jsonl")
    assert "has validation files only" in error_of(lambda: found(tmp_path))


# -- what is not read ------------------------------------------------------------------------------------------------


def test_every_file_that_is_not_read_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    for name, size in (
        ("b.pdf", 10),
        ("c.pdf", 20),
        ("README", 5),
        (".git/x.txt", 7),
        (".hidden.jsonl", 1),
        ("d.json", 2),
    ):
        write(tmp_path / name, "{" + " " * (size - 1))
    files = found(tmp_path)
    assert names(files.train) == ["a.jsonl"]
    assert {kind: (one.files, one.bytes) for kind, one in files.left_out.items()} == {
        ".pdf": (2, 30),
        "no suffix": (1, 5),
        "hidden": (2, 8),
        ".json without documents": (1, 2),
    }
    line = describe(files)
    assert line.startswith("1 training file, validation split off; left out: 6 files, 45 bytes (.pdf 2, hidden 2")


@pytest.mark.parametrize(
    ("text", "is_data"),
    [
        ('{"text": "a"}\n{"text": "b"}\n', True),
        ('[\n {"text": "a"}\n]', True),
        ('{"text": "a"}', True),
        ('{"builder_name": "text", "splits": {}}', False),
        ('{\n  "name": "x"\n}\n', False),
        ("", False),
    ],
)
def test_a_bare_json_file_is_data_or_metadata(tmp_path: Path, text: str, is_data: bool) -> None:
    write(tmp_path / "a.jsonl")
    write(tmp_path / "b.json", text)
    assert ("b.json" in names(found(tmp_path).train)) == is_data


def test_addresses_and_paths_alike() -> None:
    system = fsspec.filesystem("memory")
    for name in ("b.jsonl", "sub/a.jsonl", ".hidden.jsonl", ".git/x.jsonl", "validation.jsonl", "test/c.txt", "d.pdf"):
        system.pipe_file(f"/sources-test/{name}", b'{"text": "x"}')
    root = "memory://sources-test"
    files = found(root)
    assert (names(files.train), names(files.validation)) == (["b.jsonl", "sub/a.jsonl"], ["validation.jsonl"])
    assert (names(files.test), files.left_out["hidden"].files, files.left_out[".pdf"].files) == (["test/c.txt"], 2, 1)
    assert names(found(f"{root}/*.jsonl").train) == ["b.jsonl"]
    assert names(found(f"{root}/validation.jsonl").train) == ["validation.jsonl"]
    assert "no such file" in error_of(lambda: found(f"{root}/nowhere"))
    before = found(f"{root}/b.jsonl").train[0].version
    system.pipe_file("/sources-test/b.jsonl", b'{"text": "other"}')
    assert found(f"{root}/b.jsonl").train[0].version != before


# -- each content once -----------------------------------------------------------------------------------------------


def test_links_count_once(tmp_path: Path) -> None:
    path = write(tmp_path / "data" / "a.jsonl")
    (tmp_path / "data" / "b.jsonl").symlink_to(path)
    os.link(path, tmp_path / "data" / "c.jsonl")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    outside = write(tmp_path / "elsewhere" / "z.jsonl", '{"text": "z"}')
    (tmp_path / "data" / "linked").symlink_to(outside.parent)
    files = found(tmp_path / "data")
    assert names(files.train) == ["a.jsonl", "linked/z.jsonl"]
    assert files.left_out["the same file under another name"].files == 2


def test_a_packed_copy_counts_once_but_other_contents_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    write(tmp_path / "b.jsonl", '{"text": "b"}')
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "another"}'))
    files = found(tmp_path)
    assert names(files.train) == ["a.jsonl", "b.jsonl", "b.jsonl.gz"]
    assert files.left_out["packed copy of a file beside it"].files == 1


def test_patterns_that_overlap_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jsonl", "b.jsonl", "sub/c.txt", "sub/deep/D.JSONL.GZ"):
        write(tmp_path / name, name)
    assert names(found(tmp_path).train) == ["a.jsonl", "b.jsonl", "sub/c.txt", "sub/deep/D.JSONL.GZ"]
    assert names(found(tmp_path / "b.jsonl", tmp_path / "*.jsonl").train) == ["b.jsonl", "a.jsonl"]
    assert names(found(tmp_path / "*b").train) == ["sub/c.txt", "sub/deep/D.JSONL.GZ"]
    monkeypatch.chdir(tmp_path)
    assert names(found("b.jsonl", "./sub/../a.jsonl").train) == ["b.jsonl", "a.jsonl"]


def test_one_file_belongs_to_one_domain(tmp_path: Path) -> None:
    path = write(tmp_path / "web" / "a.jsonl")
    (tmp_path / "linked").symlink_to(path.parent)
    domains = {"web": DomainSource([str(path)]), "all": DomainSource([str(tmp_path / "linked")])}
    message = error_of(lambda: find_all(domains))
    assert "data.domains.all:" in message
    assert "belongs to domain 'web' too" in message
    fields = {"en": DomainSource([str(path)], text_field="en"), "de": DomainSource([str(path)], text_field="de")}
    assert len(find_all(fields)) == 2  # two texts of one file


# -- nothing to read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("nowhere", "no such file or folder"),
        ("*.nothing", "no such file or folder"),
        ("README.md", "no file that doremi reads; it reads .jsonl .ndjson"),
        ("no-such-protocol://bucket/x", "cannot be read (Protocol not known"),
    ],
)
def test_nothing_to_read_names_key_and_pattern(tmp_path: Path, pattern: str, part: str) -> None:
    write(tmp_path / "README.md")
    full = pattern if "://" in pattern else f"{tmp_path}/{pattern}"
    message = error_of(lambda: found(full))
    assert message.startswith(f"k.train: {full}: ")
    assert part in message


def test_a_name_with_glob_characters_that_exists_is_a_file(tmp_path: Path) -> None:
    assert names(found(write(tmp_path / "a[1]*.jsonl")).train) == ["a[1]*.jsonl"]


def test_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(path: Path, **options: Callable[[OSError], None]) -> list:
        options["onerror"](PermissionError(13, "Permission denied"))
        return []

    monkeypatch.setattr(os, "walk", walk)
    assert "Permission denied" in error_of(lambda: found(tmp_path))


# -- what has changed since ------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, dict[str, DomainSource]]:
    for name in ("a", "b", "c"):
        write(tmp_path / "data" / "web" / f"{name}.jsonl", json.dumps({"text": name}))
    domains = {"web": DomainSource([str(tmp_path / "data" / "web")])}
    record_sources(tmp_path, find_all(domains))
    return tmp_path, domains


def test_new_gone_and_edited_files_are_told(recorded: tuple[Path, dict[str, DomainSource]]) -> None:
    folder, domains = recorded
    assert source_changes(folder, domains) == []
    web = folder / "data" / "web"
    write(web / "d.jsonl")
    (web / "a.jsonl").unlink()
    write(web / "b.jsonl", '{"text": "B"}')  # as long as before
    (change,) = source_changes(folder, domains)
    assert change.what == (
        "1 training file new (d.jsonl), 1 training file gone (a.jsonl), 1 training file changed (b.jsonl)"
    )


def test_other_times_and_other_places_are_no_change(recorded: tuple[Path, dict[str, DomainSource]]) -> None:
    folder, domains = recorded
    for path in (folder / "data" / "web").iterdir():
        os.utime(path, (1, 1))
    assert source_changes(folder, domains) == []
    (folder / "data").rename(folder / "moved")
    assert source_changes(folder, {"web": DomainSource([str(folder / "moved" / "web")])}) == []
    (change,) = source_changes(folder, domains)  # gone altogether: nothing that could be said to have changed
    assert change.what == ""
