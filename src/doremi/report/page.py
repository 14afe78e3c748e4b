"""The page: the answer in words, what is done and what is missing, and the template filled in.

Every text from a file reaches the template as plain text and is escaped there; only our own style sheet and the
pictures, which svg.py serialises through an XML writer, are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from doremi.diagnostics.health import few_documents
from doremi.report.alarms import alarm_table, alarm_words
from doremi.report.curves import curves_figure
from doremi.report.data import data_table
from doremi.report.equal_compute import compute_table
from doremi.report.facts import Facts, inner, listing, read_facts
from doremi.report.fewshot import fewshot_tables
from doremi.report.figures import Figure, change_figure, epochs_figure
from doremi.report.iterated import rounds_table
from doremi.report.judgement import candidate_table, comparison_tables
from doremi.report.sizes import sizes_table, sizes_words
from doremi.report.svg import drawing, printable
from doremi.report.tables import (
    SHOWN,
    Table,
    domain_tables,
    mixture_table,
    outcome,
    settings_table,
    shown,
    time_table,
    training_table,
)
from doremi.report.walks import walk_figures
from doremi.report.words import count, listed, number, percent, plural
from doremi.rundir.layout import RunDirectory


@dataclass(frozen=True)
class Answer:
    """`verb` and `mixture` make the headline; `tag` is the outcome as the file has it, `mark` its known form."""

    verb: str
    mixture: str
    reason: str
    notes: list[str]
    tag: str
    mark: str


@dataclass(frozen=True)
class Stage:
    """One step of the run: `state` is done, partly or missing; `words` say what there is."""

    name: str
    state: str
    words: str


def render(run: RunDirectory) -> str:
    """The page of a run as HTML text, ASCII control characters and lone surrogates replaced."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    facts = read_facts(run)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["picture"] = Markup
    template = environment.from_string(_asset("page.html"))
    page = template.render(style=Markup(_asset("style.css")), **_view(facts))
    return "\n".join(printable(line) for line in page.split("\n"))


def _asset(name: str) -> str:
    return resources.files("doremi.report").joinpath(name).read_text(encoding="utf-8")


def _view(facts: Facts) -> dict[str, Any]:
    stages = _stages(facts)
    return {
        "name": facts.name,
        "setting": _setting(facts),
        "answer": _answer(facts),
        "stages": stages,
        "complete": all(stage.state == "done" for stage in stages if stage.name != "Health"),
        "mixture": mixture_table(facts),
        "mixture_notes": _mixture_notes(facts),
        "cut": _cut(facts),
        "candidates": candidate_table(facts),
        "comparisons": comparison_tables(facts),
        "sizes": sizes_table(facts),
        "sizes_words": sizes_words(facts),
        "compute": compute_table(facts),
        "fewshot": fewshot_tables(facts),
        "verdict_note": _verdict_note(facts),
        "few": few_documents(facts.report_documents()),
        "domain_tables": domain_tables(facts),
        "figures": figures(facts),
        "baseline": facts.baseline_name,
        "margin": percent(inner(facts.verdict, "margin"), 1),
        "confidence": percent(inner(facts.verdict, "confidence"), 0),
        "made": [t for t in _made(facts) if t is not None],
        "settings": _settings(facts),
    }


def _made(facts: Facts) -> list[Table | None]:
    return [data_table(facts), rounds_table(facts), alarm_table(facts), training_table(facts), time_table(facts)]


def figures(facts: Facts) -> dict[str, Figure]:
    """All pictures by key, each drawn or with the reason why not."""
    with drawing():
        made = [change_figure(facts), epochs_figure(facts), curves_figure(facts), *walk_figures(facts)]
    return {figure.key: figure for figure in made}


# -- the answer ------------------------------------------------------------------------------------------------------


def _answer(facts: Facts) -> Answer:
    held = inner(facts.verdict, "recommendation")
    if not isinstance(held, Mapping):
        return _no_answer(facts)
    found = str(held.get("outcome"))
    verb = "Undecided so far. Until then, train on" if found == "undecided" else "Train on"
    tied = held.get("tied_with")
    notes = []
    if isinstance(tied, list) and tied:
        notes.append(
            f"On the select documents, which the choice used, it does not differ significantly from {listed(tied)}."
        )
    seeds = held.get("seeds_to_decide")
    if seeds is not None and f"{seeds} seeds" not in str(held.get("reason")):
        notes.append(f"About {count(seeds)} seeds would decide it.")
    tag = "" if found == "undecided" else found  # the headline says it already
    return Answer(verb, str(held.get("mixture")), str(held.get("reason") or ""), notes, tag, outcome(found))


