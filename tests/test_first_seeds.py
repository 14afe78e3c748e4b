"""What a run says of its noise after the first seeds, from trainings on the disk and their times."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from doremi.config import RunConfig
from doremi.pipeline.first_seeds import first_noise, noise_words
from doremi.rundir.layout import RunDirectory
from doremi.verdict import price
from doremi.verdict.price import Price
from doremi.verdict.table import format_table
from make_run import MadeRun, make_run
from verdicts import verdict_over

EFFECT = {"doremi": -0.02, "natural": 0.0, "uniform": 0.01}
SEEDS = (0, 1, 2)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    root = make_run(tmp_path / "demo", MadeRun(effect=EFFECT, seeds=SEEDS, noise=0.002))
    took = [{"stage": node.id, "seconds": 60.0 + node.seed} for node in RunDirectory(root).nodes().find("main")]
    (root / "timings.jsonl").write_text("".join(json.dumps(one) + "\n" for one in took))
    return RunDirectory(root)


def config(run: RunDirectory, seeds: int = len(SEEDS)) -> RunConfig:
    domains = {"domains": {"web": "web", "code": "code"}}
    made = RunConfig.model_validate({"name": "demo", "runs": str(run.root.parent), "data": domains})
    compared = {"mixtures": list(EFFECT), "seeds": seeds, "sizes": ["tiny"]}
    return made.model_copy(update={"candidates": made.candidates.model_copy(update=compared)})


def unfinish(run: RunDirectory, mixture: str, *seeds: int) -> None:
    for seed in seeds:
        (run.main("tiny", mixture, seed).folder / "stage.json").unlink()


def test_with_all_seeds_it_is_what_the_verdict_says(run: RunDirectory) -> None:
    assert first_noise(config(run), run, run.nodes()) == (verdict_over(run, list(EFFECT)).noise, 3)
    assert noise_words(config(run), run, run.nodes(), 1) == ""  # the verdict follows


def test_two_seeds_of_two_mixtures_are_enough(run: RunDirectory) -> None:
    for mixture in EFFECT:
        unfinish(run, mixture, 2)
    unfinish(run, "doremi", 0, 1)
    found = first_noise(config(run), run, run.nodes())
    assert found is not None
    told, seeds = found
    assert seeds == 2
    assert told.seeds is not None
    more = f"{(told.seeds - 2) * 3} min more." if told.seeds > 2 else "There are 2."
    said = noise_words(config(run), run, run.nodes(), 1)
    assert said.startswith(f"With these steps, to prove 1 % takes about {told.seeds} seeds (80 %: ")
    assert said.endswith(f"{more} This run is to have 3. {told.longer_words()}")
    unfinish(run, "uniform", 1)
    assert first_noise(config(run), run, run.nodes()) is None


def test_without_the_reference_mixture_nothing_is_told(run: RunDirectory) -> None:
    unfinish(run, "natural", 1, 2)
    assert first_noise(config(run), run, run.nodes()) is None


def test_it_is_no_look_at_who_is_better(run: RunDirectory) -> None:
    """A mixture that is better by the same everywhere shows the same noise."""
    before = first_noise(config(run), run, run.nodes())
    for seed in SEEDS:
        path = run.main("tiny", "uniform", seed).folder / "evaluation.documents.f64"
        nats = np.fromfile(path, dtype="<f8")
        (nats + 0.05 * nats.mean()).tofile(path)
    after = first_noise(config(run), run, run.nodes())
    assert before is not None
    assert after == before


def test_a_damaged_training_does_not_end_the_run(run: RunDirectory) -> None:
    (run.main("tiny", "uniform", 0).folder / "evaluation.documents.f64").write_bytes(b"")
    assert first_noise(config(run), run, run.nodes()) is None


def test_the_price_of_a_seed_is_that_of_all_its_trainings(run: RunDirectory) -> None:
    assert price(run, run.nodes(), "demo").one_seed == 3 * 61.0  # medians of 60, 61 and 62 s
    assert price(run, run.nodes(), "demo", at_once=2).one_seed == 1.5 * 61.0
    with (run.root / "timings.jsonl").open("a") as timings:  # a resumed training is no measure of a whole one
        for node in run.nodes().find("main"):
            timings.write(json.dumps({"stage": node.id, "seconds": 2.0, "from_step": 39}) + "\n")
    assert price(run, run.nodes(), "demo").one_seed == 3 * 61.0
    manifest = json.loads((run.root / "manifest.json").read_text())
    machine = {"device": "cpu", "bfloat16": False, "cores": 6, "threads": 2}
    (run.root / "manifest.json").write_text(json.dumps({**manifest, "machine": machine}))
    assert price(run, run.nodes(), "demo").one_seed == 61.0
    (run.root / "timings.jsonl").write_text("")
    assert price(run, run.nodes(), "demo").one_seed is None
    assert price(run, None, "demo").one_seed is None


def test_what_longer_training_takes_is_in_the_verdict(run: RunDirectory) -> None:
    """From the evaluations half way, which every training has."""
    judged = verdict_over(run, list(EFFECT))
    assert judged.noise is not None
    assert judged.noise.longer is not None
    assert judged.noise.longer_words() in " ".join(format_table(judged, Price("demo")).split())
