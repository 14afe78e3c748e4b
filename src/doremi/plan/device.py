"""What a device must hold in each stage, by arithmetic, in words."""

from __future__ import annotations

from doremi.config import RunConfig
from doremi.files import size_in_words
from doremi.rundir.at_once import on_device, on_host, training_bytes
from doremi.rundir.costs import micro_batch_rows
from doremi.rundir.graph import Graph
from doremi.rundir.node import Node
from doremi.rundir.specs import TrainingSpec


def lines(config: RunConfig, graph: Graph) -> list[str]:
    """One line a role and size of trainings; nothing of what cannot be counted."""
    stages: dict[tuple[str, str], Node] = {}
    for node in graph.nodes:
        if isinstance(node.spec or node.draft, TrainingSpec):
            stages.setdefault((node.role, node.size), node)
    found = ((f"{role} {size}".strip(), _line(config, graph, node)) for (role, size), node in stages.items())
    return [f"{name}: {line}" for name, line in found if line]


def _line(config: RunConfig, graph: Graph, node: Node) -> str:
    spec, machine = node.spec or node.draft, graph.known.machine
    assert isinstance(spec, TrainingSpec)
    if machine is None or machine.device == "cpu":
        total = training_bytes(config, graph, node)
        return f"about {size_in_words(total)}" if total else ""
    held = on_device(config, graph, node)
    if held is None:
        return ""
    rows = max(1, micro_batch_rows(spec.settings) // machine.processes)
    frozen = f", reference {size_in_words(held.frozen)}" if held.frozen else ""
    again = "" if spec.settings.recompute == "none" else f", {spec.settings.recompute} computed again"
    copy = on_host(config, graph, node)
    host = f". While it saves, {size_in_words(copy)} of the host's memory" if copy else ""
    return (
        f"about {size_in_words(held.total)}. Parameters, gradients and optimiser {size_in_words(held.state)}, "
        f"activations of {rows} sequences {size_in_words(held.activations)}{again}, logits at least "
        f"{size_in_words(held.logits)}{frozen}{host}"
    )