def _no_answer(facts: Facts) -> Answer:
    if facts.doremi is None:
        return Answer("There is no answer yet.", "", "DoReMi's mixture and the verdict are still to come.", [], "", "")
    reason = (
        "The proxies have chosen the mixture below. It is not known whether it beats the plain ones, since "
        "the candidates have not been compared."
    )
    return Answer("There is a mixture, but no verdict yet.", "", reason, [], "", "")


def _setting(facts: Facts) -> str:
    """The size of the experiment in one line."""
    verdict = facts.verdict or {}
    parts = [plural(len(facts.domains), "domain")] if facts.domains else []
    if verdict:
        seeds = verdict.get("seeds")
        parts.append(f"{plural(len(listing(verdict, 'candidates')), 'mixture')} compared")
        parts.append(f"models of size {verdict.get('size')} on {count(verdict.get('tokens'))} tokens each")
        parts.append(plural(len(seeds), "seed") if isinstance(seeds, list) else "")
    if facts.kept_share() < 1:
        parts.append(f"epoch-matched, trained on {percent(facts.kept_share())} of each domain's text")
    return ", ".join(p for p in parts if p)


def _verdict_note(facts: Facts) -> str:
    if facts.verdict is not None:
        target = inner(facts.verdict, "recommendation", "target")
        return " ".join([*([f"The recommendation goes by the {target} average."] if target else []), *_matched(facts)])
    done = len(facts.finished("main"))
    return f"The candidates have not been compared yet, with {plural(done, 'main model')} finished so far."


def _matched(facts: Facts) -> list[str]:
    """What epochs in training mean where runs are epoch-matched."""
    if not facts.kept_share() < 1:
        return []
    return [
        f"Models saw the same {percent(facts.kept_share())} of every domain's text, their share of the final run's "
        f"{count(facts.budget())} tokens. Their epochs in training are those of the final run, to within the length "
        "of a document."
    ]


def _mixture_notes(facts: Facts) -> list[str]:
    if facts.doremi is None:
        return ["DoReMi's own mixture is made when the proxies are finished."]
    notes = []
    weights = facts.weights("doremi") or []
    often = [d for d, e in zip(facts.domains, facts.epochs(weights), strict=True) if e > 4]
    if often:
        named = listed(often) if len(often) <= 5 else f"{listed(often[:4])} and {len(often) - 4} others"
        notes.append(
            f"In {facts.budgeted_run()} of {count(facts.budget())} tokens DoReMi's mixture shows "
            f"{plural(len(often), 'domain')} more than four times: {named}."
        )
    before = inner(facts.doremi, "before_limits")
    if isinstance(before, Mapping):
        changed = [d for d, w in zip(facts.domains, weights, strict=False) if number(before.get(d)) != w]
        notes.append(
            f"The configured limits changed {plural(len(changed), 'weight')} of what the proxies found, by up to "
            f"{percent(max(abs(w - number(before.get(d))) for d, w in zip(facts.domains, weights, strict=False)))}."
        )
    others = [name for name, held in facts.mixtures.items() if name != "doremi" and "before_limits" in held]
    if others:
        notes.append(
            f"They changed {listed(others)} too. Below, a candidate of that name is the nearest allowed mixture, and "
            "comparisons are with that one. The reference model was trained on the mixture itself."
        )
    seeds = inner(facts.doremi, "seeds")
    if isinstance(seeds, list) and seeds:
        notes.append(f"DoReMi's weights are the mean over {plural(len(seeds), 'proxy', 'proxies')}.")
    return notes + _certainty(facts)


def _certainty(facts: Facts) -> list[str]:
    """How far proxies are apart, and which have not settled."""
    notes = []
    apart, sure = inner(facts.doremi, "uncertainty", "distance"), inner(facts.doremi, "uncertainty", "confidence")
    if isinstance(apart, Mapping):
        notes.append(
            f"Two proxies differ in where {percent(number(apart.get('mean')))} of the tokens come from on average, "
            f"{percent(number(apart.get('largest')))} at most. The ranges under weights are {percent(number(sure), 0)} "
            "intervals of their mean, for each weight by itself."
        )
    held = inner(facts.doremi, "settled")
    restless = [s for s, j in held.items() if inner(j, "settled") is False] if isinstance(held, Mapping) else []
    if isinstance(held, Mapping) and restless:
        reason = inner(held[restless[0]], "reason")
        notes.append(
            f"The averaged weights have not settled in {len(restless)} of {plural(len(held), 'proxy', 'proxies')}. "
            f"More proxy steps may change this mixture. For seed {restless[0]}, {reason}."
        )
    return notes + _early(facts)


