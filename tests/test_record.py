"""Mixture files as typed values: ours come back byte by byte, anyone's are read, what is wrong is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from doremi.errors import DamageError, MixtureError, RunError
from doremi.files import write_json
from doremi.mixture.record import MixtureRecord, read_own_record, read_record, write_record

FORMATS = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
OURS = {"format": 1, "unit": "tokens", "weights": {"web": 0.75, "code": 0.25}}


def documented() -> dict[str, Any]:
    """The example of docs/formats.md, with what it tells in words alone."""
    page = FORMATS.read_text(encoding="utf-8").partition("## mixture.json")[2]
    value = json.loads(page.partition("```json")[2].partition("```")[0])
    rounds = [{"round": 1, "weights": value["weights"], "largest_change": 0.2, "domain": "web", "stopped": None}]
    before = {"before_limits": {"web": 0.9, "code": 0.1}}
    at = list(value).index("tokenizer")
    return {**dict(list(value.items())[:at]), **before, **dict(list(value.items())[at:]), "rounds": rounds}


def test_what_is_documented_comes_back_byte_by_byte(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", documented())
    for read in (read_record, read_own_record):
        write_record(tmp_path / "b.json", read(tmp_path / "a.json"))
        assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()
    record = read_record(tmp_path / "a.json")
    assert (record.mixture["web"], record.before["web"]) == (0.7, 0.9)
    assert record.settled is not None
    assert record.settled[0].steps == 50


def test_bare_weights_and_keys_of_other_tools(tmp_path: Path) -> None:
    (tmp_path / "bare.json").write_text(json.dumps({"web": 3, "code": 1}))
    bare = read_record(tmp_path / "bare.json")
    assert bare.mixture == bare.before == MixtureRecord(weights=OURS["weights"]).mixture
    assert bare.values() == {**OURS, "weights": {"web": 3, "code": 1}}
    write_json(tmp_path / "theirs.json", {**OURS, "temperature": {"of": 0.5}})
    assert read_record(tmp_path / "theirs.json").values() == {**OURS, "temperature": {"of": 0.5}}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"weights": {"web": True, "code": 1}}, "the weight of domain 'web' is True, not a number"),
        ({"seeds": ["first"]}, "seeds.0 (Input should be a valid integer"),
        ({"per_seed": {"0": 0.5}}, "per_seed.0 (Input should be a valid dictionary"),
        ({"domains": {"web": {"tokens": 3}}}, "domains.web.documents (Field required"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(more: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "mixture.json"
    write_json(path, {**OURS, **more})
    with pytest.raises(MixtureError, match=f"^{re.escape(str(path))}: .*{re.escape(says)}"):
        read_record(path)


def test_a_run_says_that_its_own_file_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "mixture.json"
    with pytest.raises(RunError, match="there is no mixture here yet"):
        read_own_record(path)
    write_json(path, {**OURS, "settled": {"0": True}})
    with pytest.raises(DamageError, match=r"mixture\.json: this mixture is damaged at settled\.0 .* run again"):
        read_own_record(path)
