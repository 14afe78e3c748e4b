"""Prints a finished run as Markdown: mixture and its spread over seeds, candidates, comparisons, loss by domain.

python studies/results_table.py runs/twelve-domains > table.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from doremi.rundir.layout import RunDirectory


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def header(*names: str) -> list[str]:
    return [row(*names), row(*["---"] + ["---:"] * (len(names) - 1))]


def mixture_rows(run: RunDirectory, verdict: dict[str, Any]) -> list[str]:
    """Weights of natural, DoReMi and each proxy seed."""
    mixture = json.loads(run.mixture_path("doremi").read_text())
    seeds = list(mixture["per_seed"])
    lines = header("domain", "natural", "DoReMi", *[f"seed {s}" for s in seeds], "epochs in this run")
    epochs = next(c["epochs"] for c in verdict["candidates"] if c["name"] == "doremi")
    for i, name in enumerate(verdict["domains"]):
        each = [f"{mixture['per_seed'][s][name]:.3f}" for s in seeds]
        natural, weight = verdict["natural_weights"][i], mixture["weights"][name]
        lines.append(row(name, f"{natural:.3f}", f"{weight:.3f}", *each, f"{epochs[i]:.3f}"))
    return lines


def candidate_rows(verdict: dict[str, Any]) -> list[str]:
    lines = header("candidate", "mean, uniform", "mean, natural", "worst", "better than reference", "steps to baseline")
    for c in verdict["candidates"]:
        reached = c["steps_to_baseline"]
        steps = "not reached" if reached["step"] is None else f"{reached['step']:.0f} of {reached['of']}"
        mean = {target: f"{c['mean'][target]['bits_per_byte']:.4f}" for target in ("uniform", "natural")}
        worst = f"{c['worst']['bits_per_byte']:.4f} {c['worst']['domain']}"
        better = f"{c['domains_better_than_reference']} of {len(verdict['domains'])}"
        lines.append(row(c["name"], mean["uniform"], mean["natural"], worst, better, steps))
    return lines


def comparison_rows(verdict: dict[str, Any]) -> list[str]:
    lines = header(
        "comparison", "average", "relative difference", "interval, bits a byte", "these documents", "outcome"
    )
    for c in verdict["comparisons"]:
        interval, fixed = ("none" if e is None else f"{e[0]:+.4f} to {e[1]:+.4f}" for e in (c["interval"], c["fixed"]))
        pair = f"{c['candidate']} against {c['opponent']}"
        lines.append(row(pair, c["target"], f"{100 * c['relative']:+.2f} %", interval, fixed, c["outcome"]))
    return lines


def domain_rows(verdict: dict[str, Any]) -> list[str]:
    lines = header("domain", *[c["name"] for c in verdict["candidates"]])
    for i, name in enumerate(verdict["domains"]):
        lines.append(row(name, *[f"{c['bits_per_byte'][i]:.4f}" for c in verdict["candidates"]]))
    return lines


def main(folder: str) -> None:
    run = RunDirectory(Path(folder))
    verdict = json.loads((run.root / "verdict.json").read_text())
    for title, lines in (
        ("Mixture (fractions of tokens)", mixture_rows(run, verdict)),
        ("Candidates (bits a byte, all validation documents)", candidate_rows(verdict)),
        ("Comparisons", comparison_rows(verdict)),
        ("Bits a byte by domain", domain_rows(verdict)),
    ):
        print(f"### {title}\n\n" + "\n".join(lines) + "\n")
    print(f"Recommendation: {verdict['recommendation']['reason']}")


if __name__ == "__main__":
    main(sys.argv[1])