def _early(facts: Facts) -> list[str]:
    """Which proxies ended before their last step, and what of their schedule they have seen."""
    held, of = inner(facts.doremi, "settled"), number(inner(facts.doremi, "options", "steps"))
    ended = {s: j for s, j in held.items() if number(inner(j, "steps")) < of} if isinstance(held, Mapping) else {}
    return [
        f"The proxy of seed {seed} stopped at step {count(inner(judged, 'steps'))} of {count(of)} because its averaged "
        f"weights had settled. Its learning rate had come down to {percent(number(inner(judged, 'learning_rate')), 0)} "
        "of the peak, so it has not seen the end of the schedule."
        for seed, judged in ended.items()
    ]


def _cut(facts: Facts) -> str:
    """What every table of domains leaves out, said once."""
    if len(facts.domains) <= SHOWN:
        return ""
    return (
        f"This page shows the {len(shown(facts))} largest of {len(facts.domains):,} domains. "
        "mixture.json, verdict.json and the evaluation files hold all."
    )


# -- what is done ----------------------------------------------------------------------------------------------------


def _stages(facts: Facts) -> list[Stage]:
    return [
        _corpus_stage(facts),
        _model_stage(facts, "reference", "Reference models", "No reference model has been trained yet."),
        _model_stage(facts, "proxy", "Proxy models", "No proxy model has been trained yet."),
        _mixture_stage(facts),
        _model_stage(facts, "main", "Main models", "No main model has been trained yet."),
        _verdict_stage(facts),
        Stage("Health", *alarm_words(facts)),
    ]


def _corpus_stage(facts: Facts) -> Stage:
    if facts.corpus is None:
        return Stage("Corpus", "missing", "The corpus has not been prepared, or was not copied with the run.")
    tokens = sum(t for t in facts.train_tokens() if t == t)
    vocabulary = facts.corpus.tokenizer.vocab_size
    words = (
        f"{plural(len(facts.domains), 'domain')}, {count(tokens)} training tokens, vocabulary of {count(vocabulary)}."
    )
    return Stage("Corpus", "done", words)


def _model_stage(facts: Facts, role: str, name: str, missing: str) -> Stage:
    everyone = facts.every(role)
    done = [t for t in everyone if t.finished]
    if not everyone:
        return Stage(name, "missing", missing)
    seeds = sorted({t.seed for t in done})
    rounds = f" in {plural(facts.last_round, 'round')}" if facts.last_round and role != "main" else ""
    words = f"{plural(len(done), 'model')} finished{rounds}" + (f", seeds {listed(seeds)}" if seeds else "")
    left = len(everyone) - len(done)
    return Stage(name, "partly" if left else "done", f"{words}, {left:,} unfinished." if left else f"{words}.")


def _mixture_stage(facts: Facts) -> Stage:
    if facts.doremi is None:
        return Stage("DoReMi's mixture", "missing", "It is made when the proxies are finished.")
    return Stage("DoReMi's mixture", "done", "In mixture.json.")


def _verdict_stage(facts: Facts) -> Stage:
    if facts.verdict is None:
        return Stage("Verdict", "missing", "The candidates have not been compared yet.")
    return Stage(
        "Verdict", "done", f"{plural(len(listing(facts.verdict, 'comparisons')), 'comparison')}, in verdict.json."
    )


def _settings(facts: Facts) -> list[Any]:
    made = (
        settings_table("configuration", "The resolved configuration, as in config.yaml.", facts.config),
        settings_table("versions", "Versions, seeds and data, as in manifest.json.", facts.manifest),
        settings_table("tokenizer", "Tokenizer, as in the corpus manifest.", _tokenizer(facts)),
    )
    return [table for table in made if table is not None]


def _tokenizer(facts: Facts) -> Mapping[str, Any]:
    return {} if facts.corpus is None else asdict(facts.corpus.tokenizer)
