"""Files of ours: written to a temporary name, flushed and renamed, so that a file under its final name is complete.

JSON is read with its format checked, hashes say what a file or a value is.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from doremi.errors import DamageError, RunError, reason_of

FORMAT = 1
NO_FOLDER_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems that flush files only


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically: temporary name, flush to disk, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as JSON, atomically. NaN and infinity are refused: they are not JSON."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path: Path, what: str, formats: Sequence[int] = (FORMAT,)) -> dict[str, Any]:
    """Read a JSON object of ours and check its `format`, one of `formats`.

    `what` names it in errors, also of keys that are missing.
    """

    class Record(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            raise DamageError(f"{path}: this {what} has no {key!r}; remove it and run again")

    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_hook=Record)
    except FileNotFoundError:
        raise RunError(f"{path}: there is no {what} here yet; `doremi run` makes it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamageError(f"{path}: this {what} cannot be read ({reason_of(error)}); remove it and run again") from None
    if not isinstance(value, dict):
        raise DamageError(f"{path}: this {what} is not a JSON object; remove it and run again")
    if value.get("format") not in formats:
        known = " and ".join(map(str, formats))
        raise RunError(
            f"{path}: this {what} has format {reprlib.repr(value.get('format'))}, this doremi reads {known}; "
            "use the doremi that wrote it, or another run directory"
        )
    return value


def json_lines(path: Path, marker: str = "") -> list[Mapping[str, Any]]:
    """The objects of a JSON-lines file up to the first line that is none: a running process may be writing it.

    Lines without `marker` are passed over unparsed: a long run has very many, of which few are wanted.
    """
    held = []
    if path.exists():
        for line in path.read_bytes().splitlines():
            if marker.encode() not in line:
                continue
            try:
                value = json.loads(line)
            except ValueError:
                break
            held += [value] if isinstance(value, Mapping) else []
    return held


def ten_digits(value: float) -> float | None:
    """What a sum over threads changes in the last digits must not change a file; NaN and infinity become null."""
    return float(f"{value:.10g}") if math.isfinite(value) else None


def flush_to_disk(path: Path) -> None:
    """Make sure that a file's contents, or a folder's entries, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in NO_FOLDER_FLUSH):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def tensor_files(folder: Path) -> Iterator[None]:
    """Around writing tensors: what safetensors says of a full disk, which is no OSError, as one line for the user."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise RunError(
            f"{folder}: cannot be written ({error}); free disk space and run the same command to resume, "
            "finished work is kept"
        ) from None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Ours in the user's folder of caches, which a restart of the machine leaves alone."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "doremi"


def key_of(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form: the identity of whatever it describes."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def bytes_below(folder: Path) -> int:
    """What a folder's files take on the disk; links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def size_in_words(number: float) -> str:
    """Bytes as bytes, kB, MB, GB or TB: every size that a person reads."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number:.0f} bytes"
