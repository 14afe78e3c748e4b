"""The verdict of a run: its finished candidates compared, size by size."""

from __future__ import annotations

from doremi import verdict
from doremi.config import RunConfig
from doremi.errors import RunError
from doremi.pipeline.planning import as_it_is
from doremi.rundir.graph import Final
from doremi.rundir.layout import RunDirectory
from doremi.rundir.nodes import Nodes
from doremi.statistics.looks import Record
from doremi.statistics.setting import Terms
from doremi.verdict import Candidate, Rules, Verdict


def judge_run(config: RunConfig) -> Verdict:
    """Compare the finished candidates, size by size, and write verdict.json; returns it.

    The verdict is that of the largest size, which is nearest to the final run.
    """
    directory = RunDirectory(config.root)
    plan = as_it_is(config, directory)
    nodes = plan.record()
    records = verdict.read_looks(directory.root)
    by_size = [
        _judge_size(config, directory, nodes, size, final, records.get(size)) for size, final in plan.finals.items()
    ]
    for judged, _, _ in by_size:
        record = records.get(judged.size, Record(config.verdict.looks))
        records[judged.size] = record.with_look(judged.seeds)
    by_size.sort(key=lambda one: one[1])
    result, _, candidates = by_size[-1]
    if len(by_size) > 1:
        sizes = tuple(verdict.summary(judged, parameters) for judged, parameters, _ in by_size)
        result = result.model_copy(update={"sizes": sizes, "ranking": verdict.ranking(sizes)})
    if config.candidates.equal_compute:
        compared = verdict.equal_compute(
            directory, size=result.size, seeds=result.seeds, candidates=candidates,
            longer=verdict.longer_of(directory, nodes, result.size),
            terms=Terms(level=result.level, margin=result.margin, exploratory=result.exploratory),
            documents=result.held_out.documents if result.held_out else None,
        )  # fmt: skip
        result = result.model_copy(update={"equal_compute": compared})
    result = result.model_copy(update={"downstream": verdict.downstream(directory, candidates, result)})
    verdict.write_looks(directory.root, records)  # first: a verdict that was seen without a record would be a free look
    verdict.write_verdict(directory.root, result)
    return result


def _judge_size(
    config: RunConfig, directory: RunDirectory, nodes: Nodes, size: str, final: Final | None, record: Record | None
) -> tuple[Verdict, int, list[Candidate]]:
    """The verdict at one size, how many parameters that is, and who was compared."""
    if final is None:
        raise RunError(f"{config.root}: the race at {size} is not over; `doremi run` goes on")
    candidates = [one for one in verdict.candidates_of(directory, nodes, size) if one.name in final.candidates]
    rules = config.verdict
    judged = verdict.judge(
        directory,
        size=size,
        seeds=final.seeds,
        candidates=candidates,
        reference_mixture=nodes.reference_mixture,
        documents=verdict.documents_of(directory, nodes, size),
        rules=Rules(
            margin=rules.margin, confidence=rules.confidence, target=rules.target, looks=rules.looks, record=record
        ),
        race=next((race for race in nodes.races if race.size == size), None),
    )
    return judged, candidates[0].trainings[final.seeds[0]].stage()["parameters"], candidates
