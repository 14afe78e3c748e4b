"""The plan of looks walked: which claims are open, how many seeds a run has, whole runs until they are decided."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.errors import ConfigError, RunError
from doremi.executors import slurm
from doremi.executors.parts import next_part
from doremi.rundir.graph import Final, Graph
from doremi.rundir.layout import RunDirectory
from doremi.rundir.looks import read_goal, read_looks, write_goal, write_looks
from doremi.rundir.specs import PartSpec
from doremi.statistics.decided import standings
from doremi.statistics.looks import PLAN, Record
from doremi.statistics.values import Claim, Comparison, Outcome, Recommended
from doremi.verdict import Verdict, walk
from graphs import config, known, made
from test_slurm import SBATCH, as_slurm_does, begun, environment, program
from test_states import results
from tiny import write_corpus, write_tiny

SHORT = {"steps": 4, "evaluate_every": 2, "log_every": 2}
PLANNED: dict[str, Any] = {"verdict": {"looks": "planned"}}


# -- which claims are open ---------------------------------------------------------------------------------------------


def claim(*over: str, held: bool = False) -> Claim:
    return Claim("doremi", "doremi", over, 0.0175, tested=True, held=held, p_value=0.2, relative=-0.001, at_least=None)


def against(opponent: str, outcome: Outcome = "undecided", *, small: bool = False) -> Comparison:
    return Comparison("doremi", opponent, "primary", "uniform", -0.1, -0.01, (-0.2, 0.0), None, outcome, small)


@pytest.mark.parametrize(
    ("first", "second", "rows", "state", "who"),
    [
        (False, False, [], "open", ("natural",)),
        (False, False, [against("uniform", "loss")], "open", ("natural",)),
        (False, False, [against("natural", "loss")], "worse", ("natural",)),
        (False, False, [against("natural", "tie", small=True)], "small", ("natural",)),
        (True, False, [], "open", ("natural", "uniform")),
        (True, False, [against("uniform", "loss", small=True)], "worse", ("uniform",)),
        (True, False, [against("uniform", "undecided", small=True)], "small", ("uniform",)),
        (True, True, [against("uniform", "win", small=True)], "held", ("natural", "uniform")),
    ],
)
def test_a_claim_is_open_until_it_held_or_cannot(
    first: bool, second: bool, rows: list[Comparison], state: str, who: tuple[str, ...]
) -> None:
    both = (claim("natural", held=first), claim("natural", "uniform", held=second))
    found = standings(both, rows, "uniform")
    assert len(found) == 1 + first
    assert (found[-1].state, found[-1].against) == (state, who)
    assert standings(both, rows, "natural")[-1].state in ("open", "held")  # rows of the other average decide nothing


def looked(seeds: int, *claims: Claim, rows: Sequence[Comparison] = (), exploratory: str | None = None) -> walk.Step:
    chosen = Recommended("doremi", "uniform", proved=False, reason="", other_mixture="doremi")
    verdict = Verdict.model_construct(
        seeds=tuple(range(seeds)), claims=claims, comparisons=tuple(rows), recommendation=chosen, margin=0.005,
        exploratory=exploratory,
    )  # fmt: skip
    return walk.after(verdict)


def test_the_walk_says_why_it_goes_on_or_ends() -> None:
    first, second = claim("natural"), claim("natural", "uniform")
    proved = claim("natural", held=True)
    assert looked(3, first, second) == walk.Step(
        5, "Look at 3 seeds: It is open whether doremi is better than natural (p = 0.200). The plan goes on to 5 seeds."
    )
    assert looked(12, proved, second) == walk.Step(
        None,
        "Look at 12 seeds: doremi is better than natural. It is open whether doremi is better than natural and uniform "
        "(p = 0.200). This was the last look of the plan. Further seeds would prove nothing.",
    )
    assert looked(5, proved, second, rows=[against("uniform", "loss")]) == walk.Step(
        None, "Look at 5 seeds: decided. doremi is better than natural. doremi is worse than uniform."
    )
    assert looked(5, proved, proved).words == "Look at 5 seeds: decided. doremi is better than natural."
    tie = looked(8, first, second, rows=[against("natural", "tie", small=True)])
    assert tie.words == "Look at 8 seeds: decided. doremi is within 0.50% of natural, which is a tie."
    assert looked(5, first, second, exploratory="Other seeds.").words == (
        "Look at 5 seeds: it proves nothing. Other seeds."
    )
    assert looked(3).seeds is None


# -- how many seeds a run has ------------------------------------------------------------------------------------------


def mains(looks: str, goal: int | None, seeds: int = 1) -> list[int]:
    asked = config(verdict={"looks": looks}, candidates={"mixtures": ["doremi", "natural"], "seeds": seeds})
    plan = made(asked, known(asked, goal=goal))
    found = [node.seed for node in plan.nodes if node.role == "main" and node.mixture == "natural"]
    assert plan.finals == {"0.1m": Final(("doremi", "natural"), tuple(found))}
    return found


def test_a_run_has_the_seeds_of_its_look_and_the_configured_ones_at_least() -> None:
    assert mains("planned", None) == [0]
    assert mains("planned", 3) == [0, 1, 2]
    assert mains("planned", 3, seeds=4) == [0, 1, 2, 3]


def test_more_seeds_say_anew_how_many_documents_count() -> None:
    """From the same four trainings, as the noise of seeds is less with more of them."""
    asked = config(verdict={"looks": "planned"}, candidates={"mixtures": ["uniform", "natural"], "seeds": 1})
    specs = [made(asked, known(asked, goal=goal)).node("0.1m/validation").spec for goal in (3, 5)]
    first, second = (spec for spec in specs if isinstance(spec, PartSpec))
    assert first.trainings == second.trainings
    assert (first.seeds, second.seeds) == (3, 5)
    assert first.key != second.key


def test_a_walk_begins_at_the_first_look_with_enough_seeds(tmp_path: Path) -> None:
    def goal(seeds: int) -> int:
        return walk.first_goal(config(runs=str(tmp_path), candidates={"seeds": seeds}, **PLANNED))

    assert [goal(seeds) for seeds in (1, 3, 4, 12)] == [3, 3, 5, 12]
    write_looks(tmp_path / "run", {"1m": Record("planned").with_look((0, 1, 2))})
    write_goal(tmp_path / "run", 8)
    assert goal(3) == 8
    assert read_looks(tmp_path / "run")["1m"].seeds == ((0, 1, 2),)
    with pytest.raises(ConfigError, match=r"candidates.seeds is 13, but the plan of looks ends at 12 seeds"):
        goal(13)
    write_looks(tmp_path / "run", {"1m": Record("once").with_look((0, 1, 2))})
    assert read_goal(tmp_path / "run") == 8
    with pytest.raises(RunError, match=r"its first verdict had verdict.looks once, and that cannot change after it"):
        goal(3)


# -- whole runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("text"))


def write(folder: Path, text: Path, margin: float, looks: str = "planned", sure: float = 0.95, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    changes = {"candidates": {"mixtures": ["doremi", "natural"], "seeds": 1, **more}, "training": SHORT}
    verdict = {"looks": looks, "margin": margin, "confidence": sure}
    return write_tiny(folder / "tiny.yaml", text, folder / "runs", verdict=verdict, **changes)


def say(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == code
    return done.output


def judged(run: RunDirectory) -> Any:
    return json.loads((run.root / "verdict.json").read_text())


def test_a_walk_trains_up_to_the_look_and_ends_where_all_is_decided(text: Path, tmp_path: Path) -> None:
    """With a margin of half of the loss every difference is a tie as soon as there is an interval."""
    file, run = write(tmp_path, text, 0.5), RunDirectory(tmp_path / "runs/tiny")
    said = say("run", file, "--until", "decided")
    assert "Look at 3 seeds: decided. " in said
    assert (judged(run)["seeds"], "exploratory" in judged(run)) == ([0, 1, 2], False)
    assert read_goal(run.root) == 3
    assert "looks: judged with 3 seeds. The run is at 3 seeds of the plan's 3, 5, 8, 12" in say("status", file)
    assert "custom/natural/seed-2" in say("jobs", file)


def test_only_planned_looks_are_walked(text: Path, tmp_path: Path) -> None:
    file = write(tmp_path, text, 0.0, looks="once")
    with pytest.raises(ConfigError, match=r"verdict.looks is once, so seeds that are added prove nothing"):
        say("run", file, "--until", "decided")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_method_with_a_mixture_for_each_seed_needs_one_for_the_last_look(text: Path, tmp_path: Path) -> None:
    file = write(tmp_path, text, 0.0, mixtures=["doremi-per-seed", "natural"])
    with pytest.raises(ConfigError, match=r"set proxy.seeds to 12"):
        say("run", file, "--until", "decided")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, text: Path) -> tuple[RunDirectory, str]:
    """A walk without a margin, on which nothing is a tie, and so sure that it takes at least two looks."""
    folder = tmp_path_factory.mktemp("walked")
    return RunDirectory(folder / "runs/tiny"), say(
        "run", write(folder, text, 0.0, sure=0.999, mixtures=["doremi"]), "--until", "decided"
    )


@pytest.mark.slow
def test_each_look_of_a_walk_is_planned_and_its_end_is_said(walked: tuple[RunDirectory, str]) -> None:
    run, said = walked
    (record,) = read_looks(run.root).values()
    assert [len(seeds) for seeds in record.seeds] == list(PLAN[: len(record.seeds)])
    assert len(record.seeds) > 1
    verdict = judged(run)
    assert verdict["seeds"] == list(range(len(record.seeds[-1])))
    assert "exploratory" not in verdict
    assert all(claim["tested"] for claim in verdict["claims"][:1])
    assert "decided." in said or "This was the last look of the plan." in said
    assert said.count("Look at ") == 1 or "The plan goes on to" in said
    assert said.count("natural is trained as a candidate too") == 1  # not at each look


@pytest.mark.slow
def test_a_walk_that_was_killed_goes_on_with_either_command(
    walked: tuple[RunDirectory, str], text: Path, tmp_path: Path
) -> None:
    """Killed while the second look's models train; a plain `run` finishes that look, and the walk the rest."""
    file, root = write(tmp_path, text, 0.0, sure=0.999, mixtures=["doremi"]), tmp_path / "runs/tiny"
    command = [sys.executable, "-m", "doremi", "run", str(file), "--until", "decided"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while read_goal(root) != 5 if root.exists() else True:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert "The run is at 5 seeds" in say("status", file)
    assert "is at 5 seeds" in say("status", root)
    say("run", file)
    assert judged(RunDirectory(root))["seeds"] == [0, 1, 2, 3, 4]
    say("run", file, "--until", "decided")
    ours, theirs = results(RunDirectory(root)), results(walked[0])
    assert [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)] == []
    assert read_looks(root) == read_looks(walked[0].root)


