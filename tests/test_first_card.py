"""benchmarks/first_card.py: what it keeps, cuts and counts; the whole of it, tiny, is a slow test."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of benchmarks/card."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "card"))

    def module(name: str) -> ModuleType:
        return importlib.import_module(name)

    return module


@pytest.fixture
def notes(card: Any, tmp_path: Path) -> Any:
    made = card("card.notes").Notes(tmp_path / "out", "a card")
    yield made
    made.close()


def event(kind: str, name: str, start: float, end: float, named: bool = False) -> SimpleNamespace:
    span = SimpleNamespace(start=start, end=end)
    return SimpleNamespace(device_type=SimpleNamespace(name=kind), name=name, time_range=span, is_user_annotation=named)


def test_a_card_is_busy_while_anything_works_on_it(card: Any) -> None:
    found = card("kernels").seen([
        event("CUDA", "product", 0, 10),
        event("CUDA", "product", 5, 12),  # beside the first, on another stream
        event("CUDA", "sum", 20, 21),
        event("CUDA", "Memcpy HtoD", 30, 34),
        event("CUDA", "## Call CompiledFxGraph", 0, 100, named=True),
        event("CPU", "cudaLaunchKernel", 0, 1),
        event("CPU", "cudaGraphLaunch", 2, 3),
        event("CPU", "aten::mm", 2, 3),
    ])  # fmt: skip
    assert (found.busy, found.kernels, found.copies, found.launches) == (17, 3, 1, 2)
    assert found.longest[0] == ("product", 17, 2)


def test_what_was_printed_is_there_when_the_program_is_killed(tmp_path: Path) -> None:
    code = (
        f"import sys, time; from pathlib import Path; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from card.notes import Notes\n"
        f"n = Notes(Path({str(tmp_path)!r}), 'a card'); n.say('one')\n"
        "n.figure({'figure': 'f', 'value': 1, 'unit': 's'})\n"
        "print('said', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "said":
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert json.loads((tmp_path / "figures.jsonl").read_text())["card"] == "a card"
    assert "one" in (tmp_path / "log.txt").read_text()


def alive(pid: int) -> bool:
    """Whether a process is at work; one that has ended may still be listed."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_case_that_fails_or_hangs_is_told_and_the_next_goes_on(card: Any, notes: Any, tmp_path: Path) -> None:
    commands = card("card.commands")
    began = time.monotonic()
    assert not commands.run(notes, "bad", ["-c", "print('why'); raise SystemExit(3)"], os.environ, 60)
    started = "import subprocess as s, time; print('pid', s.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    assert not commands.run(notes, "slow", ["-c", started], os.environ, 1.0)
    assert commands.run(notes, "good", ["-c", 'print(\'{"figure": "f", "value": 2, "unit": "s"}\')'], os.environ, 60)
    assert time.monotonic() - began < 40
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "FAILED bad: exit code 3" in log
    assert "| why" in log
    assert "FAILED slow: not done after" in log
    assert not alive(int(log.partition("slow | pid ")[2].split()[0]))  # what it had started would hold the card
    assert [f["value"] for f in card("card.notes").figures_in(tmp_path)] == [2]


def test_more_tokens_only_where_all_seeds_have_the_time(card: Any) -> None:
    thirty = card("card.thirty")
    assert thirty.main_tokens(345, None) == thirty.LEAST_TOKENS
    assert thirty.main_tokens(345, 300_000) == thirty.LEAST_TOKENS  # a cut then leaves fewer seeds
    tokens = thirty.main_tokens(345, 2_000_000)
    assert thirty.LEAST_TOKENS < tokens < thirty.MOST_TOKENS
    needed = 9 * tokens / (2_000_000 * thirty.CAREFUL) + thirty.OVERHEAD_SECONDS + thirty.CLOSING_SECONDS
    assert needed <= 345.001


def test_tables_name_the_card_and_bear_a_cut_line(card: Any, tmp_path: Path) -> None:
    rate = {"figure": "card_rate", "value": 4e6, "unit": "tokens/s", "case": "0.3m", "idle_share": 0.25, "step": "1"}
    ratio = {"figure": "dro_step_stored_over_plain", "value": 1.04, "unit": "ratio", "step": "1"}
    weight = {"figure": "study_weight", "value": 0.5, "unit": "", "mixture": "doremi", "domain": "law", "step": "4"}
    lines = [json.dumps({**one, "card": "NVIDIA X"}) + "\n" for one in (rate, ratio, weight)]
    for number, text in enumerate(("".join(lines), lines[1] + lines[0][:20])):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "figures.jsonl").write_text(text)
    text = card("card.table").table(tmp_path)
    assert "| 0.3m | NVIDIA X | 4,000,000 |" in text
    assert "25%" in text
    assert text.count("dro step stored over plain | NVIDIA X | 1.04") == 2
    assert "Mixtures, shares of tokens (NVIDIA X)" in text
    assert "| law | 0.500 |" in text


