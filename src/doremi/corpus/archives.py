"""`.tar`: an archive of texts, or of files with a record a line. It is read as a stream, and nothing is unpacked.

The rules for files (sources.py) hold for those inside: hidden ones, links, other kinds and those with the name of a
held-out split are left out, and counted.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from doremi.corpus.formats import Format, format_of, kind_of
from doremi.corpus.place import Place
from doremi.corpus.shape import Document
from doremi.corpus.splits import split_of

_RECORD = 512  # bytes: the unit of an archive. Reading no more at once leaves what follows the end mark unread
_READ_INSIDE = ("text", "lines", "csv", "tsv")
Reader = Callable[[BinaryIO, Format, Place], Iterator[Document | None]]


def tar_documents(blocks: Iterator[bytes], place: Place, read: Reader) -> Iterator[Document | None]:
    """The documents of all files in an archive, in their order; `read` reads one. `DataError` where it is cut off."""
    source = _Source(blocks)
    place.unit = "file"
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=_RECORD) as archive:  # type: ignore[call-overload]
            for member in archive:
                place.number += 1
                form = format_of(member.name)
                reason = _left_out(member, form)
                if reason is not None:
                    place.left_out[f"{reason} in an archive"] += 1
                elif form is not None and (file := archive.extractfile(member)) is not None:
                    yield from read(file, form, place.inside(member.name))  # type: ignore[arg-type]
    except tarfile.TarError as error:
        raise place.unreadable(error) from None
    if not source.ended:
        raise place.unreadable(EOFError("the archive has no end mark"))
    if any(any(block) for block in source.rest()):
        raise place.error("goes on after the archive's end: are these two archives in one file? unpack them")


def _left_out(member: tarfile.TarInfo, form: Format | None) -> str | None:
    """Why a member is not read."""
    *folders, name = member.name.removeprefix("./").split("/")
    if member.isdir():
        return None
    if not member.isfile():
        return "link or device"
    if any(part.startswith(".") for part in (*folders, name)):
        return "hidden"
    if form is None or form.container not in _READ_INSIDE:
        return kind_of(member.name)
    split = split_of(folders, name, one_document=form.container == "text")
    return f"{split} file" if split in ("validation", "test") else None


class _Source:
    """Blocks as a file that is read once, from its beginning."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._held = blocks, b""
        self.ended = False
        """Whether what was read last is an end mark."""

    def read(self, size: int) -> bytes:
        while len(self._held) < size and (block := next(self._blocks, b"")):
            self._held += block
        found, self._held = self._held[:size], self._held[size:]
        self.ended = len(found) == _RECORD and not any(found)
        return found

    def rest(self) -> Iterator[Any]:
        yield self._held
        yield from self._blocks
