"""How many held-out documents judge each size, and which models are still to be evaluated on them.

A training ends with an evaluation on the first documents (corpus/pool.py). When the first two seeds of the first two
candidates are there, they say whether that is enough. Where it is not, all models are evaluated on more, and nothing is
trained again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from doremi.corpus.pool import Part, first, whole
from doremi.corpus.value import Corpus
from doremi.rundir.context import Context
from doremi.rundir.known import Known
from doremi.rundir.node import Node
from doremi.rundir.specs import EvaluationSpec, PartSpec, TrainingSpec

JUDGES, SEEDS = 2, 2  # candidates, and seeds of each


def held_out(context: Context, nodes: Sequence[Node]) -> list[Node]:
    """Of each size: the node that judges, and the evaluations that follow from it."""
    made = []
    for size in context.config.size_names():
        mains = [node for node in nodes if node.is_final and node.size == size]
        longer = [node for node in nodes if node.role == "longer" and node.size == size]
        judge = _judge(context, size, mains)
        made += [judge] if judge is not None else []
        made += _evaluations(context, judge, [*mains, *longer])
    return made


def evaluated_on(known: Known, corpus: Corpus, key: str) -> Part:
    """The documents that a training is evaluated on at its end: of old ones all that is held out."""
    trained = known.trained.get(key)
    return first(corpus) if trained is None else trained.documents or whole(corpus)


def largest(parts: Sequence[Part]) -> Part:
    """The smallest part that holds them all."""
    return tuple(map(max, zip(*parts, strict=True)))


def _judge(context: Context, size: str, mains: Sequence[Node]) -> Node | None:
    """None where no two candidates have two seeds each: then nothing tells the noise."""
    by_name: dict[str, list[Node]] = {}
    for node in mains:
        by_name.setdefault(node.mixture, []).append(node)
    judges = _different([nodes[:SEEDS] for nodes in by_name.values() if len(nodes) >= SEEDS])[:JUDGES]
    if len(judges) < JUDGES:
        return None
    four = [node for nodes in judges for node in nodes]
    node = Node(f"{size}/validation", "validation", "validation", needs=tuple(n.id for n in four), size=size)
    keys = tuple(n.spec.key for n in four if isinstance(n.spec, TrainingSpec))
    natural = context.plain("natural", limits=False)
    if len(keys) < len(four) or natural is None:
        return replace(node, waits=f"waits for {next(n.id for n in four if n.spec is None)}")
    return replace(node, spec=PartSpec(keys, natural, max(map(len, by_name.values()))))


def _different(candidates: Sequence[list[Node]]) -> list[list[Node]]:
    """Without those who share the trainings of an earlier one: two of these differ in nothing and show no noise."""
    made: dict[tuple[str, ...], list[Node]] = {}
    for nodes in candidates:
        made.setdefault(tuple(n.spec.key if isinstance(n.spec, TrainingSpec) else n.id for n in nodes), nodes)
    return list(made.values())


def _evaluations(context: Context, judge: Node | None, models: Sequence[Node]) -> Iterator[Node]:
    """Of models whose training was evaluated on other documents than those that count."""
    known, corpus = context.known, context.corpus
    keys = {node.id: node.spec.key for node in models if isinstance(node.spec, TrainingSpec)}
    if corpus is None or not keys or (judge is not None and (judge.spec is None or judge.spec.key not in known.parts)):
        return
    own = {name: evaluated_on(known, corpus, key) for name, key in keys.items()}
    part = largest([*own.values()]) if judge is None or judge.spec is None else known.parts[judge.spec.key]
    for node in models:
        if node.id in keys and own[node.id] != part:
            yield Node(
                f"evaluation/{node.id}", "evaluation", "evaluation", EvaluationSpec(keys[node.id], part), (node.id,),
                mixture=node.mixture, size=node.size, seed=node.seed,
            )  # fmt: skip
