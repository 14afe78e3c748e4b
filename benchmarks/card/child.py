"""One training, or the scoring of a corpus, in a process that warms up and measures when it is told to.

`cases.py` starts it with the package that is to be measured, and writes orders to it, a JSON object a line:
{"warm": true}, then {"measure": SECONDS, "profile": STEPS} any number of times. It answers with objects too. So several
wait side by side until it is their turn, and the compiler's work is done for all at once.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from kernels import Seen, seen
from torch.profiler import ProfilerActivity, profile

import steps
from doremi.config import TrainingConfig
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.errors import Interrupted
from doremi.events.event import Event, Stepped
from doremi.events.stream import Watch
from doremi.model import operations
from doremi.model.build import TokenLosses, build, count_parameters
from doremi.model.presets import shape
from doremi.rundir import costs
from doremi.training import loop
from doremi.training.reference_losses import write_store

LOG_EVERY = 10  # steps between lines of metrics.jsonl, as `training.log_every` has it: there the host waits
AFTER_A_WAIT = (1, 2)  # steps after such a line in which the host is held up by nothing but itself
STEPS = 10**7  # more than are made


def answer(**values: object) -> None:
    print(json.dumps(values), flush=True)


def order() -> dict[str, Any] | None:
    """The next order; None for an empty one, and where nobody gives any more: to end."""
    line = sys.stdin.readline()
    return (json.loads(line) if line.strip() else None) or None


def wait_for_the_card(device: torch.device) -> float:
    """The time when all that was asked of it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Paced(Watch):
    """A watch that measures a real training between two of its steps."""

    def __init__(self, model: TokenLosses, tokens: int, warm_up: int) -> None:
        """`tokens` are those of a step; before `warm_up` steps nothing is measured."""
        self.model, self.device, self.tokens, self.warm_up = model, steps.WORLD.device, tokens, warm_up
        self.stopping, self.step, self.work = False, 0, self._work()

    def emit(self, event: Event) -> None:
        if isinstance(event, Stepped):
            self.step = event.step
            next(self.work)

    def stop_requested(self) -> bool:
        return self.stopping

    def _work(self) -> Iterator[None]:
        """Goes on after each step."""
        began = time.perf_counter()
        for _ in range(self.warm_up):
            yield
        ended = wait_for_the_card(self.device)
        answer(answer="ready", warm_up_seconds=round(ended - began, 2), **memory(self.device))
        while (asked := order()) is not None:
            yield from self._measured(asked["measure"], asked.get("profile", 0))
        self.stopping = True
        while True:
            yield

    def _measured(self, seconds: float, profiled: int) -> Iterator[None]:
        while self.step % LOG_EVERY:
            yield
        host, began = [], wait_for_the_card(self.device)
        last, first = began, self.step
        while last - began < seconds or self.step % LOG_EVERY or self.step == first:
            yield
            now = time.perf_counter()
            if self.step % LOG_EVERY in AFTER_A_WAIT:
                host.append(now - last)
            last = now
        number = self.step - first
        each = (wait_for_the_card(self.device) - began) / number
        answer(
            answer="measured", tokens_per_second=self.tokens / each, milliseconds=1000 * each, steps=number,
            host_milliseconds=1000 * statistics.median(host), **memory(self.device), **alarms(self.model),
        )  # fmt: skip
        if profiled:
            yield from self._profiled(profiled, each)

    def _profiled(self, number: int, each: float) -> Iterator[None]:
        """What the card does in `number` steps; its idle share is of steps that nobody watched."""
        on_card = [ProfilerActivity.CUDA] if self.device.type == "cuda" else []
        with profile(activities=[ProfilerActivity.CPU, *on_card], acc_events=True) as profiler:
            for _ in range(number):
                yield
            wait_for_the_card(self.device)
        events = profiler.events()
        found = seen(list(events) if events is not None else [])
        answer(answer="profiled", **on_the_card(found, number, each))
        tell(found, number, profiler)


def alarms(model: TokenLosses) -> dict[str, float]:
    """What should be 0: passes that nobody compiled, CUDA graphs that could not be made. The package of before
    counts neither."""
    eager: Any = getattr(model, "eager_calls", None)
    found = {} if eager is None else {"eager_passes": float(eager)}
    skipped = getattr(sys.modules.get("doremi.training.compiling"), "graphs_skipped", None)
    return {**found, "graphs_skipped": float(skipped())} if skipped is not None else found


def on_the_card(found: Seen, number: int, each: float) -> dict[str, float]:
    """Of one step that takes `each` seconds."""
    if not found.kernels:
        return {}
    busy = found.busy / 1e6 / number
    return {
        "device_milliseconds": 1000 * busy,
        "idle_share": max(0.0, 1 - busy / each),
        "kernels": found.kernels / number,
        "copies": found.copies / number,
        "launches": found.launches / number,
    }


