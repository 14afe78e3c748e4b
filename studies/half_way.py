"""How sure a comparison is half way through trainings and at their end, pooled over finished runs.

    python studies/half_way.py RUN [RUN ...]

Prints the SD over seeds of the difference between two mixtures, in percent of the loss, uniform average over domains.

Shapes: C candidates, S seeds, K domains.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

from doremi.rundir.layout import RunDirectory
from doremi.statistics.seed_noise import residuals
from doremi.verdict.candidates import candidates_of
from doremi.verdict.measure import measure


def main(places: list[str]) -> None:
    squares, degrees = {"half way": 0.0, "at the end": 0.0}, 0
    for place in places:
        run = RunDirectory(Path(place))
        nodes = run.nodes()
        (size,) = {node.size for node in nodes.find("main")}
        everyone = [one for one in candidates_of(run, nodes, size) if one.role != "per-seed"]
        table = measure(run, size, sorted(everyone[0].trainings), everyone).table
        assert table.half_CSK is not None, f"{place}: was not evaluated half way"
        for when, bits_CSK in zip(squares, (table.half_CSK, table.bits()), strict=True):
            squares[when] += float(np.square(residuals(np.log(bits_CSK.mean(axis=-1)))).sum())
        degrees += (len(everyone) - 1) * (len(table.seeds) - 1)
    for when, total in squares.items():
        print(f"{when}: {100 * math.sqrt(2 * total / degrees):.2f} % ({degrees} degrees of freedom)")


if __name__ == "__main__":
    main(sys.argv[1:])
