"""Training a tokenizer: bounded for any text, stopped soon, watched, and the same for ordinary text as before."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from doremi.corpus import bpe
from doremi.corpus.bpe import LONGEST_WORD, MERGING, READING
from doremi.corpus.tokenizer import END_OF_TEXT, train_tokenizer
from doremi.errors import Interrupted, RunError

WORDS = ["".join(random.Random(seed).choices("abcdefgh", k=1 + seed % 8)) for seed in range(300)]
ORDINARY = [" ".join(random.Random(seed).choices(WORDS, k=200)) + "\n" for seed in range(100)]


def dna(letters: int) -> str:
    return "".join(random.Random(1).choices("acgt", k=letters))


def library_alone(sample: list[str], vocab_size: int) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(sample, trainer)
    return backend


@pytest.mark.parametrize("apart", [False, True])
def test_ordinary_text_gives_what_the_library_gives(apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "_SMALL", 0 if apart else 1 << 30)
    sample = [*ORDINARY, "x" * LONGEST_WORD, "\u00e4\u6f22 \U0001f600 \ud7a3"]
    found, expected = train_tokenizer(sample, 500).backend, library_alone(sample, 500)
    assert found.model.__getstate__() == expected.model.__getstate__()
    assert str(found.pre_tokenizer) == str(expected.pre_tokenizer)


def test_a_long_word_costs_what_its_letters_cost_elsewhere() -> None:
    """Twice the letters of one word took four times as long. Both sides are processor time of the same call."""
    taken = {}
    for letters in (25_000, 200_000):
        start = time.process_time()
        train_tokenizer([dna(letters)], 1000)
        taken[letters] = time.process_time() - start
    assert taken[200_000] < 25 * taken[25_000]  # 64 times, if with the square


def test_progress_and_the_same_tokenizer_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = [dna(100_000)]
    expected = train_tokenizer(sample, 4000).backend.to_str()
    monkeypatch.setattr(bpe, "_SMALL", 0)
    seen: list[tuple[str, float]] = []
    found = train_tokenizer(sample, 4000, progress=lambda step, share: seen.append((step, share)))
    assert found.backend.to_str() == expected
    merging = [share for step, share in seen if step == MERGING]
    assert {step for step, _ in seen} <= {READING, MERGING}
    assert len(merging) >= 2
    assert merging == sorted(merging)
    assert 0 <= merging[0] < merging[-1] <= 1


def test_a_request_to_stop_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "_SMALL", 0)
    children: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def popen(*args: object, **options: object) -> subprocess.Popen[bytes]:
        children.append(original(*args, **options))  # pyright: ignore
        return children[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    start = time.monotonic()
    with pytest.raises(Interrupted, match="training the tokenizer"):
        train_tokenizer([dna(1_000_000)], 8192, stop=lambda: time.monotonic() - start > 0.5)
    assert time.monotonic() - start < 2.5
    assert children[0].returncode == -signal.SIGKILL


def test_a_child_that_dies_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "_SMALL", 0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RunError, match=r"trains the tokenizer died \(most often for lack of memory\): set data.token"):
        train_tokenizer(["a"], 300)


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """The parent is killed, and so cannot end it."""
    code = (
        "import random; from doremi.corpus.tokenizer import train_tokenizer; "
        "print(flush=True); train_tokenizer([''.join(random.choices('acgt', k=3_000_000))], 8192)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        parent.stdout.readline()
    child = None
    deadline = time.monotonic() + 20.0
    while child is None and time.monotonic() < deadline:
        child = next(iter(children_of(parent.pid)), None)
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    assert child is not None
    deadline = time.monotonic() + 4
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(child)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except OSError:
        return False


def test_no_room_for_the_sample_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "_SMALL", 0)

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bpe.tempfile, "TemporaryFile", full)
    with pytest.raises(RunError, match=r"cannot hold the sample .* \(No space left on device\); free disk space"):
        train_tokenizer(["a"], 300)
