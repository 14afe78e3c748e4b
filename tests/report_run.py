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

NOT_DRAWN = {"forest": None, "profiles": [], "figures": []}
"""For tests of the words alone: drawing takes most of the time."""
LEVEL = 1.1117  # bits per byte that differences are relative to
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
        "format": 1, "unit": "bits_per_byte", "confidence": 0.95, "level": 0.05, "looks": "once",
        "margin": 0.005,
        "domains": domains, "natural_weights": natural.tolist(), "reference_mixture": "natural", "baseline": "natural",
        "size": made.size, "seeds": list(made.seeds), "tokens": made.steps * 128,
        "candidates": [_candidate(made, run.nodes(), name, rows, natural) for name in made.effect],
        "same": [],
        "claims": [
            {"candidate": "doremi", "method": "doremi", "over": over, "level": 0.05, "tested": True, "held": n == 0,
             "p_value": 0.01 + n, "relative": -0.0111 + 0.02 * n, "at_least": 0.0044 - 0.02 * n}
            for n, over in enumerate((["natural"], ["natural", "uniform"]))
        ],
        "comparisons": [
            {"candidate": a, "opponent": b, "family": "primary", "target": t, "difference": -0.01234 + 0.01 * n,
             "relative": (-0.01234 + 0.01 * n) / LEVEL,
             "interval": [-0.02 + 0.01 * n, -0.003 + 0.01 * n] if n else None,
             "fixed": [-0.019 + 0.01 * n, -0.004 + 0.01 * n] if n else None, "outcome": outcomes[n % 4], "small": False}
            for n, (a, b, t) in enumerate(pairs)
        ],
        "choices": {
            t: [{"candidate": name, "expected": 0.001 * i, "at_most": 0.004 + 0.001 * i}
                for i, name in enumerate(made.effect)]
            for t in ("uniform", "natural")
        },
        "domain_changes": [
            {"candidate": a, "words": f"Against natural, {a} surely moves loss from {domains[0]} to {domains[-1]}.",
             "domains": [
                {"domain": d, "weight_ratio": 1.5, "profile": -0.02 + 0.02 * n,
                 "profile_interval": [-0.03 + 0.02 * n, -0.01 + 0.02 * n] if a == "doremi" else None,
                 "level": -0.03 + 0.02 * n, "level_interval": None}
                for n, d in enumerate(domains)]}
            for a, _, t in pairs if t == "uniform"
        ],
        "without_lent": [],
        "noise": {"effect": 0.01, "seeds": 6, "at_most": 10, "documents": None},
        "settle": {"effect": 0.011, "seeds": 7, "at_most": 12, "documents": None},
        "recommendation": {"mixture": "doremi", "target": "uniform", "proved": True,
                           "reason": "doremi is proved better than natural by a hair.", "other_mixture": "doremi"},
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
        "steps_to_baseline": {"step": 31.0 if reached else None, "earliest": 29.0 if reached else None,
                              "latest": None, "of": made.steps, "speedup": made.steps / 31.0 if reached else None},
        "limited": False, "interval_of": "mixture",
        "trainings": {str(node.seed): node.key for node in nodes.find("main", mixture=name)},
    }  # fmt: skip


def a_run(root: Path, made: MadeRun | None = None) -> Path:
    made = made or MadeRun()
    make_run(root, made)
    (root / "verdict.json").write_text(json.dumps(a_verdict(made, root)))
    counted = {"body": 2_345, "parameters": 12_345, "forward": None, "training": None, "saved": None}
    (root / "counts.json").write_text(json.dumps({"format": 1, "counts": {"tiny": counted}}))
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
