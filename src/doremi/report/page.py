"""The page: the answer in words, what is done and what is missing, and the template filled in.

Every text from a file reaches the template as plain text and is escaped there; only our own style sheet and the
pictures, which svg.py serialises through an XML writer, are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from doremi.report.alarms import alarm_table
from doremi.report.curves import curves_figure
from doremi.report.data import data_table
from doremi.report.equal_compute import compute_table
from doremi.report.facts import Facts, read_facts
from doremi.report.fewshot import fewshot_tables
from doremi.report.forest import forest_figure, profile_figures
from doremi.report.iterated import rounds_tables
from doremi.report.judgement import candidate_table, claims_table, regret_table
from doremi.report.made import rates_table, settings_table, time_table, training_table
from doremi.report.notes import mixture_notes, outdated_words, warnings
from doremi.report.sizes import sizes_table, sizes_words
from doremi.report.stages import stages
from doremi.report.svg import drawing, printable
from doremi.report.tables import SHOWN, Table, domain_tables, mixture_table, shown
from doremi.report.walks import walk_figures
from doremi.report.words import count, percent, plural
from doremi.rundir.layout import RunDirectory
from doremi.verdict.headline import headline, lent, noise
from doremi.verdict.price import price


@dataclass(frozen=True)
class Answer:
    """`verb` and `mixture` are the first line, `reason` and `settle` the other two; `notes` stand below all warnings.

    `proved`: better than another candidate.
    """

    verb: str
    mixture: str
    reason: str
    settle: str = ""
    notes: tuple[str, ...] = ()
    proved: bool = False


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
    told = stages(facts)
    return {
        "name": facts.name,
        "setting": _setting(facts),
        "answer": _answer(facts),
        "warnings": warnings(facts),
        "stages": told,
        "complete": all(stage.state == "done" for stage in told if stage.name != "Health"),
        "mixture": mixture_table(facts),
        "mixture_notes": mixture_notes(facts),
        "cut": _cut(facts),
        "candidates": candidate_table(facts),
        "claims": claims_table(facts),
        "regret": regret_table(facts),
        "lent": lent(facts.verdict) if facts.verdict else [],
        "sizes": sizes_table(facts),
        "sizes_words": sizes_words(facts),
        "compute": compute_table(facts),
        "fewshot": fewshot_tables(facts),
        "verdict_note": _verdict_note(facts),
        "domain_tables": domain_tables(facts),
        **pictures(facts),
        "baseline": facts.baseline_name,
        "sure": facts.verdict.sure if facts.verdict else "",
        "made": [t for t in _made(facts) if t is not None],
        "settings": _settings(facts),
    }


def _made(facts: Facts) -> list[Table | None]:
    return [
        data_table(facts),
        *rounds_tables(facts),
        alarm_table(facts),
        training_table(facts),
        rates_table(facts),
        time_table(facts),
    ]


def pictures(facts: Facts) -> dict[str, Any]:
    """All pictures by where they stand, each drawn or with the reason why not."""
    with drawing():
        return {
            "forest": forest_figure(facts),
            "profiles": profile_figures(facts),
            "figures": [curves_figure(facts), *walk_figures(facts)],
        }


# -- the answer ------------------------------------------------------------------------------------------------------


def _answer(facts: Facts) -> Answer:
    if facts.verdict is None:
        return _no_answer(facts)
    verdict, cost = facts.verdict, price(facts.run, facts.nodes, facts.name)
    _, better, settle = headline(verdict, cost)
    chosen = verdict.recommendation
    notes = filter(None, (chosen.reason, noise(verdict, cost)))
    return Answer("Use", chosen.mixture, better, settle, tuple(notes), chosen.proved)


def _no_answer(facts: Facts) -> Answer:
    none = "There is no answer yet."
    if facts.nodes is None:
        return Answer(none, "", f"Nothing is planned here yet. `doremi run {facts.name}` plans and trains.")
    if facts.outdated:
        return Answer(none, "", outdated_words(facts))
    if not facts.found:
        return Answer(none, "", "The mixture and the verdict are still to come.")
    reason = (
        "The search has found the mixture below. It is not known whether it beats the plain ones, since "
        "the candidates have not been compared."
    )
    return Answer("There is a mixture, but no verdict yet.", "", reason)


def _setting(facts: Facts) -> str:
    """The size of the experiment in one line."""
    verdict = facts.verdict
    parts = [plural(len(facts.domains), "domain")] if facts.domains else []
    if verdict is not None:
        parts.append(f"{plural(len(verdict.candidates), 'mixture')} compared")
        parts.append(f"models of size {verdict.size} on {count(verdict.tokens)} tokens each")
        parts.append(plural(len(verdict.seeds), "seed"))
    if facts.kept_share() < 1:
        parts.append(f"epoch-matched, trained on {percent(facts.kept_share())} of each domain's text")
    return ", ".join(parts)


def _verdict_note(facts: Facts) -> str:
    if facts.verdict is not None:
        target = facts.verdict.recommendation.target
        raced = facts.verdict.race.words() if facts.verdict.race else ()
        return " ".join([f"The recommendation goes by the {target} average.", *raced, *_matched(facts)])
    if facts.outdated:
        return outdated_words(facts)
    done = len([t for t in facts.every("main") if t.finished])
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


def _cut(facts: Facts) -> str:
    """What every table of domains leaves out, said once."""
    if len(facts.domains) <= SHOWN:
        return ""
    return (
        f"This page shows the {len(shown(facts))} largest of {len(facts.domains):,} domains. "
        "mixture.json, verdict.json and the evaluation files hold all."
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
