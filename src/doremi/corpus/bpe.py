"""Training a byte-level BPE: in a process of its own, which can be watched and ended, or here where it takes no time.

The library cannot be stopped while it trains, and shows how far it is on a terminal only. So a longer training runs in
a child process that writes its bar to a terminal of ours; ending the training is ending the child.
Words are cut after 256 bytes, for training only: the library's time grows with the square of a word's length.
"""

from __future__ import annotations

import json
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
_SMALL = 1 << 18  # characters of a sample that is trained on here: less than a second, whatever the text
_ASK_EVERY = 0.2  # seconds between two looks at `stop`, at most
_KEPT = 4096  # bytes of what the child has shown

Progress = Callable[[float], None]
Stop = Callable[[], bool]


def train_bpe(sample: Iterable[str], vocab_size: int, end_of_text: str, progress: Progress, stop: Stop) -> Tokenizer:
    """Byte-level BPE of `sample`. `progress` is given the share done; `Interrupted` soon after `stop()` is True.

    The same sample gives the same tokenizer, in this process or in another.
    """
    texts = list(sample)
    if sum(map(len, texts)) <= _SMALL:
        return _train(texts, vocab_size, end_of_text, shown=False)
    with _as_file(texts) as file:
        return _train_apart(file, vocab_size, end_of_text, progress, stop)


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


def _train_apart(sample: IO[bytes], vocab_size: int, end_of_text: str, progress: Progress, stop: Stop) -> Tokenizer:
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
            said = _follow(terminal, vocab_size, progress, stop)
            child.wait()
        finally:
            child.kill()
            child.wait()
        if child.returncode:
            raise RunError(
                f"the process that trains the tokenizer died ({said or 'most often for lack of memory'}): "
                "set data.tokenizer_sample_bytes lower and run again"
            )
        result.seek(0)
        return Tokenizer.from_str(result.read().decode())


def _follow(terminal: IO[bytes], vocab_size: int, progress: Progress, stop: Stop) -> str:
    """Until the child ends, tell how many of the merges are found; the last line that it wrote and that is no bar."""
    shown, merges = b"", re.compile(rb"Compute merges\D*(\d+)\s*/\s*%d" % vocab_size)
    while True:
        if stop():
            raise Interrupted("stopped while training the tokenizer")
        if not select.select([terminal], [], [], _ASK_EVERY)[0]:
            continue
        if not (new := _read(terminal)):
            break
        shown = (shown + new)[-_KEPT:]
        # The lower of two readings: the first one still has the number of the bar before it.
        if len(found := merges.findall(shown)) > 1:
            progress(min(map(int, found[-2:])) / vocab_size)
    lines = [line for line in shown.decode(errors="replace").splitlines() if line.strip() and line[0] != "["]
    return lines[-1].strip() if lines else ""


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
