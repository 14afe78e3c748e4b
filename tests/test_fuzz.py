"""Files from strangers: whatever their bytes, only errors of ours come out, in one line, soon.

The default suite draws the same examples each time; the slow part draws many more. What was found once stays in FOUND.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import string
import traceback
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from doremi.errors import MixtureError
from doremi.mixture.files import read_mixture
from fuzz_targets import HEADER, TARGETS, VALID
from tiny import tiny_values

# -- what to feed ------------------------------------------------------------------------------------------------------

YAML_PARTS = [
    *"[]{},:?-'\"|>#%@`~=!&* \n\t\0\\é",
    *[
        "a: ",
        "- ",
        "\n  ",
        "? ",
        "&x ",
        "*x",
        "<<: ",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "data: ",
        "domains: ",
        "data.",
        "=",
    ],
    *[
        "!!int ",
        "!!float ",
        "!!bool ",
        "!!timestamp ",
        "!!binary ",
        "!!set ",
        "!!omap ",
        "!!map ",
        "!!str ",
        "!!merge ",
    ],
    *[
        "!!python/object/apply:os.getcwd []",
        "!!python/name:os.system",
        "!x ",
        "0x",
        "0b",
        "1:2:3",
        "1e999",
        ".nan",
        ".inf",
    ],
    *[
        "null",
        "2001-01-01",
        "2001-99-99",
        '"\\ud800"',
        '"\\0"',
        '"\\e[31m"',
        "\ud800",
        "\u2028",
        "1" * 5000,
        "runs",
        "name",
    ],
    *["training", "model", "options", "choices", "steps", "candidates", "proxy"],
]
JSON_PARTS = [
    *'[]{},:"\\ \n\0-e.',
    *[
        '"a"',
        '"b": ',
        '{"',
        '": ',
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-0",
        "1" * 400,
        "1" * 5000,
        "true",
        "null",
    ],
    *[
        '"\\ud800"',
        '"\\u0000"',
        '{"format": 1, ',
        '"unit": "tokens", "weights": {',
        '"step": ',
        '"kind": "train"',
        "\n",
    ],
    *[
        '"kind": "header"',
        '"domains": ',
        '"sha256": {',
        '"state.json": ',
        '"folder": "../..',
        "\u2028",
        "5e-324",
        "1e308",
    ],
]


def parts(known: list[str]) -> st.SearchStrategy[bytes]:
    """Texts put together from what means something in a language."""
    return st.lists(st.sampled_from(known), max_size=25).map(lambda p: "".join(p).encode("utf-8", "surrogatepass"))


def damaged(whole: list[bytes]) -> st.SearchStrategy[bytes]:
    """Sound files with some bits turned and the end cut off."""

    def damage(data: bytes, flips: list[tuple[float, int]], keep: float) -> bytes:
        changed = bytearray(data)
        for place, bit in flips:
            changed[int(place * len(data))] ^= 1 << bit
        return bytes(changed[: math.ceil(keep * len(data))])

    places = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=4)
    return st.builds(damage, st.sampled_from(whole), places, st.just(1.0) | st.floats(0, 1))


LEAVES: list[Any] = [
    *[
        None,
        True,
        0,
        -1,
        2**63,
        2**64,
        10**400,
        math.nan,
        math.inf,
        -math.inf,
        1e308,
        5e-324,
        date(2001, 1, 1),
        b"\xff",
    ],
    *["", ".", "..", "../x", "/x", "\0", "\ud800", "\x1b[31m", "a\nb", "\u2028", "CON", "x" * 10_000, "auto", "doremi"],
    *[[], {}, [[]], {"": None}, {1: 2}, {"a": {1: 2}}, {1}, "~", "a.json", "*.json", "s3://x/y", "𠀀" * 80],
]
SCALARS = st.sampled_from(LEAVES) | st.integers() | st.floats() | st.text(string.printable, max_size=8)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3))


def places(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All paths in nested mappings, sections included."""
    inner = [p for key in value for p in places(value[key], (*path, key))] if isinstance(value, dict) else []
    return [path, *inner] if path else inner


