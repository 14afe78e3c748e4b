"""Files at addresses: read as they come, with patience, and from where the connection broke.

A server that is busy, or breaks off, is asked again after a while, each time for less at once. One that says no, or has
no such object, is not. All errors are `OSError`, with a reason in words. Credentials are the libraries' matter, which
look for them in the environment.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from doremi.corpus.formats import is_web

TRIES = 6  # without a byte between them
FIRST_WAIT = 0.5  # seconds; each further one is twice as long
LONGEST_WAIT = 30.0
BLOCK = 5 << 20  # bytes of a request
SMALLEST_BLOCK = 1 << 16
CALM = 32 << 20  # bytes without a break, after which a server is trusted again
_PASSING = (408, 425, 429)  # of a web server's numbers, beside those from 500
_REFUSED = (401, 403, 407)
_FOR_GOOD = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "InvalidURL", "ParamValidationError")
_HUB = {  # errors of the Hugging Face Hub by their names, and what each means
    "RepositoryNotFoundError": "there is no such dataset, or it is private; check its name, or set HF_TOKEN",
    "GatedRepoError": "is gated; ask for access on its page at the Hub, and set HF_TOKEN to the token of that account",
    "DisabledRepoError": "the Hub has disabled access to it",
    "RevisionNotFoundError": "there is no such revision",
    "HFValidationError": "is no name of a dataset; give OWNER/NAME",
    "OfflineModeIsEnabled": "the Hub is not asked, since HF_HUB_OFFLINE is set",
}

Result = TypeVar("Result")


def patiently(action: Callable[[], Result]) -> Result:
    """What `action` gives, which is tried again while its error may pass."""
    tries = 0
    while True:
        try:
            return action()
        except Exception as error:
            tries += 1
            give_up_or_wait(error, tries)


def give_up_or_wait(error: Exception, tries: int) -> None:
    """Wait before another try, or raise what is to be told."""
    if isinstance(error, ImportError):
        raise error
    if tries >= TRIES or not _may_pass(error):
        raise _told(error) from None
    asked = _asked_to_wait(error)
    time.sleep(min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1) if asked is None else asked))


def open_remote(address: str, *, exactly: bool = False) -> BinaryIO:
    """What is at an address, for reading. `exactly` fetches nothing but what is asked for."""
    import fsspec

    system, path = fsspec.url_to_fs(address)
    size = patiently(lambda: system.info(path)).get("size")
    remote = _Patient(system, path, size, exactly=exactly, web=is_web(address))
    return io.BufferedReader(remote, SMALLEST_BLOCK) if not exactly else remote  # type: ignore[return-value]


class _Patient(io.RawIOBase):
    """A remote file that is opened again where it broke off."""

    def __init__(self, system: Any, path: str, size: int | None, *, exactly: bool, web: bool) -> None:
        self._system, self._path, self._size = system, path, size
        self._options: dict[str, Any] = {"cache_type": "none"} if exactly else {}
        if web:  # what lies there packed must not come unpacked
            self._options["headers"] = {"Accept-Encoding": "identity"}
        self._block, self._at, self._good, self._file = BLOCK, 0, 0, None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._size is None:
            raise OSError("the server does not say how long the file is")
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size or 0}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """As many bytes as there are up to `size`: less only at the end."""
        if size is None or size < 0:
            return self.readall()
        parts, left = [], size
        while left and (data := self._next(left)):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def _next(self, size: int) -> bytes:
        """Some of the bytes that come next, at most `size`; none at the end."""
        tries = 0
        while True:
            try:
                data = self._placed().read(min(size, self._block or size))
                if data or self._at >= (self._size or 0):
                    self._calm(len(data))
                    return data
                raise ConnectionError("the connection ended before the file did")
            except Exception as error:
                self._drop()
                self._good = 0
                if self._block and _serves_no_parts(error):
                    self._block = 0
                    continue
                self._block = max(SMALLEST_BLOCK, self._block // 4) if self._block else 0
                tries += 1
                give_up_or_wait(error, tries)

    def _calm(self, size: int) -> None:
        """So many bytes came; after many without a break, as much is asked for at once as in the beginning."""
        self._at, self._good = self._at + size, self._good + size
        if 0 < self._block < BLOCK and self._good >= CALM:
            self._drop()
            self._block, self._good = BLOCK, 0

    def close(self) -> None:
        self._drop()
        super().close()

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(Exception):  # it is broken already
                file.close()

    def _placed(self) -> Any:
        """The open file, at the place that is read next. What cannot jump is read up to there."""
        if self._file is not None and self._block == 0 and self._file.tell() > self._at:
            self._drop()
        if self._file is None:
            self._file = self._system.open(self._path, "rb", block_size=self._block, **self._options)
        file = self._file
        if self._block:
            file.seek(self._at)
            return file
        while file.tell() < self._at:
            if not file.read(min(1 << 20, self._at - file.tell())):
                raise ConnectionError("the connection ended before the file did")
        return file


# -- errors ----------------------------------------------------------------------------------------------------------


def _status(error: BaseException) -> int | None:
    """The number that a web server answered with."""
    for one in (error, error.__cause__):
        for status in (getattr(one, "status", None), getattr(getattr(one, "response", None), "status_code", None)):
            if isinstance(status, int):
                return status
    return None


def _of_hub(error: BaseException) -> str | None:
    """What an error of the Hugging Face Hub means; None for another one."""
    found = (_HUB.get(type(one).__name__) for one in (error, error.__cause__))
    return next((meaning for meaning in found if meaning is not None), None)


def _serves_no_parts(error: Exception) -> bool:
    """Whether a server gives whole files only."""
    return isinstance(error, ValueError) and ("range" in str(error) or "streaming" in str(error))


def _may_pass(error: Exception) -> bool:
    if _of_hub(error) is not None:
        return False
    status = _status(error)
    if status is not None:
        return status in _PASSING or status >= 500
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, ValueError)):
        return False
    return type(error).__name__ not in _FOR_GOOD


def _asked_to_wait(error: Exception) -> float | None:
    """Seconds, where the server says how long it wants to be left alone."""
    for one in (error, error.__cause__):
        for answer in (one, getattr(one, "response", None)):
            value = (getattr(answer, "headers", None) or {}).get("Retry-After", "")
            if str(value).isdigit():
                return float(value)
    return None


def _told(error: Exception) -> OSError:
    if (meaning := _of_hub(error)) is not None:
        return OSError(meaning)
    status = _status(error)
    if isinstance(error, PermissionError) or status in _REFUSED or type(error).__name__ in _FOR_GOOD[:3]:
        said = f"{status}" if status else str(error) or "access denied"
        return PermissionError(f"the server refuses access: {said}; check the credentials in the environment")
    if status in (404, 410) or (status is None and isinstance(error, FileNotFoundError)):
        return FileNotFoundError("there is no such object at this address")
    if status is not None:
        return OSError(f"the server answered {status} {TRIES} times")
    return error if isinstance(error, OSError) and str(error) else OSError(f"{type(error).__name__}: {error}")
