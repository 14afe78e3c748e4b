"""A finished run with a verdict, and a reader of HTML pages, for the tests of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from doremi.report import write_report
from doremi.rundir.layout import RunDirectory
from doremi.rundir.nodes import Nodes
from make_run import MadeRun, make_run

VOID = {"meta", "link", "img", "br", "hr", "input"}


def a_verdict(made: MadeRun, root: Path) -> dict[str, Any]:
    """A verdict by hand, with every outcome, over the run's own numbers."""
    run, domains = RunDirectory(root), list(made.domains)
    natural = np.array([made.natural()[d] for d in domains])
    rows = {}
    for name in made.effect:
        reports = [run.main(made.size, name, seed).evaluation()["report"] for seed in made.seeds]
        rows[name] = {u: np.mean([r[u] for r in reports], axis=0) for u in ("loss", "bits_per_byte", "perplexity")}
    outcomes = ["win", "loss", "tie", "undecided"]
    pairs = [
        (name, "natural", target) for name in made.effect if name != "natural" for target in ("uniform", "natural")
    ]
    return {
        "format": 1, "split": "report", "unit": "bits_per_byte", "confidence": 0.95, "margin": 0.005,
        "domains": domains, "natural_weights": natural.tolist(), "reference_mixture": "natural",
        "size": made.size, "seeds": list(made.seeds), "tokens": made.steps * 128,
        "candidates": [_candidate(made, run.nodes(), name, rows, natural) for name in made.effect],
        "comparisons": [
            {"candidate": a, "opponent": b, "family": "learned", "target": t, "difference": -0.01234 + 0.01 * n,
             "relative": -0.0111, "interval": [-0.02 + 0.01 * n, -0.003 + 0.01 * n] if n else None, "p_value": 0.01,
             "p_adjusted": 0.0437 if n else None, "outcome": outcomes[n % 4]}
            for n, (a, b, t) in enumerate(pairs)
        ],
        "domain_comparisons": [
            {"candidate": a, "opponent": b, "domain": d, "difference": 0.0321 - 0.02 * n,
             "interval": [0.0121 - 0.02 * n, 0.0521 - 0.02 * n] if a == "doremi" else None,
             "outcome": outcomes[n % 4]}
            for a, b, t in pairs if t == "uniform" for n, d in enumerate(domains)
        ],
        "worst_comparisons": [
            {"candidate": a, "opponent": b,
             "loss": {"domains": [domains[0], domains[0]], "difference": 0.01, "interval": [0.004, 0.016],
                      "outcome": outcomes[1]},
             "regret": {"domain": domains[0], "difference": 0.0321, "interval": [0.0221, 0.0421]}}
            for a, b, t in pairs if t == "uniform"
        ],
        "recommendation": {"mixture": "doremi", "reason": "doremi beats natural by a hair.", "outcome": "win",
                           "tied_with": ["uniform"], "seeds_to_decide": 7, "target": "uniform"},
    }  # fmt: skip


def _candidate(made: MadeRun, nodes: Nodes, name: str, rows: Mapping[str, Any], natural: np.ndarray) -> dict[str, Any]:
    bits, loss = rows[name]["bits_per_byte"], rows[name]["loss"]
    regret = bits - rows["natural"]["bits_per_byte"]
    worst, most = int(bits.argmax()), int(regret.argmax())
    reached = name != "uniform"
    return {
        "name": name,
        "weights": list(made.mixture(name).weights.values()),
        "epochs": [0.25 + 0.5 * i for i in range(len(bits))],
        "epochs_at_budget": [8.5 - 2.5 * i for i in range(len(bits))],
        **{unit: values.tolist() for unit, values in rows[name].items()},
        "mean": {
            "uniform": {"bits_per_byte": float(bits.mean()), "loss": float(loss.mean())},
            "natural": {"bits_per_byte": float(bits @ natural), "loss": float(loss @ natural)},
        },
        "worst": {"domain": made.domains[worst], "bits_per_byte": float(bits[worst]), "loss": float(9 - loss[worst])},
        "worst_regret": {"domain": made.domains[most], "bits_per_byte": float(regret[most])},
        "rank": {"uniform": 1, "natural": 2, "worst": 3},
        "domains_better_than_reference": int((regret < 0).sum()),
        "steps_to_baseline": {"reached": reached, "step": 31.0 if reached else None, "of": made.steps,
                              "speedup": made.steps / 31.0 if reached else None},
        "limited": False, "interval_of": "mixture",
        "trainings": {str(node.seed): node.key for node in nodes.find("main", mixture=name)},
    }  # fmt: skip


def a_run(root: Path, made: MadeRun | None = None) -> Path:
    made = made or MadeRun()
    make_run(root, made)
    (root / "verdict.json").write_text(json.dumps(a_verdict(made, root)))
    lines = [{"stage": f"proxy/seed-{s}", "seconds": 90.0, "tokens": 5120} for s in (0, 1)]
    (root / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


@cache
def a_report(folder: Path) -> Path:
    """A finished run with its report, made once a session; tests read it and leave it alone."""
    root = a_run(folder / "report" / "demo")
    write_report(RunDirectory(root))
    return root


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag: str = "") -> list[Element]:
        inside = [child for child in self.children if isinstance(child, Element)]
        return [e for child in inside for e in ([child] if tag in ("", child.tag) else []) + child.all(tag)]

    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text() for child in self.children)


class Page(HTMLParser):
    """A tree of the page; a tag that is not closed where it should be is an error."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("")
        self.open = [self.root]
        self.feed(path.read_text(encoding="utf-8"))
        assert [e.tag for e in self.open] == [""], "tags left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(self.open[-1].children[-1])  # pyright: ignore[reportArgumentType]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute given twice in <{tag}>"
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)

    def by_id(self, key: str) -> Element:
        return next(e for e in self.root.all() if e.attributes.get("id") == key)

    def table(self, key: str) -> dict[str, dict[str, str]]:
        """Row heading -> column title -> text; no-break spaces as blanks."""
        table = self.by_id(key)
        head = [words(th) for th in table.all("thead")[0].all("th")][1:]
        return {
            words(row.all("bdi")[0]): dict(zip(head, [words(td) for td in row.all("td")], strict=True))
            for part in table.all("tbody") + table.all("tfoot")
            for row in part.all("tr")
        }


def words(element: Element) -> str:
    return " ".join(element.text().replace("\N{NO-BREAK SPACE}", " ").split())


def read(root: Path, name: str) -> dict[str, Any]:
    return json.loads((root / name).read_text())
