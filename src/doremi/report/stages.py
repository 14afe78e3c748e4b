"""What is done and what is missing: the steps of the run in order."""

from __future__ import annotations

from dataclasses import dataclass

from doremi.report.alarms import alarm_words
from doremi.report.facts import Facts, Search
from doremi.report.trainings import SEARCH_ROLES
from doremi.report.words import count, listed, plural
from doremi.rundir.nodes import Role

WORDS: dict[Role, tuple[str, str]] = {
    "reference": ("Reference models", "No reference model has been trained yet."),
    "proxy": ("Proxy models", "No proxy model has been trained yet."),
}


@dataclass(frozen=True)
class Stage:
    """One step of the run: `state` is done, partly or missing; `words` say what there is."""

    name: str
    state: str
    words: str


def stages(facts: Facts) -> list[Stage]:
    """All steps; those that no method of this run has are left out."""
    searches = [_mixture_stage(search) for search in facts.searches]
    return [
        _corpus_stage(facts),
        *_model_stages(facts),
        *(searches or [Stage("Mixture", "missing", "It is made when a search is finished.")]),
        _model_stage(facts, "main", "Main models", "No main model has been trained yet."),
        _verdict_stage(facts),
        Stage("Health", *alarm_words(facts)),
    ]


def _corpus_stage(facts: Facts) -> Stage:
    if facts.corpus is None:
        return Stage("Corpus", "missing", "The corpus has not been prepared, or was not copied with the run.")
    tokens = sum(facts.corpus.count("train", "tokens"))
    vocabulary = facts.corpus.tokenizer.vocab_size
    words = (
        f"{plural(len(facts.domains), 'domain')}, {count(tokens)} training tokens, vocabulary of {count(vocabulary)}."
    )
    return Stage("Corpus", "done", words)


def _model_stages(facts: Facts) -> list[Stage]:
    """References and proxies, where some are planned or nothing is."""
    made = {role: facts.nodes is None or bool(facts.nodes.find(role)) for role in SEARCH_ROLES}
    return [_model_stage(facts, role, *WORDS[role]) for role in SEARCH_ROLES if made[role]]


def _model_stage(facts: Facts, role: Role, name: str, missing: str) -> Stage:
    """Of the models that are planned, how many are finished."""
    everyone = facts.every(role)
    if not everyone:
        return Stage(name, "missing", missing)
    done = [t for t in everyone if t.finished]
    seeds = sorted({t.seed for t in done})
    rounds, what = max(t.round for t in everyone), "round" if role in SEARCH_ROLES else "heat"
    several = f" in {plural(rounds, what)}" if rounds else ""
    words = f"{plural(len(done), 'model')} finished{several}" + (f", seeds {listed(seeds)}" if seeds else "")
    left = len(facts.nodes.find(role)) - len(done) if facts.nodes else 0
    return Stage(name, "partly" if left else "done", f"{words}, {left:,} unfinished." if left else f"{words}.")


def _mixture_stage(search: Search) -> Stage:
    if search.record is None:
        return Stage(f"Mixture {search.name}", "missing", "It is made when its search is finished.")
    return Stage(f"Mixture {search.name}", "done", "It is found.")


def _verdict_stage(facts: Facts) -> Stage:
    if facts.outdated:
        return Stage("Verdict", "missing", facts.outdated)
    if facts.verdict is None:
        return Stage("Verdict", "missing", "The candidates have not been compared yet.")
    return Stage("Verdict", "done", f"{plural(len(facts.verdict.comparisons), 'comparison')}, in verdict.json.")
