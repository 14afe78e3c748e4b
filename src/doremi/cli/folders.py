"""Options that name a folder of this machine."""

from __future__ import annotations

import re
from pathlib import Path

from doremi.errors import ConfigError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # two slashes became one when it was taken for a path


def only_here(folder: Path) -> Path:
    """The folder; `ConfigError` for an address, of which a folder with an odd name would be made."""
    if _ADDRESS.match(str(folder)):
        raise ConfigError(
            f"--out {folder}: is an address, but this is written to a folder of this machine; give one, and copy it "
            "there when it is done"
        )
    return folder
