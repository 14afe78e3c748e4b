"""The command line as a stranger meets it: every mistake is one line on stderr, exit code 2, never a traceback."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import doremi
from doremi.cli.commands import main
from doremi.cli.display import Display
from doremi.errors import ConfigError
from doremi.events.event import Event, Measured
from doremi.model.presets import shape
from doremi.training import checkpoint
from tiny import tiny_values, write_corpus, write_tiny


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command, in this process."""
    monkeypatch.setattr(sys, "argv", ["doremi", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def text_file(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def lines(*values: object) -> bytes:
    return "\n".join(json.dumps(v) for v in values).encode()


GOOD = lines(*[{"text": f"a fine document, number {i}, of a few words"} for i in range(30)])

BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "line that is not JSON": ("a.jsonl", GOOD + b"\n{broken", r"a\.jsonl.*31"),
    "missing field": ("a.jsonl", GOOD + b"\n" + lines({"body": "x"}), r"a\.jsonl.*31.*text.*body"),
    "text is a number": ("a.jsonl", GOOD + b"\n" + lines({"text": 3}), r"a\.jsonl.*31"),
    "invalid UTF-8": ("a.jsonl", GOOD + b'\n{"text": "\xff\xfe"}', r"a\.jsonl.*31"),
    "truncated gz": ("a.jsonl.gz", gzip.compress(GOOD)[:-20], r"a\.jsonl\.gz"),
    "not zstd": ("a.jsonl.zst", b"not zstd at all", r"a\.jsonl\.zst"),
    "not parquet": ("a.parquet", b"not parquet", r"a\.parquet"),
    "empty file": ("a.jsonl", b"", r"bad"),
    "one short document": ("a.jsonl", lines({"text": "x"}), r"bad"),
    "unknown suffix": ("a.docx", b"x", r"bad.*\.jsonl"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_broken_files_name_file_and_line(
    name: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, data, says = BAD_FILES[name]
    text_file(tmp_path / "bad" / file, data)
    values = tiny_values(corpus, tmp_path / "runs")
    values["data"]["domains"]["bad"] = str(tmp_path / "bad")
    config = text_file(tmp_path / "c.yaml", yaml.safe_dump(values).encode())
    code, _, err = call(monkeypatch, capsys, "prepare", str(config))
    *_, last = err.strip().splitlines()
    assert code == 2
    assert last.startswith("error: ")
    assert "Traceback" not in err
    assert re.search(says, last), last
    assert not (tmp_path / "runs/tiny/corpus/manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "none.yaml"], "there is no such file"),
        (["run", "CONFIG", "--set", "training.stepz=3"], "did you mean 'steps'"),
        (["run", "CONFIG", "--set", "data.domains.prose=nowhere"], "nowhere"),
        (["run", "CONFIG", "--set", "model.options={}", "--set", "model.architecture=null",
          "--set", "model.preset=280x"], "did you mean '280m'"),
        (["run", "CONFIG", "--set", "candidates.sizes=[125m]"], "error: candidates.sizes: there is no preset '125m'; "
         "did you mean '150m'? There are 0.1m, "),
        (["run", "ONE"], "there is one domain, so there is nothing to weigh"),
        (["run", "ONE", "--dry-run"], "there is one domain, so there is nothing to weigh"),
        (["proxy", "ONE"], "there is one domain, so there is nothing to weigh"),
        (["run", "CONFIG", "--set", "candidates.mixtures=[natural, old/natural.json]"], "rename the file"),
        (["train", "CONFIG", "--mixture", "doremi.json"], "'doremi.json' would be called 'doremi'"),
        (["run", "CONFIG", "--set", "candidates.mixtures=[a/x.json, b/x.json]"], "would both be called 'x'"),
        (["run", "."], "error: .: is not a run directory (it has no config.yaml); give one, or a configuration"),
        (["status", "."], "error: .: is not a run directory"),
        (["run", "CONFIG", "--set", "candidates.mixtures=[doremy]"], "did you mean 'doremi'"),
        (["run", "CONFIG", "--set", "reference.mixture=missing.json"], "missing.json"),
        (["run", "CONFIG", "--set", "reference.mixture=doremi"], "reference.mixture cannot be doremi"),
        (["run", "CONFIG", "--set", "proxy.sampling=doremi"], "proxy.sampling cannot be doremi"),
        (["job", "CONFIG", "natural"], "this run has no job 'natural'; `doremi jobs` lists them"),
        (["train", "CONFIG", "--mixture", "UNKNOWN"], "'elsewhere', which is not a domain here"),
        (["train", "CONFIG", "--mixture", "NEGATIVE"], "not negative"),
        (["proxy", "CONFIG", "--set", "proxy.choices={clip: sometimes}"], "proxy.choices"),
        (["report", "CONFIG"], "there is no such run directory"),
        (["evaluate", "CONFIG"], "doremi"),
        (["export", "nowhere", "--to", "megatron"], "nowhere"),
        (["init", "new.yaml", "EMPTY"], "domain 'b': EMPTY/b: its files hold no text"),
        (["init", "new.yaml", "LONE"], "is the only domain in it"),
        (["init", "CONFIG", "."], "exists already"),
        (["init", "new.yaml", "nowhere"], "nowhere: cannot be read (No such file or directory)"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], says: str, corpus: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    places = {
        "CONFIG": str(write_tiny(tmp_path / "tiny.yaml", corpus, tmp_path / "runs", training={"steps": 2})),
        "UNKNOWN": str(text_file(tmp_path / "u.json", b'{"prose": 1, "code": 1, "digits": 1, "elsewhere": 1}')),
        "NEGATIVE": str(text_file(tmp_path / "n.json", b'{"prose": -1, "code": 1, "digits": 1}')),
        "ONE": str(one_domain(tmp_path / "one.yaml", corpus)),
        "EMPTY": str(text_file(tmp_path / "empty/b/b.jsonl", b"\n").parents[1]),
        "LONE": str(text_file(tmp_path / "lone/a/a.jsonl", GOOD).parents[1]),
    }
    text_file(tmp_path / "empty/a/a.jsonl", GOOD)
    code, _, err = call(monkeypatch, capsys, *[places.get(a, a) for a in arguments])
    assert code == 2
    assert err.strip().splitlines()[-1].startswith("error: ")
    assert says.replace("EMPTY", places["EMPTY"]) in err.strip().splitlines()[-1]
    assert "Traceback" not in err


def one_domain(path: Path, corpus: Path) -> Path:
    values = tiny_values(corpus, path.parent / "runs")
    values["data"]["domains"] = {"prose": str(corpus / "prose")}
    return text_file(path, yaml.safe_dump({**values, "candidates": {"mixtures": ["natural"]}}).encode())


def test_one_domain_can_be_prepared_and_trained_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(one_domain(tmp_path / "one.yaml", corpus))
    assert call(monkeypatch, capsys, "prepare", config)[0] == 0
    assert call(monkeypatch, capsys, "train", config, "--mixture", "natural")[0] == 0


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "tensors.safetensors")


def test_full_disk_is_one_line_and_the_run_goes_on_afterwards(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_tiny(tmp_path / "tiny.yaml", corpus, tmp_path / "runs"))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full_disk)
        code, _, err = call(monkeypatch, capsys, "reference", config)
    assert code == 2
    assert "No space left on device" in err.strip().splitlines()[-1]
    assert "Finished work is kept." in err.strip().splitlines()[-1]
    assert call(monkeypatch, capsys, "reference", config)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGHUP, 75)])
def test_signals_save_and_the_same_command_goes_on(number: int, code: int, corpus: Path, tmp_path: Path) -> None:
    config = str(write_tiny(tmp_path / "tiny.yaml", corpus, tmp_path / "runs", training={"steps": 3000}))
    command = [sys.executable, "-m", "doremi", "reference", config]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any((tmp_path / "runs/tiny/trainings").glob("*/trace.f32")))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Run the same command to resume" in err.strip().splitlines()[-1]
    assert "Traceback" not in err
    assert list((tmp_path / "runs/tiny/trainings").glob("*/checkpoint/step-*"))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_what_ends_other_programs_saves(
    number: int, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal that closes, a scheduler that warns: as with SIGTERM."""
    config = str(write_tiny(tmp_path / "tiny.yaml", corpus, tmp_path / "runs"))

    def emit(self: Display, event: Event) -> None:
        if isinstance(event, Measured):
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Display, "emit", emit)
    code, _, err = call(monkeypatch, capsys, "reference", config)
    assert code == 75
    assert "stopped after step 5 of 20. Run the same command to resume" in err.strip().splitlines()[-1]
    status = json.loads((tmp_path / "runs/tiny/status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("interrupted", 75)
    assert list((tmp_path / "runs/tiny/trainings").glob("*/checkpoint/step-00000005"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
@pytest.mark.parametrize("trains", [False, True], ids=["while it loads", "in a training"])
def test_a_second_signal_stops_at_once(
    trains: bool, number: int, code: int, corpus: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def twice(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    def emit(self: Display, event: Event) -> None:
        if isinstance(event, Measured):
            twice()

    config = str(write_tiny(tmp_path / "tiny.yaml", corpus, tmp_path / "runs"))
    monkeypatch.setattr("doremi.cli.signals.ONE_PRESS_SECONDS", 0.0)
    if trains:
        monkeypatch.setattr(Display, "emit", emit)
    else:
        monkeypatch.setattr("doremi.pipeline.checks.check", twice)
    ended, _, err = call(monkeypatch, capsys, "reference", config)
    assert ended == code
    assert err.splitlines()[-1] == "stopped at once. Finished work is kept. Run the same command to resume."
    if trains:
        status = json.loads((tmp_path / "runs/tiny/status.json").read_text())
        assert (status["state"], status["exit_code"]) == ("interrupted", code)


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_nothing(corpus: Path, tmp_path: Path) -> None:
    config = str(write_tiny(tmp_path / "tiny.yaml", corpus, tmp_path / "runs"))
    command = [sys.executable, "-m", "doremi", "run", config]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.readline()
        process.stdout.close()
        process.stderr.close()
        assert process.wait(timeout=200) == 0
    assert json.loads((tmp_path / "runs/tiny/status.json").read_text())["state"] == "done"
    assert (tmp_path / "runs/tiny/report.html").is_file()


def wait_for(there: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


def test_init_writes_a_configuration_that_runs(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(monkeypatch, capsys, "init", "my.yaml", str(corpus))
    assert code == 0
    assert all(name in out for name in ("prose", "code", "digits", "my.yaml"))
    assert "120" in out  # documents of prose
    (schema,) = re.findall(r"that are not shown here, are in (.*)", (tmp_path / "my.yaml").read_text())
    assert "class RunConfig" in Path(schema).read_text()
    code, out, _ = call(monkeypatch, capsys, "run", "my.yaml", "--dry-run")
    assert code == 0
    assert "3 domains" in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "command", ["", "init", "run", "prepare", "reference", "proxy", "train", "evaluate", "report", "status", "export"]
)
def test_help_of_every_command(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(monkeypatch, capsys, *command.split(), "--help")
    assert code == 0
    assert "Usage:" in out
    assert len(out.split()) > 15


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, capsys, "--version")[:2] == (0, f"doremi {doremi.__version__}\n")


def test_paths_are_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the message names a file, what the operating system says must not name it again."""
    text_file(tmp_path / "domains/a/a.docx", b"x")
    text_file(tmp_path / "domains/b/b.txt", b"x")
    (tmp_path / "run/config.yaml").mkdir(parents=True)
    run = str(tmp_path / "run")
    wrong = [["init", "new.yaml", str(tmp_path / "domains")], ["export", run, "--to", "json"], ["report", run]]
    for arguments in [*wrong, ["run", str(tmp_path)]]:
        code, _, err = call(monkeypatch, capsys, *arguments)
        assert (code, err.count(str(tmp_path))) == (2, 1), err


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("125m", "150m"), ("100m", "70m"), ("2m", "3m"), ("7B", "8b"), ("1.3b", "1b"), ("9t", "8b"), ("150n", "150m")],
)
def test_presets_are_suggested_by_size(asked: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        shape(asked, None, {})
