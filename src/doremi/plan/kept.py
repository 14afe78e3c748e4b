"""Calibrations of this device that were made before: a plan that differs in other things only takes seconds.

An answer is kept in the user's folder of caches, under a hash of all that it depends on: what is tried, the device, the
versions and the code that does the steps. It counts for `DAYS`, for a machine may be busier or cooler another month.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import time
from collections.abc import Mapping
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

DAYS = 30
CODE = ("training", "model", "objectives", "evaluation", "corpus", "plan")
"""Packages whose code a step, an evaluation or a calibration runs."""
NOTHING = ("steps", "evaluate_every", "checkpoint_every", "learning_rate", "learning_rates", "warmup", "schedule")
"""Settings of a training that its steps take no longer for."""


@dataclass(frozen=True)
class Kept:
    """An answer, and the day it is of."""

    answer: Mapping[str, Any]
    day: str


def read(request: Mapping[str, Any]) -> Kept | None:
    """What was answered before; None where nothing is kept, or for too long, or cannot be read."""
    path = _path(request)
    with contextlib.suppress(DoremiError, OSError, KeyError, TypeError, ValueError):
        if path.exists():
            held = read_json(path, "calibration")
            if 0 <= time.time() - held["made"] < DAYS * 24 * 3600:
                return Kept(held["answer"], f"{datetime.fromtimestamp(held['made']):%Y-%m-%d}")
    return None


def write(request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """Keep an answer, where there is a folder for it."""
    path = _path(request)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"format": FORMAT, "made": time.time(), "answer": dict(answer)})


def _path(request: Mapping[str, Any]) -> Path:
    config = request["config"]
    training = {key: value for key, value in config["training"].items() if key not in NOTHING}
    tried = {key: value for key, value in request.items() if key != "config"}
    known = [
        tried, training, config["proxy"], config["data"]["sequence_length"], len(config["data"]["domains"]),
        _device(), versions(), _code(),
    ]  # fmt: skip
    return cache_folder() / "calibration" / f"{key_of(known)[:16]}.json"


def _device() -> list[Any]:
    if torch.cuda.is_available():
        return [torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory]
    return [platform.processor() or platform.machine(), available_cores()]


@cache
def _code() -> str:
    """Hash of the modules in `CODE`."""
    root, found = Path(doremi.__file__).parent, hashlib.sha256()
    for path in sorted(path for name in CODE for path in (root / name).rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()
