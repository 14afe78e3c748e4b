"""Stored runs judged by the new verdict, beside what the old one said of them.

python studies/verdict_before.py FOLDER

FOLDER holds the runs of commit 3f771d3 as flat files, one folder a run: `trainings.json` (what was trained, in how many
steps), `documents.json` (bytes and tokens of each validation document, by domain), `losses/*.f64` (nats of each
document) and `verdict.json` (what the old verdict said). These runs have that commit's leak: files called
validation.jsonl.zst were trained on as well. The documents judged here are others, held out by hash.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from doremi.statistics.judge import judge
from doremi.statistics.setting import Terms
from doremi.statistics.table import DomainLosses, Entrant, Measurements, Role
from doremi.statistics.values import Comparison, Ends, Judged

REFERENCE, FOUND = "natural", "doremi"


def read(folder: Path, size: str, seeds: Sequence[int] | None = None) -> Measurements:
    """The main models of one size, for the seeds that all candidates have, or those of `seeds`."""
    documents = json.loads((folder / "documents.json").read_text())
    trainings = json.loads((folder / "trainings.json").read_text())
    rows = {row["training"]: row for row in trainings if row["training"].startswith(f"main/{size}/")}
    every = dict.fromkeys(name.split("/")[2] for name in rows)
    by_name = {name: {int(r.rpartition("-")[2]) for r in rows if r.split("/")[2] == name} for name in every}
    common = set.intersection(*by_name.values()) if seeds is None else set(seeds)
    names = [name for name in every if common <= by_name[name]]
    nats = np.array([[_losses(folder, size, name, seed) for seed in sorted(common)] for name in names])
    weights = [rows[f"main/{size}/{name}/seed-{min(common)}"]["mixture"] for name in names]
    shared = {s for s in sorted(common) if rows[f"main/{size}/{REFERENCE}/seed-{s}"]["is"].startswith("reference/")}
    return Measurements(
        entrants=tuple(_entrant(n, w, documents, shared) for n, w in zip(names, weights, strict=True)),
        seeds=tuple(sorted(common)),
        domains=tuple(_domains(documents, nats)),
    )


def _losses(folder: Path, size: str, name: str, seed: int) -> np.ndarray:
    return np.fromfile(folder / "losses" / f"main--{size}--{name}--seed-{seed}.f64", "<f8")


def _entrant(name: str, weights: dict[str, float], documents: dict[str, Any], shared: set[int]) -> Entrant:
    role: Role = "found" if name == FOUND else "per-seed" if name == f"{FOUND}-per-seed" else "plain"
    return Entrant(
        name=name,
        role=role,
        weights=tuple(weights[domain] for domain in documents),
        method=FOUND if role != "plain" else "",
        is_reference=name == REFERENCE,
        lent=frozenset(shared) if name == REFERENCE else frozenset(),
    )


def _domains(documents: dict[str, Any], nats_CSD: np.ndarray) -> Iterator[DomainLosses]:
    start, tokens = 0, sum(one["train_tokens"] * one["epochs"] for one in documents.values())
    for name, one in documents.items():
        end = start + len(one["bytes"])
        share = one["train_tokens"] * one["epochs"] / tokens
        yield DomainLosses(name, share, np.array(one["bytes"], float), nats_CSD[:, :, start:end])
        start = end


def show(judged: Judged, old: dict[str, Any] | None) -> Iterator[str]:
    """Markdown: the headline, claims, comparisons old and new, regret, domains."""
    yield f"New: {judged.recommended.mixture}. {judged.recommended.reason}"
    if old:
        yield f"\nOld: {old['recommendation']['mixture']}. {old['recommendation']['reason']}"
    yield from ("", "| claim | p, one-sided | held | difference | surely better by |", "|---|---:|---|---:|---:|")
    for one in judged.claims:
        least = f"{one.at_least:+.2%}" if one.held and one.at_least is not None else ""
        held = "yes" if one.held else "no" if one.tested else "not tested"
        claim = f"{one.candidate} over {', '.join(one.over)}"
        yield f"| {claim} | {one.p_value:.4f} | {held} | {one.relative:+.2%} | {least} |"
    yield from ("", "| comparison | average | old | old interval | new | new interval | these documents |")
    yield "|---|---|---|---:|---|---:|---:|"
    yield from (_row(one, judged, old) for one in judged.comparisons)
    yield from ("", "| candidate | average | expected regret | at most |", "|---|---|---:|---:|")
    for target, choices in judged.choices.items():
        for one in choices:
            yield f"| {one.candidate} | {target} | {_share(one.expected)} | {_share(one.at_most)} |"
    for one in judged.domains:
        yield from ("", one.words, "", "| domain | weight | profile | level |", "|---|---:|---:|---:|")
        for row in one.domains:
            ratio = "" if row.weight_ratio is None else f"{row.weight_ratio:.2f}x"
            profile, level = _both(row.profile, row.profile_interval), _both(row.level, row.level_interval)
            yield f"| {row.domain} | {ratio} | {profile} | {level} |"
    for one in judged.without_lent:
        seeds = ", ".join(map(str, one.seeds)) or "none are left"
        yield f"\nWithout shared seeds, {one.candidate}: {_both(one.relative, one.interval)} (seeds: {seeds})."
    yield from (f"\n{one.words()}" for one in (judged.noise, judged.settle) if one)


def _row(one: Comparison, judged: Judged, old: dict[str, Any] | None) -> str:
    level = one.difference / one.relative if one.relative else 1.0
    new, fixed = (None if e is None else (e[0] / level, e[1] / level) for e in (one.interval, one.fixed))
    before = next((c for c in (old or {}).get("comparisons", []) if _is(c, one)), None)
    interval = (
        before
        and before["interval"]
        and tuple(x * before["relative"] / before["difference"] for x in before["interval"])
    )
    return (
        f"| {one.candidate} against {one.opponent} | {one.target} | {before['outcome'] if before else ''} | "
        f"{_both(before['relative'] if before else None, interval)} | {one.outcome} | "
        f"{_both(one.relative, new)} | {_both(None, fixed)} |"
    )


def _is(old: dict[str, Any], new: Comparison) -> bool:
    return (old["candidate"], old["opponent"], old["target"]) == (new.candidate, new.opponent, new.target)


def _both(value: float | None, ends: Ends | None) -> str:
    middle = "" if value is None else f"{value:+.2%}"
    return f"{middle} [{ends[0]:+.2%}, {ends[1]:+.2%}]".strip() if ends else middle


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    runs = [
        ("demo", "0.3m", None), ("study", "0.1m", None), ("study", "0.1m", range(5, 12)), ("study-sizes", "0.3m", None),
        ("study-sizes", "3m", None),
    ]  # fmt: skip
    for name, size, seeds in runs:
        table, path = read(folder / name, size, seeds), folder / name / "verdict.json"
        old = json.loads(path.read_text()) if path.exists() and seeds is None else None
        print(f"\n## {name}, {size}, seeds {', '.join(map(str, table.seeds))}\n")
        print("\n".join(show(judge(table, Terms()), old)))


if __name__ == "__main__":
    main()
