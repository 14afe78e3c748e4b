"""The same answer from any number of processes and micro-batches, and what happens when a process is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import ranks
from doremi.corpus.store import tokens
from doremi.distributed import World
from doremi.rundir.layout import RunDirectory
from tiny import DOMAINS, write_corpus, write_tiny
from tolerances import ALPHA_FIRST_STEP, ALPHA_PATH, GRADIENT, SPLIT

HERE = Path(__file__).resolve().parent
STEPS = 50
LEAST_MOVE = 0.2  # L1 between alpha's first and last value: a path that stays uniform would prove nothing
# Reference losses are float16: where two ways to batch differ in the last bit, a loss may round to another neighbour,
# 0.004 nats away. In a domain of 500 tokens that moves a score by 1e-5 at most, in one of 40 it would show.
LONG = {"steps": STEPS, "batch_size": 24, "learning_rate": 0.005, "evaluate_every": STEPS, "checkpoint_every": 20}


@dataclass(frozen=True)
class Found:
    """What a search left behind."""

    alpha: np.ndarray
    gradient: np.ndarray
    rows: list[list[list[int]]]
    """Of each step, reference first: sorted `[domain, sequence]` of all ranks."""


def torchrun(processes: int, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=timeout, check=False)


class Searches:
    """Searches on one small corpus: alone in this process, or several in one launch of `torchrun`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_corpus(root / "text")

    def case(
        self, name: str, *, mutant: str | None = None, stop_after: int | None = None, goes_on: str | None = None,
        **changes: Any,
    ) -> Any:  # fmt: skip
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        changes["data"] = {"sequence_length": 64}
        changes["training"] = {**LONG, **changes.get("training", {})}
        config = write_tiny(folder / "tiny.yaml", self.root / "text", folder / "runs", **changes)
        stopped = str(self.root / goes_on) if goes_on else None
        return {
            "config": str(config), "out": str(folder), "mutant": mutant, "stop_after": stop_after, "goes_on": stopped,
        }  # fmt: skip

    def searched(self, name: str, like: str, **changes: Any) -> Any:
        """A case that starts from the corpus and the finished reference of another one."""
        source, target = (self.root / n / "runs" / "tiny" for n in (like, name))
        reference = RunDirectory(source).reference(0).folder
        for part in (source / "corpus", reference):
            shutil.copytree(part, target / part.relative_to(source))
        (target / "locks").mkdir()
        (target / "locks" / "run.lock").touch()  # as every run directory has
        return self.case(name, **changes)

    def alone(self, cases: Mapping[str, Any]) -> None:
        for case in cases.values():
            ranks.run_case(case, World(0, 1, torch.device("cpu")))

    def launch(self, processes: int, cases: Mapping[str, Any]) -> None:
        path = self.root / f"cases-{'-'.join(cases)[:60]}-{processes}.json".replace(" ", "_")
        path.write_text(json.dumps(list(cases.values())))
        result = torchrun(processes, str(HERE / "ranks.py"), str(path))
        assert result.returncode == 0, result.stderr[-3000:]

    def found(self, name: str) -> Found:
        folder = self.root / name
        per_rank = [json.loads(path.read_text()) for path in sorted(folder.glob("rows-*.json"))]
        rows = [sorted(row for part in step for row in part) for step in zip(*per_rank, strict=True)]
        return Found(np.load(folder / "alpha.npy"), np.load(folder / "gradient.npy"), rows)


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> Searches:
    made = Searches(tmp_path_factory.mktemp("ranks"))
    adafactor = {"optimizer": "adafactor"}
    made.alone({"one": made.case("one"), "adafactor": made.case("adafactor", training=adafactor)})

    def case(name: str, parts: int = 1, update: str = "exact", **changes: Any) -> dict[str, Any]:
        training = {"accumulation": parts, **changes.pop("training", {})}
        return {name: made.searched(name, "one", training=training, proxy={"update": update}, **changes)}

    made.alone(
        case("one, accumulated", 2) | case("one, in four", 4)
        | case("lagged", 1, "lagged") | case("lagged, in four", 4, "lagged")
    )  # fmt: skip
    stopped = made.case("two, stopped", training={"parallel": "fsdp"}, stop_after=STEPS + 30)
    mutants = ("scores of one rank", "stale on other ranks")
    made.launch(
        2,
        {"two": made.case("two"), "two, stopped": stopped}
        | {"two, adafactor": made.case("two, adafactor", training={**adafactor, "parallel": "fsdp"})}
        | {"resumed by 2": made.case("resumed by 2", goes_on="two, stopped")}
        | case("two, accumulated", 2) | case("two, sharded", 1, training={"parallel": "fsdp"})
        | case("two, lagged", 2, "lagged")
        | case("stale in early micro-batches", 2, mutant="stale in early micro-batches")
        | {name: one for mutant in mutants for name, one in case(mutant, mutant=mutant).items()},
    )  # fmt: skip
    return made


