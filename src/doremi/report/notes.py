"""What must be known of the mixtures that are shown, in sentences."""

from __future__ import annotations

import math
from fractions import Fraction

from doremi.diagnostics.few_tokens import few_tokens
from doremi.diagnostics.health import few_documents
from doremi.mixture.record import MixtureRecord
from doremi.report.facts import Facts, Search
from doremi.report.words import count, listed, number, percent, plural
from doremi.rundir.outgrown import in_words, outgrown_by
from doremi.verdict.headline import exploratory
from doremi.verdict.held_out import too_few


def outdated_words(facts: Facts) -> str:
    """Why there are no results of the verdict on the page, and what brings new ones."""
    return f"{facts.outdated} `doremi run {facts.name}` trains what is missing and compares again."


def warnings(facts: Facts) -> list[tuple[str, str]]:
    """What decides on how much the answer is worth: a word or two, and the warning."""
    few = [few_documents(facts.held_out_documents()), None if facts.verdict is None else too_few(facts.verdict)]
    told = " ".join(words for words in few if words)
    unplanned = [] if facts.verdict is None else [("Exploratory", words) for words in exploratory(facts.verdict)]
    return [
        *unplanned,
        *([("Few documents", told)] if told else []),
        *(("Short training", words) for words in _short(facts)),
    ]


def _short(facts: Facts) -> list[str]:
    """Of each size of the candidates that trains on few tokens for its parameters."""
    stages = {t.size: t.folder.stage() for t in facts.models() if t.role == "main"}
    told = []
    for size, stage in stages.items():
        body = facts.bodies.get(stage["parameters"])
        told.append(None if body is None else few_tokens(size, stage["tokens"], body))
    return [words for words in told if words]


def mixture_notes(facts: Facts) -> list[str]:
    """Of each search's mixture: limits, repetition, how sure it is; and which results are not shown beside it."""
    notes = [note for search in facts.searches for note in _of_search(facts, search)]
    if not facts.searches:
        notes.append("The mixture is made when a search is finished.")
    others = [n for n, held in facts.mixtures.items() if n not in facts.found and held.before_limits is not None]
    if others:
        notes.append(
            f"The configured limits changed {listed(others)}. Below, a candidate of that name is the nearest allowed "
            "mixture, and comparisons are with that one. The reference model was trained on the mixture itself."
        )
    notes += [*_outgrown(facts), *_repeats(facts)]
    if facts.foreign:
        names = listed(dict.fromkeys(t.name for t in facts.foreign))
        notes.append(
            "Other weights than those shown, or other settings, were used to train "
            f"{plural(len(facts.foreign), 'model')} ({names}). Nothing of that is on this page. "
            f"`doremi run {facts.name}` trains what is missing."
        )
    return notes


def _repeats(facts: Facts) -> list[str]:
    """What the seed does not promise, where a GPU adds in any order."""
    if facts.manifest.get("repeats") != "distribution":
        return []
    return [
        "The trainings ran on a GPU with training.deterministic off. So the same seed gives other last digits each "
        "time. It promises a draw from the same distribution, not the same bytes."
    ]


def _outgrown(facts: Facts) -> list[str]:
    """Samples that one of the mixtures repeats in a training, where whole domains were to be read."""
    if facts.corpus is None or facts.kept_share() != 1:
        return []
    tokens, names = facts.run_tokens(), tuple(facts.corpus.entries)
    if not math.isfinite(tokens) or any(set(record.weights) != set(names) for record in facts.mixtures.values()):
        return []
    trainings = [([record.weights[name] for name in names], int(tokens)) for record in facts.mixtures.values()]
    found = in_words(outgrown_by(facts.corpus, trainings, Fraction(1)))
    return [] if found is None else [found]


def _of_search(facts: Facts, search: Search) -> list[str]:
    record = search.record
    if record is None:
        return [f"The mixture {search.name} is made when its search is finished."]
    return [
        *_moved(facts, search),
        *_repeated(facts, search.name, record),
        *_limited(facts, search.name, record),
        *_mean(search.name, record),
        *_certainty(record),
        *_unsettled(record),
        *_early(record),
    ]


def _moved(facts: Facts, search: Search) -> list[str]:
    """How many of the tokens a mixture gives to other domains than what its search started from."""
    reference = facts.reference_weights(search)
    if search.record is None or reference is None:
        return []
    pairs = zip(facts.in_order(search.record.weights), reference, strict=True)
    distance = 0.5 * math.fsum(abs(after - before) for after, before in pairs)
    start = facts.searched_from(search)
    return [f"{search.name} gives {percent(distance, 1)} of the tokens to other domains than {start} does."]


def _repeated(facts: Facts, name: str, record: MixtureRecord) -> list[str]:
    passes = facts.epochs(facts.in_order(record.weights))
    often = [domain for domain, epochs in zip(facts.domains, passes, strict=True) if epochs > 4]
    if not often:
        return []
    named = listed(often) if len(often) <= 5 else f"{listed(often[:4])} and {len(often) - 4} others"
    return [
        f"In {facts.budgeted_run()} of {count(facts.budget())} tokens {name} shows "
        f"{plural(len(often), 'domain')} more than four times: {named}."
    ]


def _limited(facts: Facts, name: str, record: MixtureRecord) -> list[str]:
    if record.before_limits is None:
        return []
    pairs = zip(facts.in_order(record.before_limits), facts.in_order(record.weights), strict=True)
    moved = [abs(after - before) for before, after in pairs if after != before]
    return [
        f"The configured limits changed {plural(len(moved), 'weight')} of {name} as it was found, by up to "
        f"{percent(max(moved, default=0.0))}."
    ]


def _mean(name: str, record: MixtureRecord) -> list[str]:
    return [f"The weights of {name} are the mean over {plural(len(record.seeds), 'seed')}."] if record.seeds else []


def _certainty(record: MixtureRecord) -> list[str]:
    """How far the mixtures of seeds are apart."""
    if record.uncertainty is None or record.uncertainty.distance is None:
        return []
    apart, sure = record.uncertainty.distance, record.uncertainty.confidence
    return [
        f"The mixtures of two seeds differ in where {percent(number(apart.mean))} of the tokens come from on average, "
        f"{percent(number(apart.largest))} at most. The ranges under weights are {percent(sure, 0)} "
        "intervals of their mean, for each weight by itself."
    ]


def _unsettled(record: MixtureRecord) -> list[str]:
    held = record.settled or {}
    restless = {seed: one for seed, one in held.items() if not one.settled}
    if not restless:
        return []
    seed, first = next(iter(restless.items()))
    return [
        f"The averaged weights have not settled in {len(restless)} of {plural(len(held), 'seed')}. "
        f"More steps may change this mixture. For seed {seed}, {first.reason}."
    ]


def _early(record: MixtureRecord) -> list[str]:
    """Which seeds ended before their last step, and what of their schedule they have seen."""
    of = number((record.options or {}).get("steps"))
    ended = {seed: one for seed, one in (record.settled or {}).items() if one.steps < of}
    return [
        f"The search with seed {seed} stopped at step {count(one.steps)} of {count(of)} because its averaged "
        f"weights had settled. Its learning rate was at {percent(number(one.learning_rate), 0)} "
        "of the peak, so it has not seen the end of the schedule."
        for seed, one in ended.items()
    ]
