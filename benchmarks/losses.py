"""Time and peak memory of the ways to a per-token loss: all logits at once, PyTorch's operator, our own chunks.

    python benchmarks/losses.py [--tokens 2048] [--width 256] [--vocabularies 8192 50304 256000]

The operator is measured with chunks of 1,024 tokens, which is how we call it, and with those that it chooses itself
(where that does not take minutes).
Each way computes the losses of a batch alone (a reference model), and with the gradients that a weight of its own for
each token gives (a proxy). Times are interleaved medians in one process. Peak memory is what a fresh process needs
beyond the hidden states, the head and its gradient: the logits and all that is made of them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from doremi.model import losses as ways
from doremi.model.build import CHUNK_TOKENS
from doremi.training.memory import keep_freed_memory
from figures import figure, interleaved


def own_choice(hidden_ND: Tensor, head: nn.Linear, label_N: Tensor) -> Tensor:
    """PyTorch's operator with chunks of its own choice."""
    options = nn.LinearCrossEntropyOptions()  # without them it holds all logits
    return functional.linear_cross_entropy(hidden_ND, head.weight, label_N, reduction="none", options=options)


WAYS = {"plain": ways.plain_losses, "chunks": partial(ways.chunked_losses, chunk=CHUNK_TOKENS)}
if hasattr(functional, "linear_cross_entropy"):
    WAYS |= {"operator": partial(ways.operator_losses, chunk=CHUNK_TOKENS), "operator-own": own_choice}
OWN_UP_TO = 65_536  # entries: above, its own choice of chunks takes minutes
PASSES = ("forward", "gradients")
Case = tuple[int, int, int]  # tokens, width, vocabulary


def work(way: str, what: str, case: Case) -> Callable[[], object]:
    """One computation on random hidden states; its inputs exist before it starts."""
    tokens, width, vocabulary = case
    torch.manual_seed(0)
    head = nn.Linear(width, vocabulary, bias=False)
    hidden_ND, label_N, weight_N = torch.randn(tokens, width), torch.randint(vocabulary, (tokens,)), torch.rand(tokens)
    if what == "forward":
        return partial(without_gradient, WAYS[way], hidden_ND, head, label_N)
    hidden_ND.requires_grad_()
    (head.weight.sum() + hidden_ND.sum()).backward()  # makes the gradients, so that none of the ways counts them
    return lambda: (weight_N * WAYS[way](hidden_ND, head, label_N)).sum().backward()


@torch.no_grad()
def without_gradient(losses: Callable[[Tensor, nn.Linear, Tensor], Tensor], *arguments: object) -> Tensor:
    return losses(*arguments)  # type: ignore[arg-type]


def peak_bytes(way: str, what: str, case: Case) -> int:
    """What one computation adds to the resident memory of a fresh process."""
    words = [sys.executable, __file__, "--peak", way, what, *map(str, case)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def print_peak(way: str, what: str, case: Case) -> None:
    once = work(way, what, case)
    work(way, what, (64, 64, 512))()  # what every process loads on first use
    before = high_water()
    once()
    print(high_water() - before)


def high_water() -> int:
    """Largest resident memory of this process so far, bytes; `getrusage` would count the parent's too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def measure(case: Case, repeats: int) -> None:
    """One table's rows and their figures."""
    vocabulary = case[2]
    ways = [way for way in WAYS if way != "operator-own" or vocabulary <= OWN_UP_TO]
    for what in PASSES:
        seconds = interleaved({way: work(way, what, case) for way in ways}, repeats, warm_up=1)
        for way in ways:
            middle, peak = statistics.median(seconds[way]), peak_bytes(way, what, case)
            relative = middle / statistics.median(seconds["plain"])
            print(f"{vocabulary:>10,}  {what:<9}  {way:<12} {middle:7.3f} s  {relative:5.2f}  {peak / 2**20:8,.0f} MiB")
            name = f"loss_{what}_{way.replace('-', '_')}_{vocabulary}"
            figure(f"{name}_seconds", middle, "s", low=round(min(seconds[way]), 4), high=round(max(seconds[way]), 4))
            figure(f"{name}_peak", peak / 2**20, "MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[8192, 50304, 256_000])
    parser.add_argument("--peak", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        way, what, *case = arguments.peak
        print_peak(way, what, (int(case[0]), int(case[1]), int(case[2])))
        return
    keep_freed_memory()
    print(f"{arguments.tokens} tokens of width {arguments.width}, float32, {torch.get_num_threads()} threads")
    print("vocabulary  what       way             time    / plain   peak")
    for vocabulary in arguments.vocabularies:
        repeats = max(2, min(9, 250_000 // vocabulary))
        measure((arguments.tokens, arguments.width, vocabulary), repeats)


if __name__ == "__main__":
    main()
