"""The verdict: finished candidates of a run directory compared, with intervals, and the mixture to use.

What is found on the disk becomes a typed table (measure.py), which doremi/statistics judges. This package reads, names
and writes; every number that is uncertain comes from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from doremi.corpus.pool import Part, whole
from doremi.errors import ConfigError
from doremi.rundir.layout import RunDirectory
from doremi.rundir.looks import read_looks, write_looks
from doremi.rundir.nodes import Race
from doremi.statistics.judge import judge as judge_table
from doremi.statistics.looks import look
from doremi.statistics.setting import Terms
from doremi.statistics.values import Judged
from doremi.verdict.candidates import Candidate, candidates_of, longer_of
from doremi.verdict.current import outdated
from doremi.verdict.describe import alone, digits, epochs_at_budget, perplexity, ranks, steps_to_baseline
from doremi.verdict.downstream import downstream
from doremi.verdict.equal_compute import equal_compute
from doremi.verdict.held_out import documents_of, held_out
from doremi.verdict.measure import Measured, measure
from doremi.verdict.price import Price, price
from doremi.verdict.rules import Rules
from doremi.verdict.sizes import ranking, summary
from doremi.verdict.table import format_table
from doremi.verdict.values import Verdict, read_verdict, write_verdict

__all__ = [
    "Candidate", "Price", "Rules", "Verdict", "candidates_of", "documents_of", "downstream", "equal_compute",
    "format_table", "judge", "longer_of", "outdated", "price", "ranking", "read_looks", "read_verdict", "summary",
    "write_looks",
    "write_verdict",
]  # fmt: skip


def judge(
    run: RunDirectory,
    *,
    size: str,
    seeds: Sequence[int],
    candidates: Sequence[Candidate],
    reference_mixture: str,
    rules: Rules | None = None,
    documents: Part | None = None,
    race: Race | None = None,
) -> Verdict:
    """Compare the finished `candidates` of one `size`, each trained with each of `seeds`, on `documents` (`measure`).

    Reads only, and the same run gives the same value. `reference_mixture` names the one among the candidates that is
    it. `race`: what has chosen them, on other seeds than these.

    `ConfigError`: an impossible argument. `RunError`: a candidate is missing or was trained on other weights than its
    mixture has, or the reference mixture is none of them. `DamageError`, `DataError`: see `measure`.
    """
    rules = rules or Rules()
    rules.check()
    _check(seeds, [one.name for one in candidates])
    measured = measure(run, size, seeds, candidates, documents=documents)
    baseline = measured.table.reference()
    now = look(rules.record, rules.looks, seeds, rules.level)
    dropped = race.dropped if race else ()
    judged = judge_table(measured.table, Terms(rules.target, now.level, rules.margin, now.exploratory, dropped))
    found = digits(asdict(judged))
    return Verdict.model_validate({
        "confidence": rules.confidence,
        "level": now.level,
        "looks": rules.looks,
        "exploratory": now.exploratory,
        "margin": rules.margin,
        "domains": measured.domains.names,
        "natural_weights": measured.natural.tolist(),
        "reference_mixture": reference_mixture,
        "baseline": candidates[baseline].name,
        "size": size,
        "seeds": tuple(seeds),
        "tokens": measured.tokens,
        "candidates": _results(run, candidates, measured, judged, baseline),
        "domain_changes": found["domains"],
        "recommendation": found["recommended"],
        "held_out": held_out(measured.documents, whole(run.corpus()), found["document_share"]),
        "race": race,
        **{name: found[name] for name in SHARED},
    })  # fmt: skip


SHARED = ("same", "claims", "comparisons", "choices", "without_lent", "noise", "settle")


def _check(seeds: Sequence[int], mixtures: Sequence[str]) -> None:
    for what, values in (("seed", seeds), ("mixture", mixtures)):
        if not values:
            raise ConfigError(f"there is no {what} to compare; name at least one under candidates")
        twice = [value for i, value in enumerate(values) if value in values[:i]]
        if twice:
            raise ConfigError(f"{what} {twice[0]!r} is named twice under candidates; name it once")


def _results(
    run: RunDirectory, candidates: Sequence[Candidate], measured: Measured, judged: Judged, baseline: int
) -> list[dict[str, object]]:
    places, at_budget = ranks(measured), epochs_at_budget(run, measured.weights)
    loss_CK, bits_CK = measured.loss.mean(axis=1), measured.table.bits().mean(axis=1)
    return [
        {
            "name": one.name,
            "weights": measured.weights[i].tolist(),
            "epochs": measured.epochs[i].tolist(),
            "loss": loss_CK[i].tolist(),
            "bits_per_byte": bits_CK[i].tolist(),
            "perplexity": perplexity(loss_CK[i]),
            **vars(alone(measured, i, baseline)),
            "steps_to_baseline": steps_to_baseline(measured, i, baseline, judged.target, _half(judged, one.name)),
            "epochs_at_budget": at_budget[i],
            "limited": one.limited,
            "allowed": one.allowed,
            "interval_of": "method" if one.role == "per-seed" else "mixture",
            "rank": places[i],
            "trainings": measured.keys[i],
        }
        for i, one in enumerate(candidates)
    ]


def _half(judged: Judged, name: str) -> float:
    """Half of the interval of a candidate's difference to the baseline on the target; NaN where there is none."""
    own = dict(judged.same).get(name, name)
    for one in judged.comparisons:
        if (one.candidate, one.target) == (own, judged.target) and one.opponent == judged.baseline and one.interval:
            return one.interval[1] - one.difference  # the lower end may be cut off
    return math.nan
