"""The loop's parts: schedule, gradients over micro-batches, the golden curve, and that no stage is named in it."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import doremi.training.loop
from doremi.config import TrainingConfig
from doremi.distributed import World
from doremi.errors import Interrupted, TrainingError
from doremi.mixture.domains import DomainSet
from doremi.model.transfer import to_device
from doremi.objectives.dro import GroupDRO
from doremi.objectives.objective import Objective
from doremi.objectives.plain import PlainObjective
from doremi.objectives.reweighting import Reweighting
from doremi.pipeline.driver import settle
from doremi.pipeline.host import this_host
from doremi.pipeline.preparing import prepare
from doremi.pipeline.trainings import fresh_model, make_job
from doremi.pipeline.work import plan_now
from doremi.pipeline.workspace import Workspace, open_workspace
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.specs import TrainingSpec, canonical
from doremi.training import save_times
from doremi.training.adafactor import Adafactor
from doremi.training.batches import DeviceBatch
from doremi.training.log import About, TrainingLog
from doremi.training.loop import (
    Job,
    Trainer,
    learning_rate,
    make_optimizer,
    train,
)
from doremi.training.reference_losses import LiveReference
from doremi.training.sums import score_error, spread_sums
from golden import GOLDEN, curves, processor
from tiny import Silent, tiny_config, write_corpus
from tolerances import FLOAT32, FLOAT64
from tolerances import GOLDEN as GOLDEN_TOLERANCE


def test_schedule_by_hand() -> None:
    """100 steps, 6 % warm-up to 1e-3, exponential decay to 1e-4 at the last step (paper section 3.1)."""
    paper = {"schedule": "exponential", "final_learning_rate": 0.1, "warmup": 0.06, "learning_rate": 1e-3}
    settings = TrainingConfig.model_validate({**paper, "steps": 100})
    assert learning_rate(1, settings) == pytest.approx(1e-3 / 6, rel=FLOAT64)
    assert learning_rate(6, settings) == pytest.approx(1e-3, rel=FLOAT64)
    assert learning_rate(53, settings) == pytest.approx(1e-3 * 10**-0.5, rel=FLOAT64)  # half-way down
    assert learning_rate(100, settings) == pytest.approx(1e-4, rel=FLOAT64)
    alone = TrainingConfig.model_validate({**paper, "steps": 1, "warmup": 0})
    assert learning_rate(1, alone) == pytest.approx(1e-4)


@pytest.mark.parametrize(("schedule", "half_way"), [("linear", 0.6), ("cosine", 0.6)])
def test_schedules_that_end_where_they_are_told(schedule: Literal["linear", "cosine"], half_way: float) -> None:
    """Warm-up as ever, half of the way half down, and a last rate of 0.2 or none at all."""
    settings = TrainingConfig(steps=100, learning_rate=1e-3, schedule=schedule, final_learning_rate=0.2, warmup=0.06)
    at = {step: learning_rate(step, settings) / 1e-3 for step in (3, 6, 53, 100)}
    assert at == pytest.approx({3: 0.5, 6: 1.0, 53: half_way, 100: 0.2}, rel=FLOAT64)
    to_zero = settings.model_copy(update={"final_learning_rate": 0.0})
    assert learning_rate(100, to_zero) == pytest.approx(0, abs=FLOAT64)
    assert learning_rate(1, TrainingConfig(steps=1, warmup=0, schedule=schedule, final_learning_rate=0.2)) > 0


def test_cosine_is_slow_at_both_ends() -> None:
    cosine, straight = (
        TrainingConfig(steps=100, warmup=0, schedule=name, final_learning_rate=0.0) for name in ("cosine", "linear")
    )
    assert learning_rate(25, cosine) > learning_rate(25, straight)
    assert learning_rate(75, cosine) < learning_rate(75, straight)


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adafactor", torch.optim.Adafactor)])
def test_optimizers_decay_matrices_only(name: str, kind: type) -> None:
    module = torch.nn.Linear(3, 2)
    optimizer = make_optimizer(module, TrainingConfig(optimizer=name))
    assert isinstance(optimizer, kind)
    decays = {tuple(p.shape): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {(2, 3): 0.01, (2,): 0.0}


def test_adafactor_without_waits_is_pytorchs_and_reads_nothing() -> None:
    """The same numbers over ten steps, and the same state; where tensors have no numbers, none is asked for."""
    generator = torch.Generator().manual_seed(0)
    first = [torch.randn(5, 7, generator=generator), torch.randn(3, generator=generator), torch.zeros(2, 2)]
    theirs, ours = ([torch.nn.Parameter(value.clone()) for value in first] for _ in range(2))
    optimizers = [
        kind(ps, lr=0.02, weight_decay=0.1) for kind, ps in ((torch.optim.Adafactor, theirs), (Adafactor, ours))
    ]
    for _ in range(10):
        for parameter, other in zip(theirs, ours, strict=True):
            parameter.grad = 3 * torch.randn(parameter.shape, generator=generator)
            other.grad = parameter.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for parameter, other in zip(theirs, ours, strict=True):
        assert torch.allclose(parameter, other, rtol=FLOAT32, atol=FLOAT32)
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    assert [value.keys() for value in states[0].values()] == [value.keys() for value in states[1].values()]
    optimizers[0].load_state_dict(optimizers[1].state_dict())
    empty = torch.nn.Parameter(torch.empty(5, 7, device="meta"))
    empty.grad = torch.empty_like(empty)
    Adafactor([empty]).step()


def test_golden_curve() -> None:
    """20 steps of reference and proxy: exact where the recorded processor and versions are these, else close."""
    recorded = json.loads(GOLDEN.read_text())
    now = curves()
    for name, values in recorded["curves"].items():
        if recorded["processor"] == processor():
            assert now[name] == values
        else:
            assert np.allclose(now[name], values, atol=GOLDEN_TOLERANCE * 10, rtol=GOLDEN_TOLERANCE * 10)


def test_loop_is_short_and_names_no_stage() -> None:
    source = Path(doremi.training.loop.__file__).read_text()
    loop = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == "train")
    assert (loop.end_lineno or 0) - loop.lineno < 80
    code = "\n".join(line.split("#")[0] for line in source.splitlines()).lower()
    assert not any(word in code for word in ('"proxy', '"reference"', '"main', "stage =="))
    assert not any(word in code for word in ("alpha_k", "lam_k"))  # keys of a state
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    of_objectives = {a.name for node in imported if "objectives" in (node.module or "") for a in node.names}
    assert of_objectives == {"sum_by_domain", "weighted_loss", "Objective"}


def test_standard_error_of_a_score_is_that_of_the_mean_over_sequences() -> None:
    """Against numpy, sequence by sequence; a domain with one sequence has none."""
    generator = torch.Generator().manual_seed(0)
    loss, reference = (torch.rand(7, 16, generator=generator) for _ in range(2))
    domain = torch.tensor([0, 1, 0, 0, 1, 0, 2])
    mask = torch.ones(7, 16, dtype=torch.bool)
    tokens = torch.tensor([64.0, 32.0, 16.0], dtype=torch.float64)
    sums = torch.cat([torch.zeros(1, 3), tokens[None], spread_sums(loss, reference, mask, domain, 3)])
    found = score_error(sums, 16)
    means = (loss - reference).clamp(min=0).double().mean(dim=1).numpy()
    for k in (0, 1):
        mine = means[domain.numpy() == k]
        assert float(found[k]) == pytest.approx(mine.std(ddof=1) / len(mine) ** 0.5, rel=FLOAT32)
    assert torch.isnan(found[2])
    assert sums[4].tolist() == pytest.approx([float(reference[domain == k].sum()) for k in range(3)], rel=FLOAT32)


def test_batches_go_to_a_gpu_from_pinned_memory_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU here: what would be asked of it. On a CPU nothing is copied."""
    window = np.arange(12).reshape(2, 6)[:, :-1]
    assert to_device(window, torch.device("cpu")).data_ptr() == window.ctypes.data
    asked: list[Any] = []

    def pinned(tensor: torch.Tensor) -> torch.Tensor:
        asked.append(tensor.is_contiguous())
        return tensor

    def moved(tensor: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        asked.append((device.type, non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pinned)
    monkeypatch.setattr(torch.Tensor, "to", moved)
    assert to_device(window, torch.device("cuda")).tolist() == window.tolist()
    assert asked == [True, ("cuda", True)]


def test_rows_of_the_log_are_put_together_when_a_line_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then nothing goes to the device; and what a checkpoint keeps of them comes back the same."""
    world = World(0, 1, torch.device("cpu"))
    about = About("test", "key", 2, DomainSet(["a", "b"]), "dro", ("weights", "scores"), 8, [10, 10])
    log = TrainingLog(tmp_path, about, world, Silent())
    columns = {name: torch.full((2,), number + 0.5) for number, name in enumerate(log.writer.columns)}
    with monkeypatch.context() as patch:
        patch.setattr(torch, "tensor", lambda *_, **__: pytest.fail("a number of the host was sent"))
        for step in (1, 2):
            log.row(step, 0.1 * step, torch.ones(()), columns)
    kept = log.finite_rows()
    assert kept.dtype == torch.float64
    assert kept[:, :3].tolist() == [[1.0, 0.1, 1.0], [2.0, 0.2, 1.0]]
    assert kept[1, 3:].tolist() == [value for name in log.writer.columns for value in columns[name].tolist()]
    log.put_back(kept)
    assert torch.equal(log.finite_rows(), kept)
    log.put_back(None)
    assert log.pending == []


# -- any objective ---------------------------------------------------------------------------------------------------


class Fixed:
    """An objective that the package does not know: domains count by weights given beforehand."""

    scoring = None
    weighs_ahead = True
    scores_clipped_excess = False
    logs = ("weights",)

    def __init__(self, *weights: float) -> None:
        self.weights_K = torch.tensor(weights, dtype=torch.float64)

    def columns(self) -> dict[str, torch.Tensor]:
        return {"weights": self.weights_K}

    def token_weights(self, count_K: torch.Tensor) -> torch.Tensor:
        return self.weights_K / count_K.clamp(min=1)

    @property
    def average_weights(self) -> torch.Tensor:
        return self.weights_K

    def state_dict(self) -> dict[str, Any]:
        return {"weights_K": self.weights_K, "from": "outside"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["from"] == "outside"
        self.weights_K = state["weights_K"]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("objectives")
    config = tiny_config(root, write_corpus(root / "text"))
    with open_workspace(config, World(0, 1, torch.device("cpu")), Silent()) as opened:
        settle(opened, prepare(opened), this_host())
        yield opened


def spec_of(space: Workspace) -> TrainingSpec:
    """The training of the run's reference, on a uniform mixture."""
    plan = plan_now(space, space.directory.whole_corpus())
    spec = plan.node("doremi/reference/seed-0").spec
    assert isinstance(spec, TrainingSpec)
    return replace(spec, weights=(1 / 3, 1 / 3, 1 / 3))


def job_of(space: Workspace, name: str, objective: Objective, reference: LiveReference | None = None) -> Job:
    (space.root / name).mkdir(exist_ok=True)
    return make_job(
        space.directory.whole_corpus(), space.root / name, spec_of(space), space.world, name=name,
        objective=(name, objective), reference=reference,
    )  # fmt: skip


def plain_job(space: Workspace, spec: TrainingSpec) -> Job:
    corpus = space.directory.whole_corpus()
    return make_job(
        corpus, space.root / "plain", spec, space.world, name="plain", objective=("plain", PlainObjective())
    )


def live(space: Workspace) -> LiveReference:
    spec = spec_of(space)
    model = fresh_model(space.directory.whole_corpus(), spec, 1, space.world)
    return LiveReference(model, model)


def test_first_weights_are_as_wide_as_told(space: Workspace) -> None:
    """Matrices are a multiple of the architecture's own, as if that had a wider spread; vectors stay."""
    spec = spec_of(space)
    wide = replace(spec, settings=spec.settings.model_copy(update={"initial_spread": 2.0}))
    described = {**spec.description, "initializer_range": 0.04}
    usual, twice, own = (
        dict(plain_job(space, one).model.lm.named_parameters())
        for one in (spec, wide, replace(spec, model=canonical(described)))
    )
    for name, parameter in usual.items():
        assert torch.equal(twice[name], parameter * (2 if parameter.ndim >= 2 else 1))
        assert torch.equal(twice[name], own[name])


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, list(range(1, 21))), (1e9, [20])])
def test_auto_saves_when_the_clock_says_and_at_the_end(
    seconds: float, expected: list[int], space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, saved, save = spec_of(space), [], Trainer.save
    monkeypatch.setattr(save_times, "SECONDS", seconds)
    monkeypatch.setattr(Trainer, "save", lambda trainer, step: (saved.append(step), save(trainer, step)))
    settings = spec.settings.model_copy(update={"checkpoint_every": "auto"})
    job = replace(plain_job(space, replace(spec, settings=settings)), folder=tmp_path)
    assert train(job, space.world, Silent()) == 20
    assert saved == expected


def test_an_objective_from_outside_is_trained_logged_and_resumed(space: Workspace) -> None:
    with pytest.raises(Interrupted):
        train(job_of(space, "fixed", Fixed(0.5, 0.3, 0.2)), space.world, Silent(stop_after=12))
    resumed = Fixed(0.0, 0.0, 0.0)  # its weights come from the checkpoint
    assert train(job_of(space, "fixed", resumed), space.world, Silent()) == 20
    folder = TrainingFolder(space.root / "fixed")
    trace, record = folder.trace(), list(folder.records("train"))[-1]
    assert trace["weights"].tolist() == np.float32([[0.5, 0.3, 0.2]] * 20).tolist()
    assert all(np.isnan(trace[name]).all() for name in ("scores", "score_error", "reference_loss"))
    assert (record["weights"], record["scores"], record["average_weights"]) == ([0.5, 0.3, 0.2], None, [0.5, 0.3, 0.2])


def test_a_gradient_counts_tokens_as_the_objective_says(space: Workspace) -> None:
    """With all the weight on one domain it is that domain's alone: the others' text does not matter."""
    job = job_of(space, "one", Fixed(0.0, 1.0, 0.0))
    trainer = Trainer(job, space.world, Silent())
    batch = DeviceBatch.of(job.stream.micro_batches(0)[0], space.world.device)
    trainer.forward_backward([batch])
    norm = float(trainer.optimizer_step(1))
    other = Trainer(job_of(space, "one", Fixed(0.0, 1.0, 0.0)), space.world, Silent())
    changed = replace(batch, label_BT=torch.where(batch.domain_B[:, None] == 1, batch.label_BT, 7))
    assert not torch.equal(changed.label_BT, batch.label_BT)
    other.forward_backward([changed])
    assert float(other.optimizer_step(1)) == pytest.approx(norm, rel=FLOAT32)
    assert norm > 0


@pytest.mark.parametrize("lagged", [False, True])
def test_a_proxy_whose_losses_are_no_numbers_ends_by_name(space: Workspace, lagged: bool) -> None:
    objective = Reweighting(GroupDRO(3), weighs_ahead=lagged, scores_clipped_excess=True)
    job = job_of(space, f"bad {lagged}", objective, live(space))
    next(job.model.parameters()).data.fill_(math.nan)
    before = objective.scoring.state
    says = r"bad .*: at step 1 the loss of domain 'prose' is not finite \(and of 2 more\)\. .* \(now 0\.005\)"
    with pytest.raises(TrainingError, match=says):
        train(job, space.world, Silent())
    assert objective.scoring.state is before


def test_a_reference_comes_with_an_objective_that_scores_and_no_other(space: Workspace) -> None:
    with pytest.raises(ValueError, match="only there"):
        job_of(space, "plain", PlainObjective(), live(space))
    with pytest.raises(ValueError, match="only there"):
        job_of(space, "none", Reweighting(GroupDRO(3), weighs_ahead=False, scores_clipped_excess=True))