def assert_same(one: Found, other: Found) -> None:
    assert other.rows == one.rows[-len(other.rows) :]
    assert len(other.rows) >= STEPS
    assert np.abs(other.alpha[0] - one.alpha[0]).max() <= ALPHA_FIRST_STEP
    assert np.abs(other.alpha - one.alpha).max() <= ALPHA_PATH
    assert np.linalg.norm(other.gradient - one.gradient) <= GRADIENT * np.linalg.norm(one.gradient)


def test_the_weights_move_enough_to_tell(searches: Searches) -> None:
    one = searches.found("one")
    assert one.alpha.shape == (STEPS, len(DOMAINS))
    assert np.abs(one.alpha - one.alpha[0]).sum(axis=1).max() >= LEAST_MOVE
    assert len(one.rows) == 2 * STEPS


@pytest.mark.parametrize("name", ["one, accumulated", "one, in four", "two", "two, accumulated", "two, sharded"])
def test_processes_and_micro_batches_change_nothing(name: str, searches: Searches) -> None:
    assert_same(searches.found("one"), searches.found(name))


def test_adafactor_over_shards_is_adafactor(searches: Searches) -> None:
    """Means over rows and columns, and the sizes of parameters and updates, are those of whole matrices."""
    assert_same(searches.found("adafactor"), searches.found("two, adafactor"))
    assert np.abs(searches.found("adafactor").alpha - searches.found("one").alpha).max() > 1e-3


@pytest.mark.parametrize("name", ["lagged, in four", "two, lagged"])
def test_the_lagged_form_does_not_depend_on_them_either(name: str, searches: Searches) -> None:
    assert_same(searches.found("lagged"), searches.found(name))


def test_the_lagged_form_starts_alike_and_is_another_one(searches: Searches) -> None:
    exact, lagged = searches.found("one"), searches.found("lagged")
    assert np.abs(exact.alpha[0] - lagged.alpha[0]).max() <= ALPHA_FIRST_STEP  # the same scores of the same model
    assert np.abs(exact.gradient - lagged.gradient).max() > 1e-4  # but alpha_0 weighs the first batch, not alpha_1
    assert np.abs(exact.alpha - lagged.alpha).max() > 1e-5


@pytest.mark.parametrize("mutant", ["scores of one rank", "stale on other ranks", "stale in early micro-batches"])
def test_mistakes_of_other_implementations_would_be_seen(mutant: str, searches: Searches) -> None:
    with pytest.raises(AssertionError):
        assert_same(searches.found("one"), searches.found(mutant))


