"""Where a reader of documents is, what it does about a record that is none, and the words for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from doremi.corpus.excerpt import Excerpt
from doremi.errors import DataError, one_line, reason_of


class Meter:
    """How many bytes of the files of one reading are read, packed ones as they lie on the disk."""

    def __init__(self) -> None:
        self._before, self._here = 0, _nothing

    @property
    def bytes(self) -> int:
        return self._before + self._here()

    def begin(self) -> None:
        """Another reading."""
        self._before, self._here = 0, _nothing

    @contextmanager
    def of(self, here: Callable[[], int]) -> Iterator[None]:
        """While a file is open, `here` says how much of it is read."""
        self._here = here
        try:
            yield
        finally:
            self._before, self._here = self._before + here(), _nothing


def _nothing() -> int:
    return 0


@dataclass
class Place:
    """Where the reader is, for errors; `number` 0 means the file as a whole."""

    domain: str
    file: str
    unit: str = "line"
    number: int = 0
    skipped: Counter[str] | None = None
    """Bad records by reason, where they are skipped."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Documents that were not asked for, by reason."""
    meter: Meter = field(default_factory=Meter)
    excerpt: Excerpt | None = None
    """The part of the file that is read; None for all of it."""

    def inside(self, name: str) -> Place:
        """A file in the archive that is read here."""
        return replace(self, file=f"{self.file}: {name}", unit="line", number=0)

    def error(self, what: str) -> DataError:
        where = f", {self.unit} {self.number}" if self.number else ""
        return DataError(one_line(f"domain {self.domain!r}: {self.file}{where}: {what}"))

    def refuse(self, reason: str, what: str) -> None:
        """A record that is no document: counted under `reason` where such are skipped, else the end."""
        if self.skipped is None:
            raise self.error(f"{what} (or set data.on_bad_record to skip)")
        self.skipped[reason] += 1

    def unreadable(self, error: BaseException) -> DataError:
        after = f" after {self.unit} {self.number}" if self.number else ""
        return DataError(
            one_line(
                f"domain {self.domain!r}: {self.file}: cannot be read{after} ({reason_of(error)}); "
                "check that the file is complete and may be read, or make it again"
            )
        )

    def checked(self, text: str, what: str) -> str | None:
        """`text`, or None where it is binary."""
        if "\0" not in text:
            return text
        self.refuse("NUL", f"{what} has a NUL character at position {text.index(chr(0)) + 1}; is it binary? remove it")
        return None


def kind(value: object) -> str:
    """What a value is that is no text."""
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def not_utf8(wrong: UnicodeDecodeError) -> str:
    return f"is not valid UTF-8 at byte {wrong.start + 1} ({wrong.reason}); convert the text to UTF-8"


def some(names: Iterable[str]) -> str:
    """The first names in quotes: they come from the data, so they are shortened and escaped."""
    shown = [repr(str(name)[:40]) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "") or "no fields"
