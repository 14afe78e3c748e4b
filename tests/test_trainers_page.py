"""docs/trainers.md: every target has its row and its test, and the schema and the reader there are right."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from doremi.errors import MixtureError
from doremi.export import TARGETS
from doremi.mixture.files import read_mixture
from make_run import MadeRun, make_run

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `([\w-]+)` \| (.*) \| (.*) \| (.*) \| (.*) \|$", PAGE, re.M)}
FILES_OF_TESTS = ("test_trainers.py", "test_trainers_git.py")
TRAINERS = "".join((ROOT / "tests" / name).read_text(encoding="utf-8") for name in FILES_OF_TESTS)


def test_every_target_has_a_row_that_is_right() -> None:
    assert list(ROWS) == list(dict.fromkeys(ROWS))
    assert set(ROWS) == set(TARGETS)
    for name, (counts, zero, paths, tests) in ROWS.items():
        target = TARGETS[name]
        assert (zero == "kept") == target.keeps_zeros, name
        no_paths = target.data == "names" and target.counts == "tokens"
        assert paths == ("no paths" if no_paths else "one weight" if target.groups else "a weight each"), name
        by_documents = counts == "samples" or "document" in counts
        assert by_documents == (target.counts == "documents"), name
        for test in re.findall(r"::(\w+)", tests):
            assert f"def {test}(" in TRAINERS
        assert all((ROOT / "tests" / file).exists() for file in re.findall(r"`(\w+\.py)", tests))


def test_the_table_of_packages_names_every_test() -> None:
    """`make trainers` writes it, and only where all have read."""
    table = PAGE.partition("<!-- make trainers: begin -->")[2].partition("<!-- make trainers: end -->")[0]
    assert sorted(re.findall(r"`(test_\w+)`", table)) == sorted(re.findall(r"^def (test_\w+)\(", TRAINERS, re.M))
    packages = runpy.run_path(str(ROOT / "tools" / "trainers" / "run.py"))["TRAINERS"].values()
    assert [row.split()[1] for row in table.splitlines() if "`test_" in row] == [trainer.name for trainer in packages]


def test_the_schema_is_that_of_the_reader() -> None:
    written = (ROOT / "docs" / "mixture.schema.json").read_text(encoding="utf-8")
    assert written == runpy.run_path(str(ROOT / "tools" / "mixture_schema.py"))["text"]()


FILES: dict[str, tuple[Any, bool]] = {
    "least": ({"format": 1, "unit": "tokens", "weights": {"web": 2, "gr\u00fcne B\u00fccher": 1e-6}}, True),
    "others' keys": ({"format": 1, "unit": "tokens", "weights": {"web": 1}, "note": [1]}, True),
    "no weights": ({"format": 1, "unit": "tokens"}, False),
    "none": ({"format": 1, "unit": "tokens", "weights": {}}, False),
    "negative": ({"format": 1, "unit": "tokens", "weights": {"web": 2, "code": -1}}, False),
    "another unit": ({"format": 1, "unit": "documents", "weights": {"web": 1}}, False),
    "another format": ({"format": 2, "unit": "tokens", "weights": {"web": 1}}, False),
    "a wrong key": ({"format": 1, "unit": "tokens", "weights": {"web": 1}, "seeds": "three"}, False),
}


@pytest.mark.parametrize("case", FILES)
def test_the_schema_takes_what_the_reader_takes(tmp_path: Path, case: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    value, good = FILES[case]
    checker = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/mixture.schema.json").read_text()))
    assert checker.is_valid(value) == good
    (tmp_path / "m.json").write_text(json.dumps(value))
    if good:
        read_mixture(tmp_path / "m.json")
    else:
        with pytest.raises(MixtureError):
            read_mixture(tmp_path / "m.json")


def test_the_reader_on_the_page_reads_what_ours_reads(tmp_path: Path) -> None:
    code = PAGE.partition("```python\n")[2].partition("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict[str, Any] = {}
    exec(code, names)
    run = make_run(tmp_path / "run", MadeRun(seeds=(0,)))
    for name in ("mixture.json", "mixtures/natural.json"):
        assert names["read_mixture"](run / name) == pytest.approx(dict(read_mixture(run / name).weights))
    for case, (value, good) in FILES.items():
        path = tmp_path / "m.json"
        path.write_text(json.dumps(value))
        if good:
            assert names["read_mixture"](path) == pytest.approx(dict(read_mixture(path).weights))
        elif case.startswith("another"):
            with pytest.raises(ValueError, match="another format"):
                names["read_mixture"](path)