def tell(found: Seen, number: int, profiler: profile) -> None:
    """The longest kernels and operators, for whoever reads the log."""
    for name, spent, count in found.longest:
        print(f"{spent / number / 1000:8.3f} ms  {count / number:6.1f} times a step  {name[:110]}")
    table = profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=48)
    for line in table.splitlines():
        print(line[:110])
    sys.stdout.flush()


def memory(device: torch.device) -> dict[str, float]:
    if device.type != "cuda":
        return {}
    return {"peak_gib": torch.cuda.max_memory_allocated() / 2**30}


def set_constants(constants: dict[str, object]) -> None:
    """Module constants by dotted name; `AttributeError` for one that is not there."""
    for name, value in constants.items():
        module, _, attribute = name.rpartition(".")
        found = importlib.import_module(module)
        getattr(found, attribute)
        setattr(found, attribute, value)


def scoring_rows(settings: TrainingConfig, module: TokenLosses, device: torch.device) -> int:
    """Sequences in a pass of scoring, and as many logits at once, as `keep_losses` has them.

    The package of before knows one number of sequences for all devices.
    """
    rows: Any = costs.losses_rows
    if len(inspect.signature(rows).parameters) == 1:
        return rows(settings)
    memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
    if memory is not None:
        room = importlib.import_module("doremi.model.room")
        module.logits_bytes = room.scoring_room(memory, count_parameters(module)[1])
    return rows(settings, steps.LENGTH, memory)


def training(arguments: argparse.Namespace, folder: Path) -> None:
    """A training through the real loop, on random tokens."""
    trainer = steps.make_trainer(
        folder, arguments.preset, scored=arguments.scored, compiled=arguments.compile, precision=arguments.precision
    )
    settings = trainer.settings.model_copy(update={"steps": STEPS, "log_every": LOG_EVERY})
    job = replace(trainer.job, settings=settings)
    del trainer
    needed = operations.of_model(shape(arguments.preset, None, {}), steps.VOCAB, steps.LENGTH).training
    answer(answer="loaded", operations_a_token=(needed or 0) / steps.LENGTH)
    order()
    with contextlib.suppress(Interrupted):
        loop.train(job, steps.WORLD, Paced(job.model, arguments.rows * arguments.length, arguments.warm_up))


def scoring(arguments: argparse.Namespace, folder: Path) -> None:
    """The losses of a model on a corpus, written as for a proxy: its smallest domain warms up, three more count."""
    device, corpus = steps.WORLD.device, Corpus.read(arguments.corpus)
    module = TokenLosses(build(shape(arguments.preset, None, {}), steps.VOCAB, steps.LENGTH, 0), steps.LENGTH)
    module = module.eval().to(device)
    settings = TrainingConfig(batch_size=arguments.rows, precision=arguments.precision, compile=arguments.compile)
    rows = scoring_rows(settings, module, device)
    forward = loop.forward_pass(module, settings, device)
    by_size = sorted(corpus.domains, key=lambda name: corpus.entries[name].train.tokens)
    answer(answer="loaded")
    order()

    def written(names: list[str]) -> tuple[int, float]:
        part = replace(corpus, entries={name: corpus.entries[name] for name in names})
        began = wait_for_the_card(device)
        place = folder / str(len(names))
        place.mkdir()
        write_store(place, part, steps.LENGTH, "none", forward, steps.WORLD, rows)
        return sum(part.count("train", "tokens")), wait_for_the_card(device) - began

    _, seconds = written(by_size[:1])
    answer(answer="ready", warm_up_seconds=round(seconds, 2), **memory(device))
    if order() is not None:
        tokens, seconds = written(by_size[1:4])
        answer(answer="measured", tokens_per_second=tokens / seconds, steps=0, **memory(device))


def ceiling(_: argparse.Namespace, folder: Path) -> None:
    """What the card does at best: one large product, one large copy."""
    gpu, device = importlib.import_module("gpu"), steps.WORLD.device
    large = device.type == "cuda"
    answer(answer="loaded")
    order()
    answer(answer="ready", warm_up_seconds=0.0)
    if order() is not None:
        product = gpu.matrix_rate(8192 if large else 64, device)
        copied = gpu.bandwidth(2**30 if large else 2**20, device)
        answer(answer="measured", operations_per_second=product, bytes_per_second=copied, steps=0)


KINDS = {"training": training, "scoring": scoring, "ceiling": ceiling}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--preset", default="0.3m")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--rows", type=int, default=132)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--scored", choices=["", "live", "stored"], default="")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--constants", type=json.loads, default={}, help="JSON: dotted name of a constant to its value")
    parser.add_argument("--deterministic", action="store_true", help="only kernels that give the same bits again")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--warm-up", type=int, default=20, help="steps before anything is measured")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nobody reads it
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    set_constants(arguments.constants)
    steps.WORLD = World(0, 1, device)
    steps.VOCAB, steps.LENGTH, steps.BATCH = arguments.vocabulary, arguments.length, arguments.rows
    with tempfile.TemporaryDirectory() as folder:
        KINDS[arguments.kind](arguments, Path(folder))


if __name__ == "__main__":
    main()
