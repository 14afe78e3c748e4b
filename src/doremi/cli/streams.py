"""Standard output and error that outlive their readers: no command ends because nobody can see it any more.

A terminal may close, `head` may have read enough, the disk under a log may be full. What cannot be written then is
dropped. It is not kept for later: a buffer that cannot be emptied would raise again at the end of the program.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from doremi.errors import reason_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GONE = (errno.EPIPE, errno.EBADF, errno.EIO)  # nobody is left to read: a pipe, a closed stream, a terminal


class _Lasting(io.FileIO):
    """An open descriptor whose writes never fail; `lost` is the first failure that somebody may want to know of."""

    lost: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            written = super().write(data)
            if written is not None:
                return written
            self.lost = self.lost or BlockingIOError(errno.EAGAIN, "its reader is too slow, and does not make us wait")
        except OSError as error:
            if error.errno not in GONE:
                self.lost = self.lost or error
        return memoryview(data).nbytes


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Replace the process's own stdout and stderr (not those of whoever calls us as a library) while the block runs."""
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        yield
        return
    _open_closed_ones()
    before = sys.stdout, sys.stderr
    outs = [_lasting(1, before[0]), _lasting(2, before[1])]
    sys.stdout, sys.stderr = (text for text, _ in outs)
    try:
        yield
    finally:
        for text, _ in outs:
            text.flush()
        if (lost := outs[0][1].lost) is not None:
            print(f"warning: what this command prints could not be written: {reason_of(lost)}", file=sys.stderr)
            sys.stderr.flush()


def _open_closed_ones() -> None:
    """`doremi ... 2>&-`: the next file that is opened would become standard error, and be written to as such."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free


def _lasting(descriptor: int, like: TextIO | None) -> tuple[TextIO, _Lasting]:
    raw = _Lasting(descriptor, "w", closefd=False)
    if not isinstance(like, io.TextIOWrapper):  # None: it was closed when Python began
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace"), raw
    by_line = like.line_buffering or like.write_through
    return io.TextIOWrapper(io.BufferedWriter(raw), like.encoding, like.errors, line_buffering=by_line), raw
