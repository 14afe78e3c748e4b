"""What was measured on this device before, in the user's folder of caches: nobody measures it again.

An answer lies under a hash of all that it depends on: what was tried, the device, the versions, and the code that does
the steps. A file that cannot be read counts as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

import doremi
from doremi.errors import DoremiError
from doremi.files import FORMAT, cache_folder, key_of, read_json, write_json
from doremi.lent import available_cores
from doremi.pipeline.workspace import versions

FOLDER = "calibration"


@dataclass(frozen=True)
class Kept:
    """An answer, and the day it is of."""

    answer: Mapping[str, Any]
    day: str


def read(asked: Sequence[Any], code: tuple[str, ...], days: float | None = None) -> Kept | None:
    """What was answered before; None where nothing is kept, or for longer than `days`, or cannot be read.

    `code` names the packages of ours whose code the answer depends on.
    """
    path = _path(asked, code)
    with contextlib.suppress(DoremiError, OSError, KeyError, TypeError, ValueError):
        if path.exists():
            held = read_json(path, "calibration")
            if days is None or 0 <= time.time() - held["made"] < days * 24 * 3600:
                return Kept(held["answer"], f"{datetime.fromtimestamp(held['made']):%Y-%m-%d}")
    return None


def write(asked: Sequence[Any], code: tuple[str, ...], answer: Mapping[str, Any]) -> None:
    """Keep an answer, where there is a folder for it."""
    path = _path(asked, code)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"format": FORMAT, "made": time.time(), "answer": dict(answer)})


def _path(asked: Sequence[Any], code: tuple[str, ...]) -> Path:
    known = [*asked, _device(), versions(), _code(code)]
    return cache_folder() / FOLDER / f"{key_of(known)[:16]}.json"


def _device() -> list[Any]:
    if torch.cuda.is_available():
        return [torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory]
    return [platform.processor() or platform.machine(), available_cores()]


@cache
def _code(packages: tuple[str, ...]) -> str:
    """Hash of the modules in some packages."""
    root, found = Path(doremi.__file__).parent, hashlib.sha256()
    for path in sorted(path for name in packages for path in (root / name).rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()