# -- on Slurm ----------------------------------------------------------------------------------------------------------


def test_the_last_job_of_a_part_goes_on_with_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(runs=str(tmp_path), training={"threads": 1}, candidates={"seeds": 1}, **PLANNED)
    wishes, steps = slurm.Wishes(until_decided=True), [walk.Step(5, "On to 5."), walk.Step(None, "Over.")]
    so_far = begun(asked)

    def look(_: object) -> walk.Step:
        step = steps.pop(0)
        write_goal(asked.root, step.seeds or 5)
        return step

    def disk(*_: object) -> Graph:
        return made(asked, replace(so_far, goal=read_goal(asked.root)))

    monkeypatch.setattr(slurm, "as_it_is", disk)
    monkeypatch.setattr(slurm.walk, "go_on", look)
    monkeypatch.setattr(slurm, "write_report", lambda _: None)
    monkeypatch.setenv("PATH", environment(tmp_path)["PATH"])
    program(tmp_path / "bin/sbatch", SBATCH.format(log=tmp_path / "sent", fails=0))
    part = slurm.begin(asked, tmp_path / "out", wishes)
    assert part is not None
    assert "--until decided" in (part / "next.sh").read_text()
    assert seeds(part) == {0, 1, 2}  # of the first look, though one is configured

    for after, trained in enumerate([set(), {3, 4}, set()], 1):  # the verdict of each look is in a part of its own
        so_far = as_slurm_does(asked, disk().known, next_part(disk()))
        assert slurm.go_on(asked, tmp_path / "out", after, wishes).splitlines()[-1].startswith("next ")
        assert seeds(tmp_path / f"out/part-{after + 1}") == trained
    so_far = as_slurm_does(asked, disk().known, next_part(disk()))
    assert slurm.go_on(asked, tmp_path / "out", 4, wishes).endswith("everything is done. Over.")
    assert steps == []


def seeds(part: Path) -> set[int]:
    listed = [line for path in part.glob("*main*.txt") for line in path.read_text().splitlines()]
    return {int(line.rsplit("-", 1)[1]) for line in listed}
