"""Does the verdict keep what it promises? Tables of level, power, coverage, regret, looks, races and mutants.

python studies/verdict_simulations.py [--count 20000] [--only level power ...]

Each cell is that many made-up tournaments (verdict_worlds.py), judged by the functions that judge a run. With 20,000 a
share of 5 % has a standard error of 0.15 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from verdict_cells import Cell, Rule, best_of_plain, coverage, looked, normal_quantiles, pooled, raced, rates, regrets
from verdict_worlds import DOMAINS, KINDS, World, same

HUB = 1.8
FAR = 0.05  # so much worse are those that cannot be mistaken, in the least favourable case
NOISES = {kind: World(kind=kind) for kind in KINDS} | {f"hub x {HUB}": World(hub=HUB)}
SIZES = [(candidates, seeds) for candidates in (3, 6) for seeds in (3, 5, 8)]


def level(count: int) -> Iterator[str]:
    """False claims, the first and both, where all candidates are alike and in the least favourable case."""
    yield "| noise | documents | candidates | seeds | identical: first, both | least favourable: first, both |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, world in NOISES.items():
        for documents in (6, 30):
            for candidates, seeds in [(3, 3), (4, 3), *SIZES[1:]]:
                random = np.random.default_rng([candidates, seeds, documents])
                one = replace(world, documents=documents)
                alike = rates(random, Cell(one, same(candidates), seeds, count))
                worst = rates(random, Cell(one, same(candidates, 0.0, FAR), seeds, count))
                yield _row(name, documents, candidates, seeds, _shares(alike), _shares(worst))


def power(count: int) -> Iterator[str]:
    """True differences that are proved, against the reference mixture and against every plain one."""
    yield "| SD of a run | candidates | seeds | against the reference: 0.5, 1, 2 % | against every plain mixture |"
    yield "|---:|---:|---:|---:|---:|"
    for run, domain in ((0.0075, 0.004), (0.003, 0.002)):
        for candidates, seeds in SIZES:
            random, world = np.random.default_rng([candidates, seeds]), World(run=run, domain=domain)
            cells = [Cell(world, same(candidates, -effect), seeds, count) for effect in (0.005, 0.01, 0.02)]
            found = [rates(random, cell) for cell in cells]
            first, every = (" / ".join(f"{100 * row[i]:.0f}" for row in found) for i in (0, 1))
            yield _row(f"{run:.2%}", candidates, seeds, first, every)


def covered(count: int) -> Iterator[str]:
    """Printed intervals that hold the truth, in per cent; and the found mixture's median half width."""
    names = "found, all | baseline, all | at least | at most | profile | level | wrong signs | half"
    yield f"| noise | candidates | seeds | documents | {names} |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for name, world in NOISES.items():
        for candidates, seeds in SIZES:
            for documents in (6, 30):
                random = np.random.default_rng([candidates, seeds, documents])
                effect_CK = same(candidates, -0.01) + 0.02 * random.standard_normal((candidates, DOMAINS))
                one = coverage(random, Cell(replace(world, documents=documents), effect_CK, seeds, count))
                shares = (one.found, one.baseline, one.least, one.most, one.profile, one.level)
                told = [f"{100 * share:.1f}" for share in shares]
                yield _row(name, candidates, seeds, documents, *told, f"{one.wrong:.2%}", f"{one.width:.2%}")


def regret(count: int) -> Iterator[str]:
    """Expected regret of what is recommended, said and true, where true means differ by so much."""
    yield "| noise | candidates | seeds | spread of true means | said | was |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, world in NOISES.items():
        for candidates, seeds in [*SIZES, (3, 2)]:
            for spread in (0.0, 0.003, 0.01, 0.02):
                random = np.random.default_rng([candidates, seeds])
                said, was = regrets(random, world, candidates, seeds, count // 5, spread)
                yield _row(name, candidates, seeds, f"{spread:.1%}", f"{said:.3%}", f"{was:.3%}")


def looks(count: int) -> Iterator[str]:
    """Looks at 3, 5, 8 and 12 seeds: claims, seeds used, and intervals that hold where it stopped."""
    yield "| noise | candidates | true difference | level of a look | first | both | seeds | intervals hold |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for name, world in NOISES.items():
        for candidates in (3, 6):
            for effect, share in ((0.0, 1.0), (0.0, 0.35), (-0.005, 0.35), (-0.01, 0.35), (-0.02, 0.35)):
                random = np.random.default_rng([candidates, 12])
                effect_CK = same(candidates, effect, FAR if effect == 0 else 0.0)
                one = looked(random, Cell(replace(world, documents=10), effect_CK, 12, count), share)
                shares = (_shares((one.first,)), _shares((one.every,)), f"{one.seeds:.1f}", _shares((one.covered,)))
                yield _row(name, candidates, f"{effect:.1%}", f"{5 * share:.2f} %", *shares)


def races(count: int) -> Iterator[str]:
    """Six candidates race, three are compared on fresh seeds: claims, and how often the found mixture is there."""
    yield "| noise | true difference | fresh seeds | first | both | is a finalist |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, world in NOISES.items():
        for effect in (0.0, -0.01, -0.02):
            for seeds in (3, 5):
                random = np.random.default_rng(seeds)
                first, every, there = raced(random, replace(world, documents=10), same(6, effect), seeds, count)
                yield _row(name, f"{effect:.0%}", seeds, *(_shares((x,)) for x in (first, every, there)))


def mutants(count: int) -> Iterator[str]:
    """Rules that are wrong, and how often each claims what is not so."""
    yield "| rule | noise | candidates | seeds | false claims: first, both |"
    yield "|---|---|---:|---:|---:|"
    for name, rule, world, candidates, seeds, rest in MUTANTS:
        random = np.random.default_rng([candidates, seeds])
        found = rates(random, Cell(world, same(candidates, 0.0, rest), seeds, count), rule)
        yield _row(name, f"hub x {world.hub:g}", candidates, seeds, _shares(found))


MUTANTS: Sequence[tuple[str, Rule, World, int, int, float]] = (
    ("normal quantiles", normal_quantiles, World(), 3, 3, FAR),
    ("pooled without the guard", pooled, World(hub=HUB), 6, 5, FAR),
    ("best plain mixture, chosen by the data", best_of_plain, World(), 6, 8, 0.0),
)
TABLES: dict[str, Callable[[int], Iterator[str]]] = {
    "level": level, "power": power, "coverage": covered, "regret": regret, "looks": looks, "races": races,
    "mutants": mutants,
}  # fmt: skip


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _shares(values: Sequence[float]) -> str:
    return ", ".join(f"{100 * value:.1f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--only", nargs="*", choices=list(TABLES), default=list(TABLES))
    chosen = parser.parse_args()
    for name in chosen.only:
        print(f"\n## {name}\n\n{TABLES[name].__doc__}\n", flush=True)
        for line in TABLES[name](chosen.count):
            print(line, flush=True)


if __name__ == "__main__":
    main()
