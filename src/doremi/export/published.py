"""An export at an address: its files are put there one by one, and last the one that a trainer is given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, cast

from doremi.corpus.remote import patiently
from doremi.credentials import what_is_secret
from doremi.errors import ExportError, one_line, reason_of

NOTE = "paths in these files begin at the folder that they lie in"
_NO_FOLDERS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "r2", "hf"}  # there, names hold slashes


class _Beside(PurePosixPath):
    """Stands for the folder of the files themselves, wherever somebody will read them."""

    def resolve(self, strict: bool = False) -> _Beside:
        return self


BESIDE = cast(Path, _Beside())
"""The folder that exporters are told, in place of an address that no trainer could take for a path."""


def is_address(out: str | Path) -> bool:
    return isinstance(out, str) and "://" in out


def publish(files: Iterable[tuple[str, bytes | Path]], address: str, main: str) -> list[str]:
    """Write `files` below an address; their own addresses, that of `main` last.

    `ExportError` for links to token files, which cannot be there, and where it cannot be written."""
    held = sorted(files, key=lambda file: file[0] == main)
    for name, content in held:
        if isinstance(content, Path):
            raise ExportError(
                f"{address}: {name} would be a link to the run's own tokens; give --path NAME=PLACE for each domain, "
                "or export to a folder"
            )
    if kind := what_is_secret(address):
        raise ExportError(f"--out holds {kind}; leave it out and give it in the environment (docs/data.md)")
    return [_put(f"{address.rstrip('/')}/{name}", cast(bytes, content)) for name, content in held]


def _put(address: str, data: bytes) -> str:
    import fsspec

    try:
        system, path = fsspec.url_to_fs(address)
        patiently(lambda: _write(system, path, data))
    except (OSError, ImportError, ValueError, NotImplementedError) as error:
        reason = reason_of(error) if str(error) else "nothing can be written there"
        raise ExportError(one_line(f"{address}: cannot be written ({reason}); choose another place")) from None
    return address


def _write(system: Any, path: str, data: bytes) -> None:
    protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    if not protocols & _NO_FOLDERS:
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
    system.pipe_file(path, data)