@pytest.mark.parametrize("processes", [1, 2])
def test_stopped_shards_go_on_in_any_number_of_processes(processes: int, searches: Searches) -> None:
    """Two sharded processes stopped after 30 steps of the proxy; one process, or two with whole models, go on."""
    name = f"resumed by {processes}"
    proxy = RunDirectory(searches.root / "two, stopped" / "runs/tiny").proxy(0)
    checkpoint = proxy.folder / "checkpoint/step-00000030"
    assert len(list(checkpoint.glob("*.safetensors"))) == 2
    if processes == 1:
        searches.alone({name: searches.case(name, goes_on="two, stopped")})
    whole, found = searches.found("one"), searches.found(name)
    assert np.abs(found.alpha - whole.alpha).max() <= ALPHA_PATH
    assert found.rows == whole.rows[STEPS + 30 :]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_four_processes(parallel: str, accumulation: int, searches: Searches) -> None:
    name = f"four {parallel} {accumulation}"
    training = {"parallel": parallel, "accumulation": accumulation}
    searches.launch(4, {name: searches.case(name, training=training)})
    assert_same(searches.found("one"), searches.found(name))


@pytest.mark.slow
def test_30m_in_four_processes_stopped_resumed_by_two_and_by_one(searches: Searches) -> None:
    """Split over four, stopped in the proxy; the reference's model is that of one process, and loads as one."""
    from transformers import AutoModelForCausalLM

    training = {"steps": 4, "batch_size": 4, "evaluate_every": 4, "checkpoint_every": 3}
    model = {"preset": "30m", "architecture": None, "options": {}}
    split = {**training, "parallel": "fsdp"}

    def case(name: str, settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        return {name: searches.case(name, training=settings, model=model, **more)}

    searches.alone(case("30m", training))
    searches.launch(4, case("30m in four", split, stop_after=6))
    searches.launch(2, case("30m, two go on", split, goes_on="30m in four"))
    searches.alone(case("30m, one goes on", training, goes_on="30m in four"))
    folders = {
        name: RunDirectory(searches.root / name / "runs/tiny")
        for name in ("30m", "30m in four", "30m, two go on", "30m, one goes on")
    }
    checkpoint = folders["30m in four"].proxy(0).folder / "checkpoint/step-00000002"
    assert len(list(checkpoint.glob("*.safetensors"))) == 4
    one, split_model = (
        AutoModelForCausalLM.from_pretrained(folders[n].reference(0).folder / "model") for n in ("30m", "30m in four")
    )
    for name, parameter in one.named_parameters():
        other = split_model.get_parameter(name)
        assert (other - parameter).norm() <= SPLIT * parameter.norm(), name
    for name in ("30m, two go on", "30m, one goes on"):
        losses = [np.array(folders[n].proxy(0).evaluation()["report"]["loss"]) for n in ("30m", name)]
        assert np.abs(losses[1] / losses[0] - 1).max() <= SPLIT


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_whole_run_in_two_processes(parallel: str, searches: Searches) -> None:
    """Preparation to report; the main models are whole, and have the loss that was reported of them."""
    from transformers import AutoModelForCausalLM

    folder = searches.root / f"whole run {parallel}"
    folder.mkdir()
    changes = {"training": {"parallel": parallel}, "reference": {"losses": "stored"}}
    config = write_tiny(folder / "tiny.yaml", searches.root / "text", folder / "runs", **changes)
    result = torchrun(2, "-m", "doremi", "run", str(config))
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("report: ") == 1
    run = RunDirectory(folder / "runs/tiny")
    trained, corpus = run.main("custom", "doremi", 0), run.whole_corpus()
    model = AutoModelForCausalLM.from_pretrained(trained.folder / "model")
    for number, name in enumerate(DOMAINS):
        documents = corpus.validation_documents(name)
        ids = [0, *tokens(corpus, name, "validation").tolist()]
        windows = [torch.tensor([ids[start : start + 17]]) for start in range(0, len(ids) - 1, 16)]
        losses = [cross_entropy(model(w[:, :-1]).logits[0], w[0, 1:], reduction="none").detach() for w in windows]
        report = torch.from_numpy(documents["report"].repeat(documents["tokens"]))
        mean = float(torch.cat(losses).double()[report].mean())
        assert mean == pytest.approx(trained.evaluation()["report"]["loss"][number], rel=GRADIENT)
