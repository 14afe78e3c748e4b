"""How many trainings a run does at once: as many as make it end sooner, and as fit into the memory.

Two small trainings with one thread each do more steps a second than one with two threads: 1.33 times as many for a
0.3m model, 1.08 for 3m (two cores, `python benchmarks/at_once.py`). But a chain of trainings that wait for one
another has only one to do, which then should have all cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from doremi.config import RunConfig
from doremi.files import size_in_words
from doremi.rundir import costs
from doremi.rundir.context import Context
from doremi.rundir.graph import Graph, Method, graph
from doremi.rundir.known import Known
from doremi.rundir.machine import CPU_FLOPS_PER_CORE, Host, Machine
from doremi.rundir.memory import LESS, Held, Work, copied, held, logit_bytes
from doremi.rundir.node import Node
from doremi.rundir.schedule import Left
from doremi.rundir.specs import TrainingSpec

PARALLEL_SHARE = 0.8  # of a step that more threads make shorter: 0.7 (0.3m) to 0.9 (3m)
START_SECONDS = 6.0  # that a second process costs: it loads what the first has loaded, builds, warms up
PROCESS_BYTES, CUDA_PROCESS_BYTES = 400 * 10**6, 4 * 10**9  # of host memory, beside what a model takes
OPTIMIZER_BYTES = 16  # a parameter: itself, its gradient, two moments


@dataclass(frozen=True)
class Settled:
    """How a run is worked on."""

    at_once: int
    machine: Machine
    """The facts that are recorded: with the threads of each training."""
    warning: str | None = None
    """Where not even one training fits into the memory, as far as arithmetic can tell."""


def settled(
    config: RunConfig, known: Known, host: Host, methods: Mapping[str, Method], *, threads_stay: bool
) -> Settled:
    """What `workers` says; for `auto`, the number by which all that is left ends first.

    The threads of each training follow from it. Once one has begun they stay as recorded, for they are in the keys.
    """
    assert known.machine is not None
    threads = config.training.threads
    if threads == "auto":
        threads = known.machine.threads if threads_stay else None
    plan = graph(config, replace(known, assumed=True), methods)
    at_once = _auto(config, plan, host, threads) if config.workers == "auto" else config.workers
    warning = too_large(config, plan, host)
    if threads_stay:
        return Settled(at_once, known.machine, warning)
    memory = known.machine.device_memory
    if memory is not None:  # trainings that share a GPU share its memory
        memory //= -(-at_once // max(1, len(host.devices)))
    machine = replace(known.machine, threads=threads or _share(host, at_once), device_memory=memory)
    return Settled(at_once, machine, warning)


def _auto(config: RunConfig, plan: Graph, host: Host, threads: int | None) -> int:
    trainings = [node for node in plan.nodes if isinstance(node.spec or node.draft, TrainingSpec)]
    if not trainings:
        return 1
    most = len(host.devices) or host.cores // (threads or 1)
    most = max(1, min(most, len(trainings), _fitting(config, plan, host, trainings)))
    left = Left.of(plan, lambda node: True)
    time = {n: _seconds(left, host, n, threads or _share(host, n)) for n in range(1, most + 1)}
    return min(time, key=lambda n: (round(time[n], 3), n))  # of equals, the fewer


def _share(host: Host, at_once: int) -> int:
    share = max(1, host.cores // at_once)
    return share if host.cores_of_one is None else min(share, host.cores_of_one)


def _seconds(left: Left, host: Host, at_once: int, threads: int) -> float:
    """That all which is left takes, about."""
    slower = 1.0 if host.devices else 1 - PARALLEL_SHARE + PARALLEL_SHARE / threads

    def seconds(node: Node) -> float:
        return (node.cost.operations or 0) / CPU_FLOPS_PER_CORE * slower if node.cost else 0.0

    return left.makespan(at_once, seconds) + START_SECONDS * (at_once > 1)


# -- memory ------------------------------------------------------------------------------------------------------------


def training_bytes(config: RunConfig, plan: Graph, node: Node) -> int:
    """About the memory of a training beside that of its process."""
    context, spec = Context(config, plan.known), node.spec or node.draft
    counts = context.counts(node.size or None)
    if counts is None or not isinstance(spec, TrainingSpec):
        return 0
    machine = plan.known.machine
    if machine is not None and machine.device != "cpu":
        found = on_device(config, plan, node)
        return 0 if found is None else found.total
    rows = costs.micro_batch_rows(spec.settings)
    live = 4 * counts.parameters if spec.scoring is not None and spec.scoring.losses == "live" else 0
    return OPTIMIZER_BYTES * counts.parameters + live + rows * (counts.saved or 0)


def on_device(config: RunConfig, plan: Graph, node: Node) -> Held | None:
    """What each process of a training holds on its GPU; None where that cannot be counted."""
    context, spec, machine = Context(config, plan.known), node.spec or node.draft, plan.known.machine
    counts, corpus = context.counts(node.size or None), plan.known.corpus
    if counts is None or machine is None or corpus is None or not isinstance(spec, TrainingSpec):
        return None
    live = spec.scoring is not None and spec.scoring.losses == "live"
    work = Work(counts, logit_bytes(spec.sequence_length, corpus.tokenizer.vocab_size), live)
    return held(spec.settings, work, machine.processes)


def on_host(config: RunConfig, plan: Graph, node: Node) -> int:
    """Bytes that a process of a training on a GPU copies to its host's memory while it saves; 0 where it does not."""
    counts, machine, spec = (
        Context(config, plan.known).counts(node.size or None),
        plan.known.machine,
        node.spec or node.draft,
    )
    if counts is None or machine is None or not isinstance(spec, TrainingSpec):
        return 0
    return copied(spec.settings, machine, counts)


def too_large(config: RunConfig, plan: Graph, host: Host) -> str | None:
    """What to say where the largest training that is left does not fit into the memory it would have."""
    left = [node for node in plan.nodes if isinstance(node.spec or node.draft, TrainingSpec) and not plan.done(node)]
    largest = max(left, key=lambda node: training_bytes(config, plan, node), default=None)
    memory, where = (host.device_memory, "a GPU") if host.devices else (host.memory, "this machine")
    if largest is None or memory is None or (needs := training_bytes(config, plan, largest)) <= memory:
        return None
    return f"{largest.id} needs about {size_in_words(needs)} of memory, and {where} has {size_in_words(memory)}. {LESS}"


def _fitting(config: RunConfig, plan: Graph, host: Host, trainings: list[Node]) -> int:
    """How many of the largest fit into the host's memory; those of a GPU have it for themselves."""
    if host.devices:
        return max(1, host.memory // (CUDA_PROCESS_BYTES + max(on_host(config, plan, node) for node in trainings)))
    largest = max(training_bytes(config, plan, node) for node in trainings)
    return max(1, host.memory // (PROCESS_BYTES + largest))
