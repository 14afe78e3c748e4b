"""A training step on a GPU: its rate, its share of what the card's matrix units do, and what holds it up.

    python benchmarks/gpu.py [--batch 32] [--steps 30]

At the 120M shape (preset 280m, 12 layers x 768, with a vocabulary of 50,304; length 1024), bfloat16, compiled: tokens
a second of a plain step and of DRO steps with stored and with live reference losses; matrix operations of the plain
step over the measured bfloat16 rate of one large product; a roofline; the kernels that take longest; breaks of the
graph with their reasons and graphs compiled after the warm-up; how often a step makes the host wait for the device;
and the loss from all logits beside the one in chunks. Operations are counted with the full T x T of attention, of which
a causal kernel does half, and with nothing for what is computed twice (chunks of the loss). Without a GPU the same
program runs on the CPU at a tiny size and says so: its figures then mean nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch._dynamo.utils import counters

import steps
from doremi.distributed import World
from doremi.model import build as models
from doremi.model import losses as ways
from doremi.model import operations
from doremi.model.build import CHUNK_TOKENS
from doremi.model.presets import PRESETS, shape
from figures import figure
from step_profile import profiled
from steps import one_step


@dataclass(frozen=True)
class Size:
    preset: str
    vocabulary: int
    length: int
    batch: int
    product: int
    """Rows and columns of the matrices whose product measures the card."""
    copied: int
    """Bytes of the copy that measures its memory."""
    warm_up: int = 5
    """Steps before anything is measured."""


def seconds_each(work: Callable[[], object], repeats: int, device: torch.device, group: int = 1) -> list[float]:
    """Seconds of one `work`, from groups between which the host waits for the device."""
    seconds = []
    for _ in range(max(1, repeats // group)):
        start = time.perf_counter()
        for _ in range(group):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append((time.perf_counter() - start) / group)
    return seconds


def matrix_rate(size: int, device: torch.device) -> float:
    """Operations a second of one large bfloat16 product."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds_each(lambda: a @ b, 5, device)
    return 2 * size**3 / statistics.median(seconds_each(lambda: a @ b, 50, device, group=10))


