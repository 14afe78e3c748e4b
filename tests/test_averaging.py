"""The mean of late weights: which steps it is of, that it is what is judged and saved, and exact resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from doremi.config import TrainingConfig
from doremi.distributed import World
from doremi.errors import Interrupted
from doremi.objectives.plain import PlainObjective
from doremi.pipeline.drive import plan_now
from doremi.pipeline.preparing import prepare
from doremi.pipeline.trainings import make_job
from doremi.pipeline.workspace import Workspace, open_workspace
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.specs import TrainingSpec
from doremi.training.averaging import LateAverage
from doremi.training.loop import DeviceBatch, Job, Trainer, train
from tiny import Silent, tiny_config, write_corpus
from tolerances import FLOAT32

STEPS, LATE = 20, 6  # 0.3 of them


def test_the_mean_is_of_the_last_steps_and_of_no_other() -> None:
    """Ten steps, the last three of them late; the weight after each step is its number."""
    module = nn.Linear(1, 1)
    average = LateAverage(module, TrainingConfig(steps=10, average=0.25))
    for step in range(1, 11):
        nn.init.constant_(module.weight, step)
        average.see(step)
    average.put(10)
    assert module.weight.item() == pytest.approx(9.0, rel=FLOAT32)


def test_without_late_steps_the_last_weights_stay() -> None:
    module = nn.Linear(1, 1)
    for share, ended in ((0.0, 10), (0.25, 7)):  # nothing asked for; ended before the late steps
        average = LateAverage(module, TrainingConfig(steps=10, average=share))
        nn.init.constant_(module.weight, 5)
        average.see(ended)
        average.put(ended)
        assert module.weight.item() == 5
    assert LateAverage(module, TrainingConfig()).tensors() == {}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("late")
    config = tiny_config(folder, write_corpus(folder / "text"), training={"average": LATE / STEPS})
    with open_workspace(config, World(0, 1, torch.device("cpu")), Silent()) as made:
        prepare(made)
        return made


def job_of(space: Workspace, name: str) -> Job:
    corpus = space.directory.whole_corpus()
    spec = plan_now(space, corpus).node("doremi/reference/seed-0").spec
    assert isinstance(spec, TrainingSpec)
    folder = space.root / name
    folder.mkdir(exist_ok=True)
    return make_job(corpus, folder, spec, space.world, name=name, objective=("plain", PlainObjective()))


def weights(job: Job) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in job.model.parameters()])


def test_the_trained_model_has_the_mean(space: Workspace) -> None:
    by_hand = job_of(space, "by hand")
    trainer, late = Trainer(by_hand, space.world, Silent()), []
    for step in range(1, STEPS + 1):
        trainer.forward_backward(
            [DeviceBatch.of(b, space.world.device) for b in by_hand.stream.micro_batches(step - 1)]
        )
        trainer.optimizer_step(step)
        late = [*late, weights(by_hand).clone()][-LATE:]
    job = job_of(space, "whole")
    train(job, space.world, Silent())
    torch.testing.assert_close(weights(job), torch.stack(late).mean(dim=0), rtol=FLOAT32, atol=FLOAT32)
    assert not torch.allclose(weights(job), late[-1], rtol=FLOAT32, atol=FLOAT32)
    assert documents(job.folder) == pytest.approx(job.validation.nats(job.model.eval(), space.world), rel=FLOAT32)


def documents(folder: Path) -> np.ndarray:
    return TrainingFolder(folder).document_nats()


@pytest.mark.parametrize("stop", [10, 17])
def test_an_interrupted_training_has_the_same_mean_to_the_bit(space: Workspace, stop: int) -> None:
    """Stopped before the late steps, and within them."""
    whole = job_of(space, f"uninterrupted {stop}")
    train(whole, space.world, Silent())
    first = job_of(space, f"stopped {stop}")
    with pytest.raises(Interrupted):
        train(first, space.world, Silent(stop_after=stop))
    again = job_of(space, f"stopped {stop}")
    train(again, space.world, Silent())
    assert torch.equal(weights(again), weights(whole))
    assert documents(again.folder).tolist() == documents(whole.folder).tolist()


def test_a_finished_training_that_is_judged_again_is_judged_alike(space: Workspace) -> None:
    """Its last checkpoint has the last weights and the mean; the evaluation may have been lost."""
    job = job_of(space, "finished")
    train(job, space.world, Silent())
    before = documents(job.folder).tolist()
    (job.folder / "evaluation.documents.f64").unlink()
    train(job, space.world, Silent())
    assert documents(job.folder).tolist() == before
