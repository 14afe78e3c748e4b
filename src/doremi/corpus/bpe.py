"""Training a byte-level BPE: in a process of its own, which can be watched and ended, or here where it takes no time.

The library cannot be stopped while it trains, and shows how far it is on a terminal only. So a longer training runs in
a child process that writes its bar to a terminal of ours; ending the training is ending the child.
Words are cut after 256 bytes, for training only: the library's time grows with the square of a word's length.
"""

from __future__ import annotations

import json
import math
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from doremi.errors import Interrupted, RunError

LONGEST_WORD = 256  # bytes; what is longer is no word, and its cuts cost next to nothing
READING, MERGING = "reading the sample", "finding tokens"
_SMALL = 1 << 18  # characters of a sample that is trained on here: less than a second, whatever the text
_ASK_EVERY = 0.2  # seconds between two looks at `stop`, at most
_KEPT = 4096  # bytes of what the child has shown

Progress = Callable[[str, float], None]
Stop = Callable[[], bool]


def train_bpe(sample: Iterable[str], vocab_size: int, end_of_text: str, progress: Progress, stop: Stop) -> Tokenizer:
    """Byte-level BPE of `sample`. `Interrupted` is raised soon after `stop()` is True.

    `progress` is given one of READING and MERGING and the share of it that is done, from 0 to 1; its time grows evenly.
    The same sample gives the same tokenizer, in this process or in another.
    """
    texts = list(sample)
    if sum(map(len, texts)) <= _SMALL:
        return _train(texts, vocab_size, end_of_text, shown=False)
    with _as_file(texts) as file:
        return _train_apart(file, vocab_size, end_of_text, _Bar(len(texts), vocab_size, progress), stop)


def _train(sample: Iterable[str], vocab_size: int, end_of_text: str, *, shown: bool) -> Tokenizer:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence([byte_level, pre_tokenizers.FixedLength(LONGEST_WORD)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[end_of_text],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=shown,
    )
    backend.train_from_iterator(sample, trainer=trainer)
    backend.pre_tokenizer = byte_level
    backend.decoder = decoders.ByteLevel()
    return backend


# -- the process beside ours -----------------------------------------------------------------------------------------


def _as_file(texts: list[str]) -> IO[bytes]:
    """The texts as JSON lines in a file without a name."""
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (whoever asked closes it)
        file.writelines(json.dumps(text).encode() + b"\n" for text in texts)
        file.seek(0)
        return file
    except OSError as error:
        raise RunError(
            f"{tempfile.gettempdir()}: cannot hold the sample that the tokenizer is trained on ({error.strerror}); "
            "free disk space, or set TMPDIR to another folder"
        ) from None


def _train_apart(sample: IO[bytes], vocab_size: int, end_of_text: str, shown: _Bar, stop: Stop) -> Tokenizer:
    command = [sys.executable, "-P", "-m", __name__, str(vocab_size), end_of_text, str(os.getpid())]
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    ours, theirs = pty.openpty()
    with (
        os.fdopen(ours, "rb", buffering=0) as terminal,
        os.fdopen(theirs, "wb", buffering=0) as bar,
        tempfile.TemporaryFile() as result,
    ):
        # In a session of its own: Ctrl-C is heard by us, and we end the child.
        child = subprocess.Popen(
            command,
            stdin=sample,
            stdout=result,
            stderr=bar,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        bar.close()
        try:
            _follow(terminal, shown, stop)
            child.wait()
        finally:
            child.kill()
            child.wait()
        if child.returncode:
            raise RunError(
                f"the process that trains the tokenizer died ({shown.last_line() or 'most often for lack of memory'}): "
                "set data.tokenizer_sample_bytes lower and run again"
            )
        result.seek(0)
        return Tokenizer.from_str(result.read().decode())


class _Bar:
    """Reads the bars that the library draws on a terminal."""

    def __init__(self, texts: int, merges: int, progress: Progress) -> None:
        self._text = b""
        self._report = progress
        # A bar is drawn under its new name before it has its new numbers. So the lower of two readings counts.
        self._steps = (
            (MERGING, merges, re.compile(rb"Compute merges\D*(\d+)\s*/\s*%d" % merges)),
            (READING, texts, re.compile(rb"Pre-processing sequences\D*(\d+)\s*/")),
        )

    def read(self, shown: bytes) -> None:
        """Take what was drawn next, and tell how far it is."""
        self._text = (self._text + shown)[-_KEPT:]
        for step, full, pattern in self._steps:
            if found := pattern.findall(self._text):
                done = min(map(int, found[-2:])) if len(found) > 1 else 0
                self._report(step, _share(step, done, full))
                return

    def last_line(self) -> str:
        """What is no bar: what a child says that dies."""
        lines = self._text.decode(errors="replace").splitlines()
        return next(
            (line.strip() for line in reversed(lines) if line.strip() and not line.lstrip().startswith("[")), ""
        )


def _share(step: str, done: int, full: int) -> float:
    """Each merge takes about as long as there are places to merge at: like one over its number."""
    return min(1.0, math.log1p(done) / math.log1p(full) if step == MERGING else done / full)


def _follow(terminal: IO[bytes], bar: _Bar, stop: Stop) -> None:
    """Until the child ends."""
    while True:
        if stop():
            raise Interrupted("stopped while training the tokenizer")
        if select.select([terminal], [], [], _ASK_EVERY)[0]:
            if not (shown := _read(terminal)):
                return
            bar.read(shown)


def _read(terminal: IO[bytes]) -> bytes:
    try:
        return terminal.read(_KEPT)
    except OSError:  # how Linux says that nobody holds the other end any more
        return b""


def _main(vocab_size: int, end_of_text: str, parent: int) -> None:
    """The child: texts as JSON lines come in, the tokenizer as JSON goes out."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    backend = _train(map(json.loads, sys.stdin), vocab_size, end_of_text, shown=True)
    sys.stdout.buffer.write(backend.to_str().encode())


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