FULL: dict[str, Any] = {
    **tiny_values(Path("corpus"), Path("runs")),
    "seed": 0,
    "budget_tokens": 10,
    "reference": {"mixture": "natural"},
    "proxy": {"seeds": 1, "eta": 1.0, "choices": {"clip": "none"}},
    "candidates": {"mixtures": ["natural"], "sizes": ["1m"], "seeds": 1},
    "verdict": {"margin": 0.01},
}


def changed(path: tuple[str, ...], how: str, value: Any) -> bytes:
    """A sound configuration with one value replaced or removed, or one key too many."""
    values = json.loads(json.dumps(FULL))
    section = values
    for key in path[:-1]:
        section = section[key]
    if how == "remove":
        del section[path[-1]]
    else:
        section[path[-1] if how == "replace" else path[-1] + "x"] = value
    return yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "surrogatepass")


CHANGED = st.builds(
    changed, st.sampled_from(places(FULL)), st.sampled_from(["replace", "replace", "remove", "add"]), VALUES
)
JSON = st.one_of(VALUES.map(lambda v: json.dumps(v, default=str, skipkeys=True).encode("utf-8", "surrogatepass")))
LINES = b"\n".join(json.dumps({"text": f"document {i} é \U0001f600", "n": i}).encode() for i in range(20))


def table(**options: Any) -> bytes:
    out = io.BytesIO()
    texts = pa.array([f"document {i} é" for i in range(20)])
    parquet.write_table(pa.table({"text": texts, "n": range(20)}), out, **options)
    return out.getvalue()


FILES: dict[str, list[bytes]] = {
    ".jsonl": [LINES],
    ".jsonl.gz": [gzip.compress(LINES, mtime=0), gzip.compress(LINES, mtime=0) * 2],
    ".jsonl.zst": [zstandard.compress(LINES), zstandard.ZstdCompressor(write_checksum=True).compress(LINES) * 2],
    ".parquet": [
        table(),
        table(compression="zstd", use_dictionary=False),
        table(data_page_version="2.0", row_group_size=7),
    ],
    ".txt": [b"\xef\xbb\xbfplain \xc3\xa9 text"],
}
RECORDS = HEADER + b"".join(b'{"kind": "train", "step": %d, "loss": 0.5}\n' % i for i in range(1, 4))
NODES = (
    b'{"format": 1, "reference_mixture": "a", "candidates": [], "nodes": [{"id": "n", "kind": "training", '
    b'"role": "main", "key": "k", "place": "%s", "mixture": "a", "size": "1m"}]}'
)
STAGE = b'{"format": 1, "key": "k", "steps": 3, "fingerprint": "f", "select": 1}'
WEIGHTS = b'{"format": 1, "unit": "tokens", "weights": {"web": 0.75, "code": 0.25}}'

SOUND: dict[str, list[bytes]] = {
    **FILES,
    "config": [VALID, yaml.safe_dump(FULL).encode()],
    "override": [b"training.steps=200"],
    "mixture": [WEIGHTS],
    "json": [STAGE],
    "run": [STAGE],
    "training": [RECORDS, STAGE],
}

FEED: dict[str, st.SearchStrategy[bytes]] = {
    "config": st.binary(max_size=60) | parts(YAML_PARTS) | CHANGED | damaged(SOUND["config"]),
    "override": st.binary(max_size=30) | parts(YAML_PARTS).map(lambda p: b"model.options.x=" + p) | parts(YAML_PARTS),
    **{suffix: st.binary(max_size=80) | damaged(whole) for suffix, whole in FILES.items()},
    "mixture": st.binary(max_size=40) | parts(JSON_PARTS) | JSON | damaged(SOUND["mixture"]),
    "json": st.binary(max_size=40) | parts(JSON_PARTS) | JSON | damaged(SOUND["json"]),
    "run": parts(JSON_PARTS) | JSON | parts(YAML_PARTS) | damaged(SOUND["json"]),
    "training": st.binary(max_size=120) | parts(JSON_PARTS) | damaged(SOUND["training"]),
    "checkpoint": st.binary(max_size=40) | parts(JSON_PARTS) | JSON,
}


def full(section: str, key: str, text: str) -> bytes:
    """The full configuration with one value as YAML text."""
    return yaml.safe_dump({**FULL, section: {**FULL.get(section, {}), key: "?"}}).replace("'?'", text).encode()


