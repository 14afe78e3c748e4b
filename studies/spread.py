"""How much of the spread between proxies is rounding: a search again with its last bits changed, and with other seeds.

    python studies/spread.py CONFIG [--steps 60 600 6000] [--rows 24 96] [--seeds 4]

For each number of steps and of sequences a batch there is one reference model and some proxies, as CONFIG says
otherwise. The first proxy is trained twice more, from initial weights that differ by one rounding (a factor of
1 + 2^-23 on some matrices). Shown is the total variation distance between mixtures, half the sum of absolute
differences: between those roundings and the first proxy, and between seeds. What is there is not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch

from doremi.config import RunConfig, load
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.events.event import Event
from doremi.events.stream import Watch
from doremi.executors.choose import chosen
from doremi.mixture.domains import Mixture
from doremi.objectives.choose import make_objective
from doremi.pipeline import trainings
from doremi.pipeline.preparing import prepare
from doremi.pipeline.run import search
from doremi.pipeline.workspace import Workspace, open_workspace
from doremi.rundir.specs import TrainingSpec
from doremi.training import loop

ROUNDINGS = 2


class Quiet(Watch):
    """Shows nothing, never stops."""

    def emit(self, event: Event) -> None:
        """Nobody listens."""

    def stop_requested(self) -> bool:
        return False


def of(config: RunConfig, steps: int, rows: int, seeds: int) -> RunConfig:
    """The run of one cell of the table."""
    values = config.model_dump()
    values["name"] = f"{config.name}-{steps}x{rows}"
    values["training"] |= {"steps": steps, "batch_size": rows, "threads": 1, "evaluate_every": steps}
    values["training"] |= {"checkpoint_every": max(20, steps // 10)}
    values["proxy"] |= {"seeds": seeds, "stop": "never"}
    return RunConfig.model_validate(values)


def rounded(space: Workspace, corpus: Corpus, spec: TrainingSpec, number: int) -> list[float]:
    """The mixture of a proxy whose initial weights differ by a rounding in every `number + 2`nd matrix."""
    path = space.root / f"rounded-{number}.json"
    if path.exists():
        return json.loads(path.read_text())
    scoring = spec.scoring
    assert scoring is not None
    sampling = Mixture(dict(zip(corpus.domains, spec.weights, strict=True)))
    objective = make_objective(scoring.proxy, corpus.domains, corpus.tokenizer.vocab_size, sampling)
    torch.set_num_threads(1)
    job = trainings.make_job(
        corpus, space.root / f"rounded-{number}", spec, space.world, name="rounded",
        objective=(scoring.proxy.variant, objective),
        reference=trainings.reference_losses(space, corpus, spec, scoring),
    )  # fmt: skip
    job.folder.mkdir(exist_ok=True)
    with torch.no_grad():
        for matrix in itertools.islice((p for p in job.model.parameters() if p.ndim > 1), 0, None, number + 2):
            matrix.mul_(1 + 2**-23)
    loop.train(job, space.world, Quiet())
    found = objective.average_weights.tolist()
    path.write_text(json.dumps(found))
    return found


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Total variation."""
    return float(np.abs(a - b).sum() / 2)


def cell(config: RunConfig) -> str:
    """A line of the table."""
    world = World(0, 1, torch.device("cpu"))
    with open_workspace(config, world, Quiet()) as space:
        corpus = prepare(space)
        plan = search(space, chosen)
        proxies = [node for node in plan.nodes if node.role == "proxy"]
        mixtures = [
            np.array([json.loads((space.root / str(node.place) / "mixture.json").read_text())["weights"][name]
                      for name in corpus.domains])
            for node in proxies
        ]  # fmt: skip
        first = proxies[0].spec
        assert isinstance(first, TrainingSpec)
        again = [np.array(rounded(space, corpus, first, number)) for number in range(ROUNDINGS)]
        trace = loop.TrainingFolder(space.root / str(proxies[0].place)).trace()["weights"]
    by_rounding = [distance(mixtures[0], one) for one in again]
    by_seed = [distance(a, b) for a, b in itertools.combinations(mixtures, 2)]
    settings = config.training
    return (
        f"| {settings.steps:,} | {settings.batch_size} | {trace.max():.2f} | {np.mean(by_rounding):.4f} "
        f"({min(by_rounding):.4f} to {max(by_rounding):.4f}) | {np.mean(by_seed):.4f} "
        f"({min(by_seed):.4f} to {max(by_seed):.4f}) | {np.mean(by_rounding) / np.mean(by_seed):.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[60, 600, 6000])
    parser.add_argument("--rows", type=int, nargs="+", default=[24, 96], help="sequences a batch")
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    config = load(arguments.config)
    print("| steps | sequences a batch | largest weight on the way | one rounding apart | one seed apart | share |")
    print("|---:|---:|---:|---:|---:|---:|")
    for steps, rows in itertools.product(arguments.steps, arguments.rows):
        print(cell(of(config, steps, rows, arguments.seeds)), flush=True)


if __name__ == "__main__":
    main()
