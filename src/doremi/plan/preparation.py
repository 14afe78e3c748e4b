"""The process that measures how a corpus is prepared (`python -m doremi.plan.preparation`); calibration.py asks it.

Nothing heavy is imported up here: the worker processes of the preparation import this file again, as they do the
command line, and seconds of importing would be taken for seconds of work.
"""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doremi.config.loading import validate
from doremi.corpus.survey import survey
from doremi.plan.asking import serve
from doremi.rundir.data_request import prepare_request


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """What `survey` says of a configuration's corpus, and the peak `memory` of this process."""
    config = validate(request["config"], "calibration")  # before seconds of importing: it may be refused

    from doremi.plan.footprint import meta_model
    from doremi.rundir.weights import shape_of

    meta_model(shape_of(config), config.data.vocab_size, 2)  # a run has loaded what builds models by then
    with tempfile.TemporaryDirectory(prefix="doremi-plan-") as name:
        found = survey(prepare_request(config), Path(name))
    return {**found, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


if __name__ == "__main__":
    serve(answer)
