"""The trainer of this project as the stages build it; `--reference` is empty (plain), live or stored."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pace import BATCH, DOMAINS, LENGTH, VOCAB, Pace, arguments

sys.path.insert(0, str(Path(__file__).parents[1]))
import steps


def main() -> None:
    chosen = arguments(reference={"choices": ["", "live", "stored"], "default": ""})
    pace = Pace("transformers")
    assert (steps.VOCAB, steps.LENGTH, steps.BATCH, steps.DOMAINS) == (VOCAB, LENGTH, BATCH, DOMAINS)
    with tempfile.TemporaryDirectory() as folder:
        trainer = steps.make_trainer(Path(folder), "1m", scored=chosen.reference, compiled=chosen.compile)
        counter = [0]
        pace.step_done()
        while True:
            steps.one_step(trainer, counter)
            pace.step_done()


if __name__ == "__main__":
    main()
