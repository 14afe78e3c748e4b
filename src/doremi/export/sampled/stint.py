"""What one command does of a data set, where the jobs of a scheduler write it together: begin, a share, or end.

begin   counts, and writes the receipt that all others read
3/16    writes the third of sixteen shares of the shards
end     makes the folder a finished data set, once all shards are there
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from doremi.drawing.shards import Write, write_shards
from doremi.errors import ExportError


@dataclass(frozen=True)
class Stint:
    """`begins` and `ends` are both true for a command that does everything. `share` is its shards, 1 of 1 for all."""

    begins: bool = True
    share: tuple[int, int] | None = (1, 1)
    ends: bool = True

    @property
    def name(self) -> str:
        """As `--jobs` says it; everything has no name."""
        if self.share is None:
            return "begin" if self.begins else "end"
        return "" if self.begins else "{}/{}".format(*self.share)

    def numbers(self, shards: int) -> range:
        """The shards that are its own, of so many: every n-th, so that shares are alike."""
        if self.share is None:
            return range(0)
        number, of = self.share
        return range(number - 1, shards, of)


ALL = Stint()
BEGIN, END = Stint(share=None, ends=False), Stint(begins=False, share=None)


@dataclass(frozen=True)
class How:
    """What writes the shards, and what this command does of the data set."""

    write: Write = write_shards
    stint: Stint = ALL


HERE = How()


def stint_given(text: str | None) -> Stint:
    """The value of `--jobs`; `ExportError` for what is none."""
    if text is None:
        return ALL
    named = {one.name: one for one in (BEGIN, END)}
    if text in named:
        return named[text]
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ExportError(f"--jobs {text!r}: should be slurm:FOLDER, begin, a share such as 3/16, or end")
    return Stint(begins=False, share=(int(found[1]), int(found[2])), ends=False)
