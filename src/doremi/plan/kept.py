"""Calibrations of this device that were made before: a plan that differs in other things only takes seconds.

An answer counts for `DAYS`, for a machine may be busier or cooler another month.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doremi.pipeline import measured
from doremi.pipeline.measured import Kept

DAYS = 30
CODE = ("training", "model", "objectives", "evaluation", "corpus", "plan")
"""Packages whose code a step, an evaluation or a calibration runs."""
NOTHING = ("steps", "evaluate_every", "checkpoint_every", "learning_rate", "learning_rates", "warmup", "schedule")
"""Settings of a training that its steps take no longer for."""


def read(request: Mapping[str, Any]) -> Kept | None:
    """What was answered before, if it still counts."""
    return measured.read(_asked(request), CODE, DAYS)


def write(request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """Keep an answer, where there is a folder for it."""
    measured.write(_asked(request), CODE, answer)


def _asked(request: Mapping[str, Any]) -> list[Any]:
    """All of a request that its answer depends on."""
    config = request["config"]
    training = {key: value for key, value in config["training"].items() if key not in NOTHING}
    tried = {key: value for key, value in request.items() if key != "config"}
    return [tried, training, config["proxy"], config["data"]["sequence_length"], len(config["data"]["domains"])]
