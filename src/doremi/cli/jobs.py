"""`doremi jobs`: what a run consists of, what is done, and what waits for what."""

from __future__ import annotations

from collections.abc import Collection

from doremi.config import RunConfig
from doremi.executors.parts import is_prepared
from doremi.pipeline.planning import as_it_is
from doremi.rundir.graph import Graph
from doremi.rundir.layout import RunDirectory
from doremi.rundir.locks import at_work
from doremi.rundir.node import Node


def jobs_table(config: RunConfig) -> str:
    """Every node: its state, its cost where it is counted, and where it lies."""
    directory = RunDirectory(config.root)
    plan, now = as_it_is(config, directory), at_work(directory.root)
    rows = [(node.id, state_of(plan, node, now), _operations(node), _place(plan, node)) for node in plan.nodes]
    width, said = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [f"{'job':<{width}}  {'state':<{said}}  {'operations':>10}  place"]
    lines += [f"{name:<{width}}  {state:<{said}}  {cost:>10}  {place}".rstrip() for name, state, cost, place in rows]
    work = plan.work()
    done = f"{sum(_is_done(plan, node) for node in work)} of {len(work)} pieces of work are done"
    return "\n".join([*lines, f"{done}. `doremi job CONFIG JOB` does one."])


def state_of(plan: Graph, node: Node, now: Collection[str] = ()) -> str:
    """done, running (its lock is held `now`), at which step, ready, or what it waits for; what it is the same as."""
    if _is_done(plan, node):
        twin = plan.twin(node)
        return f"done, is {twin.id}" if twin else "done"
    if twin := plan.twin(node):
        return f"is {twin.id}"
    step = plan.known.begun.get(node.place) if node.place else None
    if step or node.lock in now:
        return f"{'running' if node.lock in now else 'stopped'}{f', saved at step {step}' if step else ''}"
    left = plan.unfinished(node)
    if left:
        return f"waits for {left[0]}" + (" (if needed)" if node.optional else "")
    return "ready" if node.kind == "prepare" or plan.ready(node) else node.waits


def _is_done(plan: Graph, node: Node) -> bool:
    """Also the corpus may be there from another run, and still nothing of this one can begin before it is looked at."""
    return plan.done(node) and (node.kind != "prepare" or is_prepared(plan))


def _place(plan: Graph, node: Node) -> str:
    return node.place or "" if plan.key(node) else ""


def _operations(node: Node) -> str:
    return "" if node.cost is None or node.cost.operations is None else f"{node.cost.operations:.2e}"
