"""Steps 1 and 3: why the small step is slow, before and after, and the 120M shape beside what the card can do."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from card.cases import Case, Cases, Child
from card.commands import Place
from card.notes import Notes

GRAPHS = {"doremi.training.compiling.CUDA_GRAPHS": True}
NOT_AHEAD = {"doremi.training.batches.AHEAD": False}
SUMS_APART = {"doremi.training.compiling.COMPILE_SUMS": False}
ONE_GRAPH = {"doremi.training.compiling.WHOLE_LAYERS": 64}
CHUNKS = {"doremi.model.build.LOGITS_LIMIT_BYTES": 2**40}


@dataclass(frozen=True)
class Pace:
    """How long things are measured, in seconds."""

    window: float
    warm_up: float
    """After which those that are not ready are not waited for."""
    patience: float
    """For one measurement, its profile included."""
    profiled: int
    """Steps."""
    side_by_side: int


FULL = Pace(window=2.5, warm_up=75, patience=25, profiled=5, side_by_side=4)
TINY = Pace(window=0.1, warm_up=200, patience=100, profiled=2, side_by_side=2)


def options(preset: str, tiny: bool, *more: str, constants: Mapping[str, object] | None = None) -> tuple[str, ...]:
    """Of child.py: 132 x 256 tokens, vocabulary 8,192, bfloat16, compiled; tiny is eager."""
    words = "--rows 132 --length 256 --vocabulary 8192 --compile"
    if tiny:
        preset, words = "0.1m", "--rows 12 --length 32 --vocabulary 256 --warm-up 1 --threads 1"
    size = ("--preset", preset, *words.split())
    return (*size, *more, *(("--constants", json.dumps(constants)) if constants else ()))


def small_cases(place: Place, tiny: bool, pace: Pace) -> tuple[list[Case], list[Case]]:
    """One process each: those that compile anew, and those that find most of it compiled."""
    few = ("--threads", "1" if tiny else "2")
    many = () if tiny else ("--threads", "16")
    corpus = ("--corpus", str(place.corpus), "--vocabulary", str(place.vocabulary()))
    seen = pace.profiled
    before = Case("0.3m before", options("0.3m", tiny, *many), before=True, profiled=seen)
    after = Case("0.3m", options("0.3m", tiny, *few), profiled=seen)
    stored = Case("0.3m, DRO with stored losses", options("0.3m", tiny, *few, "--scored", "stored"), profiled=seen)
    scoring = Case("0.3m scoring", options("0.3m", tiny, *few, *corpus), kind="scoring")
    if tiny:
        return [before, after, stored], [scoring]
    graphs = Case("0.3m, CUDA graphs", options("0.3m", tiny, *few, constants=GRAPHS), profiled=seen)
    main = Case("10m", options("10m", tiny, *few), profiled=seen)
    exact = Case("0.3m, deterministic", options("0.3m", tiny, *few, "--deterministic"))
    whole = Case("0.3m before, all logits", options("0.3m", tiny, *many, constants=CHUNKS), before=True)
    return [before, after, graphs, main, stored, exact, whole], [
        scoring,
        Case("10m, CUDA graphs", options("10m", tiny, *few, constants=GRAPHS)),
        Case("0.3m before, few threads", options("0.3m", tiny, *few), before=True),
        Case("0.3m scoring before", options("0.3m", tiny, *many, *corpus), kind="scoring", before=True),
        Case("0.3m, not read ahead", options("0.3m", tiny, *few, constants=NOT_AHEAD)),
        Case("0.3m, sums not compiled", options("0.3m", tiny, *few, constants=SUMS_APART)),
    ]


def small(notes: Notes, place: Place, seconds: float, *, tiny: bool) -> None:
    """Step 1, in two waves: what loads meanwhile disturbs nobody, and the second finds things compiled."""
    pace, deadline = (TINY if tiny else FULL), time.monotonic() + seconds
    rates: dict[str, float | None] = {}
    with Cases(notes, place, deadline) as cases:
        one, two = small_cases(place, tiny, pace)
        first = [group[0] for group in cases.begin(one)]
        cases.warm(first)
        mates = cases.begin(replace(case, copies=pace.side_by_side - 1, profiled=0) for case in (one[1], one[0]))
        second = [group[0] for group in cases.begin(two)]
        cases.ready(first, time.monotonic() + pace.warm_up)
        for child in first:
            rates[child.case.name] = report(notes, cases, [child], pace)
        cases.done(first[2:])
        later = [*second, *mates[0], *mates[1]]
        cases.warm(later)
        cases.ready(later, time.monotonic() + pace.patience)
        several(notes, cases, [first[1], *mates[0]], pace)
        several(notes, cases, [first[0], *mates[1]], pace)
        for child in second:
            rates[child.case.name] = report(notes, cases, [child], pace)
    ratio(notes, "dro_step_stored_over_plain", rates.get("0.3m"), rates.get("0.3m, DRO with stored losses"))
    ratio(notes, "small_step_deterministic_over_plain", rates.get("0.3m"), rates.get("0.3m, deterministic"))
    ratio(notes, "scoring_rate_over_training", rates.get("0.3m scoring"), rates.get("0.3m"))
    ratio(notes, "small_step_rate_over_before", rates.get("0.3m"), rates.get("0.3m before"))


def several(notes: Notes, cases: Cases, group: Sequence[Child], pace: Pace) -> None:
    """The same training several times side by side: a card that was idle then does more."""
    there = [child for child in group if child.state == "ready" and child.command.process.poll() is None]
    if len(there) < 2:
        notes.say(f"not run: {group[0].case.name}, several side by side: too few were ready")
        return
    name = f"{there[0].case.name}, {len(there)} side by side"
    for child in there:
        child.case = replace(child.case, name=name, profiled=0)
    report(notes, cases, there, pace)
    cases.done(there)


def report(notes: Notes, cases: Cases, group: Sequence[Child], pace: Pace) -> float | None:
    """Measure, and note the figures of the group: of each process the mean, of the rate also the sum; the sum."""
    name = group[0].case.name
    late = [child for child in group if child.state != "ready" or child.command.process.poll() is not None]
    for child in late:
        cases.give_up(child, "not ready in time")
    there = [child for child in group if child not in late]
    answers = cases.measure(there, pace.window, pace.patience) if there else []
    if not answers:
        notes.say(f"not run: {name}")
        return None
    values: dict[str, float] = {}
    for key in answers[0]:
        known = [answer[key] for answer in answers if key in answer]
        values[key] = sum(known) / len(known)
    total = sum(answer.get("tokens_per_second", 0.0) for answer in answers)
    about = {key: value for key, value in there[0].about.items() if key != "peak_gib"}
    more = {key: round(value, 4) for key, value in {**about, **values}.items()}
    notes.figure(
        {"figure": "card_rate", "value": round(total), "unit": "tokens/s", "case": name, "processes": len(answers)}
        | more
    )
    return total


def ratio(notes: Notes, name: str, one: float | None, other: float | None) -> None:
    if one and other:
        notes.figure({"figure": name, "value": round(one / other, 4), "unit": "ratio"})


# -- the 120M shape ----------------------------------------------------------------------------------------------------


def large(notes: Notes, place: Place, seconds: float, *, tiny: bool) -> None:
    """Step 3: preset 280m with a vocabulary of 50,304 is 120M parameters; 32 x 1024 tokens."""
    pace, deadline = (TINY if tiny else replace(FULL, window=5.0)), time.monotonic() + seconds
    size = ("--preset", "280m", "--rows", "32", "--length", "1024", "--vocabulary", "50304", "--compile")
    if tiny:
        size = ("--preset", "0.1m", "--rows", "12", "--length", "64", "--vocabulary", "512", "--warm-up", "1")
    size = (*size, "--threads", "1" if tiny else "2")
    known = [
        Case("ceiling", (), kind="ceiling"),
        Case("120M", size, profiled=pace.profiled),
        Case("120M, DRO with stored losses", (*size, "--scored", "stored")),
        Case("120M, deterministic", (*size, "--deterministic")),
        Case("120M, one graph", (*size, "--constants", json.dumps(ONE_GRAPH))),
    ]
    with Cases(notes, place, deadline) as cases:
        groups = cases.begin(known)
        everyone = [child for group in groups for child in group]
        cases.warm(everyone)
        cases.ready(everyone, deadline - 3 * pace.window - 8)
        best, plain, *others = everyone
        ceiling = cases.measure([best], 0.0, pace.patience) if best.state == "ready" else []
        rates = [report(notes, cases, [child], pace) for child in (plain, *others)]
    for key, unit, scale in (("operations_per_second", "TFLOP/s", 1e12), ("bytes_per_second", "GB/s", 1e9)):
        for answer in ceiling:
            notes.figure({"figure": f"card_{key}", "value": round(answer[key] / scale, 2), "unit": unit})
    if ceiling and rates[0]:
        share = rates[0] * plain.about["operations_a_token"] / ceiling[0]["operations_per_second"]
        notes.figure({"figure": "large_step_share_of_product_rate", "value": round(share, 4), "unit": "share"})
    ratio(notes, "large_dro_step_stored_over_plain", rates[0], rates[1])
    ratio(notes, "large_step_deterministic_over_plain", rates[0], rates[2])
    ratio(notes, "large_step_one_graph_over_by_block", rates[0], rates[3])
