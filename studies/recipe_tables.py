"""Tables of docs/results/recipe.md from the trainings of recipe.py.

python studies/recipe_tables.py FOLDER

Every figure is of bits a byte, averaged over domains that count the same. The spread of a comparison is that of the
difference between two mixtures with the same seed, over seeds. It is pooled over all pairs of mixtures: what is left of
a loss once the mean of its mixture and the mean of its seed are taken out, times the root of two.

Shapes: C mixtures, S seeds.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Line:
    """A training as the table needs it."""

    stage: str
    recipe: str
    kept: str
    """Which weights were judged: the last ones, or a late mean."""
    domains: str
    size: str
    mixture: str
    order: int
    init: int
    threads: int
    shelves: bool
    loss: float
    """Mean bits a byte."""
    tokens: int
    body: int
    seconds: float


def lines(folder: Path) -> list[Line]:
    """All trainings, a line for each kind of weights that was judged."""
    return [line for file in sorted(folder.glob("trainings-*.jsonl")) for line in _of_file(file)]


def _of_file(file: Path) -> Iterator[Line]:
    for record in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        case: dict[str, Any] = record["case"]
        settings = case["recipe"]["settings"]
        for kept, losses in record["bits_per_byte"].items():
            yield Line(
                record["stage"], case["recipe"]["name"], kept, case["domains"], case["size"], case["mixture"],
                case["order"], case["init"], case["threads"], case["shelves"], float(np.mean(losses)),
                settings["steps"] * settings["batch_size"] * 128, record["body"], record["seconds"],
            )  # fmt: skip


# -- spread of a comparison --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """A standard deviation in percent of the mean loss, and its interval."""

    sd: float
    low: float
    high: float
    degrees: int

    def __str__(self) -> str:
        return f"{self.sd:.2f} ({self.low:.2f} to {self.high:.2f})"


def spread(variance: float, degrees: int, mean: float) -> Spread:
    """Of a variance with so many degrees of freedom, by the chi-square law."""
    ends = [variance * degrees / stats.chi2.ppf(p, degrees) for p in ((1 + LEVEL) / 2, (1 - LEVEL) / 2)]
    sd, low, high = (100 * math.sqrt(value) / mean for value in (variance, *ends))
    return Spread(sd, low, high, degrees)


def of_pairs(loss_CS: np.ndarray) -> Spread:
    """Of the difference between two mixtures with the same seed, pooled over pairs."""
    left = loss_CS - loss_CS.mean(axis=1, keepdims=True) - loss_CS.mean(axis=0, keepdims=True) + loss_CS.mean()
    degrees = (loss_CS.shape[0] - 1) * (loss_CS.shape[1] - 1)
    return spread(2 * float((left**2).sum()) / degrees, degrees, float(loss_CS.mean()))


def of_seeds(loss_CS: np.ndarray) -> Spread:
    """Of one training over seeds, pooled over mixtures."""
    degrees = loss_CS.shape[0] * (loss_CS.shape[1] - 1)
    return spread(float(loss_CS.var(axis=1, ddof=1).mean()), degrees, float(loss_CS.mean()))


def full(group: Iterable[Line]) -> tuple[list[str], list[int], np.ndarray]:
    """Mixtures, the seeds that all of them have, and losses `[C, S]`."""
    loss = {(line.mixture, line.order): line.loss for line in group}
    mixtures = sorted({mixture for mixture, _ in loss})
    seeds = sorted({seed for _, seed in loss if all((mixture, seed) in loss for mixture in mixtures)})
    return mixtures, seeds, np.array([[loss[mixture, seed] for seed in seeds] for mixture in mixtures])


# -- tables ------------------------------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown, the first column to the left."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def grouped(found: list[Line]) -> list[tuple[str, list[Line]]]:
    """Trainings by recipe, size, domains, and kind of weights and order, with what a row calls them."""
    groups: dict[tuple[str, ...], list[Line]] = defaultdict(list)
    for line in found:
        if line.order == line.init and line.threads == 1 and not line.stage.startswith("rates"):
            kept = "" if line.kept == "last" else f"late {line.kept}"
            groups[line.domains, line.recipe, kept, "same steps" if line.shelves else ""].append(line)
    return [
        (", ".join(word for word in (recipe, kept, steps) if word), group)
        for (_, recipe, kept, steps), group in sorted(groups.items())
    ]


def screened(found: list[Line]) -> str:
    """Recipes that were tried on natural text alone: loss, and its spread over seeds."""
    rows = []
    for name, group in grouped(found):
        mixtures, seeds, loss_CS = full(group)
        if mixtures == ["natural"]:
            said = str(of_seeds(loss_CS)) if len(seeds) > 1 else ""
            rows.append([name, str(len(seeds)), f"{loss_CS.mean():.4f}", said])
    return table(["recipe", "seeds", "bits a byte", "SD of one, %"], sorted(rows, key=lambda row: row[2]))


def compared(found: list[Line]) -> str:
    """Recipes with all mixtures: loss, spreads, differences between mixtures."""
    rows = []
    for name, group in grouped(found):
        mixtures, seeds, loss_CS = full(group)
        if len(mixtures) > 1 and len(seeds) > 1:
            said = (str(of_seeds(loss_CS)), str(of_pairs(loss_CS)), differences(mixtures, loss_CS))
            rows.append([name, group[0].domains, str(len(seeds)), f"{loss_CS.mean():.4f}", *said])
    head = ["recipe", "domains", "seeds", "bits a byte", "SD of one, %", "SD of a pair, %", "differences, %"]
    return table(head, rows)


def differences(mixtures: list[str], loss_CS: np.ndarray) -> str:
    """Mean differences of the mixtures, in percent, with their standard errors over seeds."""
    said = []
    for a, b in combinations(range(len(mixtures)), 2):
        gap_S = 100 * (loss_CS[a] - loss_CS[b]) / loss_CS.mean()
        error = gap_S.std(ddof=1) / math.sqrt(len(gap_S))
        said.append(f"{mixtures[a][0]}-{mixtures[b][0]} {gap_S.mean():+.2f}±{error:.2f}")
    return ", ".join(said)


# -- where the spread is from ------------------------------------------------------------------------------------------


def sources(found: list[Line]) -> str:
    """SD over orders with the same first weights, over first weights with the same order, and of two threads."""
    of_best = [line for line in found if line.stage in ("best", "sources", "tried") and not line.shelves]
    natural = [line for line in of_best if line.mixture == "natural" and line.domains == "chosen"]
    rows = []
    for kept in sorted({line.kept for line in natural if line.stage == "sources"}):
        chosen = [line for line in natural if line.kept == kept]
        recipe = next(line.recipe for line in chosen if line.stage == "sources")
        one = [line for line in chosen if line.threads == 1 and line.recipe == recipe]
        sets = {
            "order": [line.loss for line in one if line.init == 0],
            "first weights": [line.loss for line in one if line.order == 0],
            "both": [line.loss for line in one if line.order == line.init],
        }
        for name, losses in sets.items():
            if len(losses) > 1:
                said = spread(float(np.var(losses, ddof=1)), len(losses) - 1, float(np.mean(losses)))
                rows.append([name, kept, str(len(losses)), str(said)])
        same = {line.order: line.loss for line in one if line.order == line.init}
        gaps = [line.loss - same[line.order] for line in chosen if line.threads == 2 and line.order in same]
        if gaps:
            variance = float(np.mean(np.square(gaps))) / 2
            said = spread(variance, len(gaps), float(np.mean(list(same.values()))))
            rows.append(["arithmetic", kept, str(len(gaps)), str(said)])
    return table(["what differs", "weights", "trainings", "SD of one, %"], rows)


# -- rates by size -----------------------------------------------------------------------------------------------------


def rates(found: list[Line]) -> str:
    """Loss by peak rate and size, and the best rate of a parabola through the best three, in the rate's logarithm."""
    sweep = [line for line in found if line.stage.startswith("rates") and line.kept == "last"]
    rows = []
    for body in sorted({line.body for line in sweep}):
        loss = {float(line.recipe.split(",")[0].split()[1]): line.loss for line in sweep if line.body == body}
        size = next(line.size for line in sweep if line.body == body)
        tokens = next(line.tokens for line in sweep if line.body == body)
        said = ", ".join(f"{rate:g}: {value:.4f}" for rate, value in sorted(loss.items()))
        rows.append([size, f"{body:,}", f"{tokens:,}", said, lowest(loss)])
    return table(["size", "body", "tokens", "bits a byte by rate", "best rate"], rows)


def lowest(loss: Mapping[float, float]) -> str:
    """The rate at the bottom of the parabola; empty where the best of the swept rates is the first or the last."""
    rates_R = np.log(sorted(loss))
    loss_R = np.array([loss[rate] for rate in sorted(loss)])
    best = int(loss_R.argmin())
    if best in (0, len(loss_R) - 1):
        return ""
    around = slice(best - 1, best + 2)
    curve = np.polyfit(rates_R[around], loss_R[around], 2)
    return f"{math.exp(-curve[1] / (2 * curve[0])):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    found = lines(args.folder)
    for part in (screened, compared, sources, rates):
        print(f"{part(found)}\n")


if __name__ == "__main__":
    main()
