"""Steps a second of small models: one with one thread, one with two, and two at once with one thread each.

    python benchmarks/at_once.py [--sizes 0.3m 1m 3m 10m] [--rounds 3]

Prints JSON lines for each size, as ratios of the same round: `two_threads_over_one`, and
`two_at_once_over_two_threads`, the steps of both together. Batches have 16 sequences of 128 tokens, the vocabulary is
2,048.
"""

from __future__ import annotations

import argparse
import statistics
import time
from multiprocessing.queues import SimpleQueue

import torch

from doremi.executors.early import context
from doremi.model.build import TokenLosses, build
from doremi.model.presets import shape
from doremi.training.memory import keep_freed_memory
from figures import figure

ROWS, TOKENS, VOCABULARY = 16, 128, 2048
SECONDS, WARM_UP = 4.0, 2


def rate(size: str, threads: int, answers: SimpleQueue[float]) -> None:
    """Steps a second of one model, in a process of its own."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    model = TokenLosses(build(shape(size, None, {}), VOCABULARY, TOKENS, 0, None), TOKENS)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    inputs, labels = (torch.randint(0, VOCABULARY, (ROWS, TOKENS)) for _ in range(2))
    done, began = -WARM_UP, time.monotonic()
    while done <= 0 or time.monotonic() - began < SECONDS:
        model(inputs, labels).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done += 1
        if done == 0:
            began = time.monotonic()
    answers.put(done / (time.monotonic() - began))


def together(size: str, threads: int, number: int) -> float:
    """Steps a second of so many at once, all together."""
    server = context()
    answers: SimpleQueue[float] = server.SimpleQueue()
    processes = [server.Process(target=rate, args=(size, threads, answers)) for _ in range(number)]
    for process in processes:
        process.start()
    rates = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["0.3m", "1m", "3m", "10m"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for size in arguments.sizes:
        threads, at_once = [], []
        for _ in range(arguments.rounds):
            one, two, both = together(size, 1, 1), together(size, 2, 1), together(size, 1, 2)
            threads.append(two / one)
            at_once.append(both / two)
        for name, values in (("two_threads_over_one", threads), ("two_at_once_over_two_threads", at_once)):
            middle = statistics.median(values)
            figure(name, middle, "ratio", digits=3, size=size, lowest=min(values), highest=max(values))


if __name__ == "__main__":
    main()