def call(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "first_card.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "broken").mkdir()
    for name in ("corpus.tar.xz", "before.tar.xz"):
        (tmp_path / "broken" / name).write_bytes(b"no archive")
    out = ("--out", tmp_path / "out")
    for words, says in (
        ((), "give --out and --data"),
        ((*out, "--data", tmp_path), "has no corpus.tar.xz; `first_card.py --pack"),
        ((*out, "--data", tmp_path / "nowhere"), "has no corpus.tar.xz"),
        ((*out, "--data", tmp_path / "broken"), "cannot be unpacked"),
        (("--out", tmp_path / "file", "--tiny"), f"{tmp_path / 'file'}: File exists"),
        ((*out, "--tiny", "--from", 5), "--from: invalid choice: 5"),
        ((*out, "--tiny", "--from", 3, "--to", 2), "--from 3 comes after --to 2"),
        (("--pack", tmp_path / "pack"), "--pack needs --text"),
        (("--pack", tmp_path / "pack", "--text", tmp_path / "nowhere"), "there is no such folder"),
    ):
        done = call(*words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith("error: ")
        assert says in done.stderr
    assert "refused: " in (tmp_path / "out" / "log.txt").read_text()


def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    for name in ("corpus.tar.xz", "before.tar.xz"):
        tarfile.open(tmp_path / "packed" / name, "w:xz").close()
    done = call("--out", tmp_path / "out", "--data", tmp_path / "packed", CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no GPU can be used here (" in done.stderr
    assert (tmp_path / "out" / "figures.jsonl").read_text() == ""


def test_who_is_cut_leaves_nothing_at_work_and_keeps_the_log(tmp_path: Path) -> None:
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "import card.commands, card.pack, card.refused, card.thirty, json, os, pathlib\n"
        "card.pack.unpack = lambda packed, work: work\n"
        "card.refused.done = lambda *words, **more: b'{}'\n"
        "def step(notes, place, *_, **__):\n"
        "    words = ['-c', 'import os, time; print(\"pid\", os.getpid(), flush=True); time.sleep(60)']\n"
        "    card.commands.run(notes, 'long', words, os.environ, 50)\n"
        "card.thirty.thirty = step\n"
        f"sys.argv = ['first_card.py', '--out', {str(tmp_path / 'out')!r}, '--data', '.', '--from', '4']\n"
        f"runpy.run_path({str(BENCHMARKS / 'first_card.py')!r}, run_name='__main__')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = next(line for line in process.stdout if "pid " in line)
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "cut: what was measured is kept\n")
    assert not alive(int(line.split()[-1]))
    assert "== cut" in (tmp_path / "out" / "log.txt").read_text()


def test_a_study_that_is_cut_off_is_brought_back(
    card: Any, notes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands, thirty = card("card.commands"), card("card.thirty")
    root = tmp_path / "study" / "card"
    ended = []

    class Cut:
        def __init__(self, *_: object) -> None:
            (root / "checkpoint").mkdir(parents=True)
            for name in ("metrics.jsonl", "checkpoint/model"):
                (root / name).write_text("{}")

        def wait(self, _: float) -> int:
            raise KeyboardInterrupt

        def end(self) -> None:
            ended.append(True)

    monkeypatch.setattr(thirty, "Command", Cut)
    place = commands.Place(BENCHMARKS.parent, tmp_path, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        thirty.thirty(notes, place, tmp_path / "out", 100.0, tiny=True, rate=None)
    with tarfile.open(tmp_path / "out" / "study.tar.gz") as archive:
        assert archive.getnames() == ["study.yaml", "run/metrics.jsonl"]
    assert ended == [True]


@pytest.mark.slow
def test_the_whole_of_it_runs_on_a_cpu(tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARKS / "first_card.py"), "--out", str(tmp_path), "--tiny"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    log = (tmp_path / "log.txt").read_text()
    assert "FAILED" not in log
    assert "not run" not in log
    figures = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    names = {figure["figure"] for figure in figures}
    assert {
        "card_rate", "dro_step_stored_over_plain", "scoring_rate_over_training",
        "weights_after_one_step_card_against_cpu", "repeat_has_the_same_bytes", "stop_and_resume_has_the_same_bytes",
        "large_step_share_of_product_rate",
        "study_weight", "study_mean_bits_per_byte",
    } <= names  # fmt: skip
    assert all(f["value"] == 1 for f in figures if "same_bytes" in f["figure"])
    assert {f["seed"] for f in figures if f["figure"] == "study_mean_bits_per_byte"} == {0, 1, 2}
    assert "Use " in (tmp_path / "study.txt").read_text()


@pytest.mark.slow
def test_a_study_that_is_cut_keeps_its_whole_seeds(card: Any, notes: Any, tmp_path: Path) -> None:
    pack, commands, thirty = card("card.pack"), card("card.commands"), card("card.thirty")
    tree = BENCHMARKS.parent
    corpus = pack.prepare(tree, pack.made_up(tmp_path / "text"), tmp_path, vocabulary=512, length=32)
    (tmp_path / "data").mkdir()
    corpus.rename(tmp_path / "data" / "corpus")
    place = commands.Place(tree, tmp_path / "data", tmp_path)
    path = thirty.configuration(place, 0, tiny=True)
    words = ["-m", "doremi", "run", str(path)]
    root = tmp_path / "study" / "card"

    command = commands.Command("study", words, place.environment(), lambda line: None)
    while len(list(root.glob("trainings/*/stage.json"))) < 5 and command.process.poll() is None:
        time.sleep(0.01)  # until reference, proxy and the mains of a seed are there: natural and uniform may be one
    command.signal(signal.SIGTERM)
    command.wait(60)
    shown = thirty.judged(notes, place, root, words, time.monotonic() + 120)
    (whole,) = [f for f in card("card.notes").figures_in(tmp_path / "out") if f["figure"] == "whole_seeds"]
    assert whole["value"] in (1, 2)
    text = "\n".join(shown)
    print(text)