FOUND: list[tuple[str, bytes]] = [
    *[
        ("config", text.encode())
        for text in ("!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!map [a]", "!!set [a]")
    ],
    *[("override", b"seed=" + text) for text in (b"!!int ''", b"!!bool x", b"2001-99-99", b"[" * 2000, b"1" * 5000)],
    ("override", b"\0"),
    ("override", b"a.\x1b[31m.b.c=1"),
    *[("config", full("model", "options", f"{{x: {x}}}")) for x in (".nan", "1e+999", "!!binary /w==", "!!set {a}")],
    *[("config", full("model", "options", f"{{x: {x}}}")) for x in ("0x" + "f" * 5000, "2001-01-01", '"\\ud800"')],
    *[("config", full("proxy", "choices", text)) for text in ("&a {x: *a}", "{1: 2}", "{a: {1: 2}}")],
    ("config", full("training", "steps", "0x" + "f" * 5000)),
    ("config", full("data", "tokenizer", '"\\ud800"')),
    ("config", full("data", '"\\e[31m"', "1")),
    *[("mixture", b'{"a": %s}' % weight) for weight in (b"1" * 400, b"-" + b"1" * 400, b"[" * 400 + b"]" * 400)],
    (".parquet", b"PAR1\x1e\x01\0\0\0PAR1"),
    ("mixture", b'{"a": 1e308, "b": 1e308}'),
    *[(name, b"[" * 100_000) for name in ("json", "run", "training", "checkpoint")],
    ("json", b'{"format": 1}'),
    ("run", b"!!int ''"),
    ("run", b"{}"),
    *[("run", NODES % text) for text in (b"..", b"\\u0000", b"trainings/0/../../../x", b"x" * 5000)],
    *[
        ("training", text)
        for text in (b"1", b"{}", b'{"kind": "train"}', b'{"kind": "header"}', b'{"kind": "header", "domains": 1}')
    ],
    *[("training", b'{"kind": "train", "step": 1, "loss": %s}' % value) for value in (b"NaN", b"1e999", b'"\\ud800"')],
    ("training", b'{"kind": "train", "step": "1"}'),
    *[
        ("run", b'{"format": 1, "domains": ' + text)
        for text in (b"3}", b'{"a": 3}}', b'{"a": {"train": 3}}}', b"null}")
    ],
    *[("checkpoint", text) for text in (b"", b"1", b"[]", b'{"sha256": {"a\\u0000": 1}}')],
]


def fuzz(name: str, folder: Path, examples: int) -> int:
    """How many inputs a target was fed; fails with the first that lets out what may not come out."""
    fed: list[int] = []

    @settings(max_examples=examples, derandomize=True, deadline=None, database=None)
    @given(FEED[name])
    def feed(data: bytes) -> None:
        fed.append(len(data))
        assert bug_in(name, folder, data) is None

    feed()
    return len(fed)


def bug_in(name: str, folder: Path, data: bytes) -> str | None:
    """What comes out of a target that may not; None where all is well."""
    try:
        TARGETS[name](folder, data)
    except Exception as error:
        return "".join(traceback.format_exception(error))
    return None


@pytest.mark.parametrize("name", FEED)
def test_only_errors_of_ours_come_out(name: str, tmp_path: Path) -> None:
    assert fuzz(name, tmp_path, 60) > 1


@pytest.mark.parametrize(
    ("name", "data"), FOUND, ids=lambda value: value if isinstance(value, str) else repr(value)[2:40]
)
def test_what_was_found_once(name: str, data: bytes, tmp_path: Path) -> None:
    assert bug_in(name, tmp_path, data) is None


def test_a_domain_that_is_weighted_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mixture.json").write_text('{"a": 1, "b": 2, "a": 3}')
    with pytest.raises(MixtureError, match="'a' is there twice"):
        read_mixture(tmp_path / "mixture.json")


@pytest.mark.slow
@pytest.mark.parametrize("name", FEED)
def test_only_errors_of_ours_come_out_of_many(name: str, tmp_path: Path) -> None:
    assert fuzz(name, tmp_path, 1200) > 1
