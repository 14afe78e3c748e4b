"""A file that is there whole or not at all, whoever else writes the same one on another machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from doremi.corpus.store import disk_error

_BUFFER = 1 << 20


class NewFile:
    """Leaving the `with` without `publish` leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
        self._file = self._temporary.open("wb", buffering=_BUFFER)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what is still buffered may not fit either, and is not wanted any more
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """`RunError` where the disk refuses."""
        try:
            self._file.write(data)
        except OSError as error:
            raise disk_error(self.path, error, self.size) from None
        self.size += len(data)

    def publish(self) -> None:
        """Flush it to the disk, and give it its name."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self.path)
        except OSError as error:
            raise disk_error(self.path, error, self.size) from None