def bandwidth(size: int, device: torch.device) -> float:
    """Bytes a second of one large copy, read and written."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds_each(lambda: target.copy_(source), 3, device)
    return 2 * size / statistics.median(seconds_each(lambda: target.copy_(source), 20, device, group=5))


def roofline(operations_a_step: float, parameters: int, card: float, memory: float) -> None:
    """What the card would need for the step's matrix operations alone, and for passing over weights and optimiser.

    AdamW reads weight, gradient and two moments and writes all but the gradient; forward and backward read the weights
    and write the gradient: ten passes of float32. Activations come on top, and are not counted.
    """
    least = 10 * 4 * parameters
    print(
        f"roofline: {operations_a_step / 1e12:.3f} TFLOP a step take at least {1000 * operations_a_step / card:.2f} ms "
        f"(full T x T of attention counted); {least / 1e9:.3f} GB of weights and optimiser take at least "
        f"{1000 * least / memory:.2f} ms; above {card / memory:.0f} operations a byte products decide, below it memory"
    )


def top_kernels(step: Callable[[], object], device: torch.device) -> None:
    """The kernels (on a CPU: operators) of three steps that take longest."""
    by = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(profiled(step, 3).key_averages().table(sort_by=by, row_limit=12, max_name_column_width=60))


def losses(size: Size, device: torch.device) -> None:
    """Seconds of head and loss with gradients, from all logits and in chunks, as they are under autocast."""
    width = PRESETS[size.preset].get("n_embd") or PRESETS[size.preset]["hidden_size"]
    tokens = size.batch * size.length
    head = torch.nn.Linear(width, size.vocabulary, bias=False, device=device)
    hidden_ND = torch.randn(tokens, width, device=device, requires_grad=True)
    label_N, weight_N = torch.randint(size.vocabulary, (tokens,), device=device), torch.rand(tokens, device=device)
    for name, way in (("plain", ways.plain_losses), ("chunks", partial(ways.linear_losses, chunk=CHUNK_TOKENS))):
        called = torch.compile(way, dynamic=False)

        def work(called: Callable[..., torch.Tensor] = called) -> None:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss_N = called(hidden_ND, head, label_N)
            (weight_N * loss_N).sum().backward()

        try:
            seconds_each(work, 2, device)
            figure(f"gpu_loss_{name}", 1000 * statistics.median(seconds_each(work, 10, device, group=2)), "ms")
        except torch.OutOfMemoryError:
            print(f"not run: gpu_loss_{name}: {tokens * size.vocabulary * 4 / 2**30:.1f} GiB of logits do not fit")


def waits(work: Callable[[], object], device: torch.device) -> int:
    """How often one `work` makes the host wait for the device."""
    if device.type != "cuda":
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def measure(name: str, scored: str, size: Size, folder: Path, repeats: int) -> float:
    """Figures of one kind of step; its tokens a second."""
    device = steps.WORLD.device
    torch.compiler.reset()
    counters.clear()
    trainer = steps.make_trainer(folder, size.preset, scored=scored, compiled=True, precision="bfloat16")
    step = partial(one_step, trainer, [0])
    seconds_each(step, size.warm_up, device)
    graphs = counters["stats"]["unique_graphs"]
    seconds = seconds_each(step, repeats, device, group=max(1, repeats // 5))
    tokens = size.batch * size.length
    rate = tokens / statistics.median(seconds)
    spread = {"low": round(tokens / max(seconds)), "high": round(tokens / min(seconds))}
    figure(f"gpu_{name}_tokens_per_second", rate, "tokens/s", **spread)
    for reason, count in counters["graph_break"].items():
        print(f"  {count} breaks of the graph: {' '.join(reason.split())[:150]}")
    figure(f"gpu_{name}_graph_breaks", sum(counters["graph_break"].values()), "breaks")
    figure(f"gpu_{name}_recompiles", counters["stats"]["unique_graphs"] - graphs, "graphs")
    figure(f"gpu_{name}_host_waits_per_step", waits(step, device), "waits")
    if not scored:
        top_kernels(step, device)
    if device.type == "cuda":
        figure(f"gpu_{name}_peak_memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
        torch.cuda.reset_peak_memory_stats()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="sequences of 1024 tokens (default 32)")
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = Size("280m", 50_304, 1024, arguments.batch, 8192, 2**30)
    if device.type == "cpu":
        print("no GPU here: a tiny size on the CPU, to show that the program runs; the figures mean nothing")
        size, arguments.steps = Size("0.1m", 256, 1024, 1, 64, 2**20, warm_up=2), 2
        models.LOGITS_LIMIT_BYTES = 0  # as at the real size, where logits do not fit
        torch.compile = partial(torch.compile, backend="aot_eager")  # graphs as on a GPU, without minutes of C++
    else:
        print(torch.cuda.get_device_name())
    steps.WORLD = World(0, 1, device)
    steps.VOCAB, steps.LENGTH, steps.BATCH, steps.DOMAINS = size.vocabulary, size.length, size.batch, 8
    card = matrix_rate(size.product, device)
    memory = bandwidth(size.copied, device)
    figure("gpu_matrix_rate", card / 1e12, "TFLOP/s")
    figure("gpu_copy_bandwidth", memory / 1e9, "GB/s")
    with tempfile.TemporaryDirectory() as folder:
        plain = measure("plain_step", "", size, Path(folder), arguments.steps)
        needed = operations.of_model(shape(size.preset, None, {}), size.vocabulary, size.length).training
        figure("gpu_plain_step_share_of_matrix_rate", plain / size.length * needed / card, "share")
        with torch.device("meta"):
            lm = models.build(shape(size.preset, None, {}), size.vocabulary, size.length, 0)
        roofline(size.batch * needed, models.count_parameters(lm)[1], card, memory)
        for reference in ("stored", "live"):
            rate = measure(f"dro_{reference}_step", reference, size, Path(folder), arguments.steps)
            figure(f"gpu_dro_step_{reference}_over_plain", plain / rate, "ratio")
    losses(size, device)


if __name__ == "__main__":
    main()
