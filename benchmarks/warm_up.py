"""What the compiler is given by the depth of a model: as a whole, and block by block. With --time, how long it takes.

    python benchmarks/warm_up.py [--layers 2 8 24] [--time] [--precision bfloat16]

Of the width of the 0.3m preset: a training step and an evaluation. Operations of graphs are counted without compiling
them. With --time each case is a process of its own with an empty cache, compiled in one process. It tells the seconds
of the first step, the median of later ones, and of both the seconds of the processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from doremi.config import TrainingConfig
from doremi.model import losses
from doremi.model.build import TokenLosses, build, eval_mode
from doremi.model.presets import shape
from doremi.training import compiling
from doremi.training.loop import forward_pass
from figures import figure

WIDTH_OF, VOCAB, LENGTH, BATCH, STEPS = "0.3m", 4096, 128, 16, 7
WAYS = ("whole", "blocks")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def passes(way: str, layers: int, precision: str) -> Callable[[], None]:
    """A step's passes of a new model; the first time an evaluation too."""
    compiling.WHOLE_LAYERS, compiling.BLOCKS_ON = (0 if way == "blocks" else layers), ("cuda", "cpu")
    torch.manual_seed(0)
    lm = build({**shape(WIDTH_OF, None, {}), "num_hidden_layers": layers}, VOCAB, LENGTH, 0)
    model = TokenLosses(lm, LENGTH).to(DEVICE)
    settings = TrainingConfig(precision="bfloat16" if precision == "bfloat16" else "float32", compile=True)
    forward = forward_pass(model, settings, DEVICE)
    tokens_BT = torch.randint(VOCAB, (BATCH, LENGTH), device=DEVICE)
    first = [True]

    def step() -> None:
        forward(tokens_BT, tokens_BT).mean().backward()
        if first.pop() if first else False:
            with eval_mode(model), torch.no_grad():
                forward(tokens_BT, tokens_BT)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return step


def count(way: str, layers: int, precision: str) -> None:
    """Graphs, and their operations."""
    sizes: list[int] = []

    def given(graph: Any, _: list[Tensor]) -> Any:
        sizes.append(sum(node.op.startswith("call") for node in graph.graph.nodes))
        return graph.forward

    right, torch.compile = torch.compile, partial(torch.compile, backend=given)  # type: ignore[assignment]
    torch.compiler.reset()
    losses._called.cache_clear()
    passes(way, layers, precision)()
    torch.compile = right
    figure("compiled_operations", sum(sizes), "operations", digits=0, way=way, layers=layers, graphs=len(sizes))


def measure(way: str, layers: int, precision: str) -> None:
    """In a process of its own: prints its figures."""
    step, seconds, busy = passes(way, layers, precision), [], []
    for _ in range(STEPS):
        start, used = time.perf_counter(), sum(os.times()[:4])
        step()
        seconds.append(time.perf_counter() - start)
        busy.append(sum(os.times()[:4]) - used)
    about = {"way": way, "layers": layers, "precision": precision}
    figure("compiler_warm_up", seconds[0], "s", digits=1, processor=round(busy[0], 1), **about)
    later, work = (1000 * statistics.median(each[2:]) for each in (seconds, busy))
    figure("compiled_step", later, "ms", digits=1, processor=round(work, 1), **about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 8, 24])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--time", action="store_true", help="compile, and measure")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        measure(arguments.case, arguments.layers[0], arguments.precision)
        return
    for layers in arguments.layers:
        for way in WAYS:
            if not arguments.time:
                count(way, layers, arguments.precision)
                continue
            words = [sys.executable, __file__, "--case", way, "--layers", str(layers)]
            with tempfile.TemporaryDirectory() as cache:
                one = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": cache}
                environment = {**os.environ, **one}
                subprocess.run([*words, "--precision", arguments.precision], env=environment, check=True)


if __name__ == "__main__":
    main()
