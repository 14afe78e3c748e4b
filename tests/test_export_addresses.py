"""Exports to addresses, and what is refused there in place of a folder with an odd name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import validate
from doremi.errors import ConfigError, DoremiError, ExportError
from doremi.export import TARGETS, Options, export
from doremi.rundir.layout import RunDirectory
from make_run import MadeRun, make_run
from test_addresses import KEY, needs_s3, s3

__all__ = ["s3"]
NAMES = ("web", "code", "law")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return RunDirectory(make_run(tmp_path_factory.mktemp("run") / "demo", MadeRun(domains=NAMES, seeds=(0,))))


def test_an_address_gets_what_a_folder_gets(run: RunDirectory, tmp_path: Path) -> None:
    """Of every target, and nothing in it names the folder of this machine that one would be given."""
    given = {name: {"path": f"/data/{name}", "tokens": 10**6, "tokens_per_document": 50} for name in NAMES}
    (tmp_path / "paths.yaml").write_text(yaml.safe_dump(given))
    for target in TARGETS:
        options = Options(paths=tmp_path / "paths.yaml") if TARGETS[target].data != "names" else Options()
        here = export(run, target, mixture="doremi", out=tmp_path / target, options=options)
        there = export(run, target, mixture="doremi", out=f"memory://texts/{target}/", options=options)
        assert {f"memory://texts/{target}/{Path(one).relative_to(tmp_path / target)}" for one in here} == set(there)
        assert str(there[-1]).endswith(f"/{TARGETS[target].main}")
        for one in there:
            data = fsspec.filesystem("memory").cat_file(str(one))
            assert str(tmp_path).encode() not in data.replace(str(run.root).encode(), b"")
            if str(one).endswith("README.txt"):
                assert b"paths in these files begin at the folder that they lie in" in data


def test_tokens_of_the_run_cannot_be_linked_there(run: RunDirectory) -> None:
    with pytest.raises(ExportError, match=r"web/train\.bin would be a link to the run's own tokens; give --path"):
        export(run, "megatron", mixture="doremi", out="memory://other/megatron")
    assert not fsspec.filesystem("memory").exists("/other")


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("s3://user:pass-w0rd@bucket/x", "--out holds a password in an address; leave it out"),
        ("nosuch://bucket/x", "cannot be written (Protocol not known: nosuch); choose another place"),
        ("data://x/y", "cannot be written"),
    ],
)
def test_an_address_that_cannot_be_written_is_one_line(run: RunDirectory, out: str, says: str) -> None:
    with pytest.raises(ExportError) as caught:
        export(run, "json", mixture="doremi", out=out)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "pass-w0rd" not in str(caught.value)


def test_what_is_written_here_alone_refuses_addresses(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(yaml.safe_dump({"data": {"domains": {"a": "a", "b": "b"}}}))
    for command in (
        ["sample", str(run.root), "--tokens", "10", "--to", "flat", "--out", "s3://bucket/x"],
        ["slurm", "my.yaml", "--out", "gs://bucket/x"],
        ["run", "my.yaml", "--set", "runs=s3://bucket/runs"],
    ):
        result = CliRunner().invoke(app, command)
        assert isinstance(result.exception, DoremiError)
        assert re.search("is an address, but (this is written|runs are locked)", str(result.exception))
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]
    with pytest.raises(ConfigError, match="runs are locked and read in place"):
        validate({"name": "x", "runs": "s3://b", "data": {"domains": {"a": "a", "b": "b"}}}, "here")


@needs_s3
@pytest.mark.slow
def test_an_export_to_s3(run: RunDirectory, s3: Any, tmp_path: Path) -> None:
    command = ["export", str(run.root), "--to", "olmo", "--mixture", "doremi"]
    given = {name: {"path": f"s3://texts/{name}/*.npy", "tokens": 10**6} for name in NAMES}
    (tmp_path / "paths.yaml").write_text(yaml.safe_dump(given))
    places = ["--paths", str(tmp_path / "paths.yaml")]
    result = CliRunner().invoke(app, [*command, *places, "--out", "s3://texts/exports/olmo"])
    assert result.exit_code == 0, result.output
    assert KEY not in result.output
    written = [line for line in result.stdout.splitlines() if line.startswith("s3://")]
    assert sorted(written) == sorted(f"s3://{path}" for path in s3.find("texts/exports"))
    assert b"s3://texts/web/*.npy" in s3.cat_file("texts/exports/olmo/" + TARGETS["olmo"].main)
    refused = CliRunner().invoke(app, [*command, *places, "--out", "s3://no-such-bucket/olmo"])
    assert "cannot be written" in str(refused.exception)
    assert not s3.exists("no-such-bucket")
