"""training.compile: true: the same answer as without it; each graph is compiled once for a whole tournament."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from doremi.distributed import World
from doremi.executors.choose import chosen
from doremi.mixture.domains import Mixture
from doremi.mixture.files import read_mixture
from doremi.pipeline.run import everything
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from tiny import Silent, tiny_config, write_corpus
from tolerances import SMALL_BATCH

WORLD = World(0, 1, torch.device("cpu"))


def mixture(root: Path, text: Path, *, compiled: bool) -> Mixture:
    """DoReMi's mixture of a tournament with two seeds of three candidates."""
    config = tiny_config(root, text, training={"compile": compiled}, candidates={"seeds": 2}, proxy={"seeds": 2})
    with open_workspace(config, WORLD, Silent()) as space:
        everything(space, chosen)
    return read_mixture(RunDirectory(config.root).mixture_path("doremi"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own
def test_compiled_trainings_share_their_graphs_and_agree_with_eager_ones(tmp_path: Path) -> None:
    text = write_corpus(tmp_path / "text")
    torch.compiler.reset()
    counters.clear()
    compiled = mixture(tmp_path / "compiled", text, compiled=True)
    graphs = counters["stats"]["unique_graphs"]
    assert 0 < graphs <= 3  # training, the live reference beside a proxy, evaluation; eight trainings use them
    assert not counters["graph_break"]
    eager = mixture(tmp_path / "eager", text, compiled=False)
    assert counters["stats"]["unique_graphs"] == graphs
    assert compiled.weights == pytest.approx(eager.weights, abs=SMALL_BATCH)
