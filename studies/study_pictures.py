"""Pictures of docs/results/study.md."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from doremi.rundir.layout import RunDirectory
from study import ETAS, PLAIN, SHORT
from study_tables import LEARNED, PER_SEED, SWEEPS, apart, judge, judged, means, proxies, signal, wandered

mpl.rcParams.update({"svg.hashsalt": "doremi", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False})
mpl.rcParams.update({"axes.spines.right": False, "figure.constrained_layout.use": True})


def draw(root: Path, folder: Path) -> None:
    """Write every picture whose runs are there."""
    natural = RunDirectory(root / "natural")
    differences(root, folder / "study-candidates.svg")
    weights(natural, folder / "study-weights.svg")
    etas(root, folder / "study-eta.svg")


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    print(path)


def differences(root: Path, path: Path) -> None:
    """Candidates against natural with intervals: the first seeds of all, more seeds of two, and larger sizes."""
    everyone = (LEARNED, PER_SEED, *PLAIN)
    asked = (
        ("natural", "0.1m", everyone),
        ("natural", "0.1m", (LEARNED, "natural", "uniform")),
        ("natural", "0.3m", everyone),
        ("natural", "3m", everyone),
    )
    held = [v for place, size, names in asked if (v := judge(judged(root, place), size, names)) is not None]
    figure, axes = plt.subplots(1, len(held), figsize=(3 * len(held), 2.4), squeeze=False)
    for axis, verdict in zip(axes[0], held, strict=True):
        lines = [c for c in verdict["comparisons"] if c["opponent"] == "natural" and c["target"] == "uniform"]
        for y, c in enumerate(lines):
            base = c["difference"] / c["relative"]
            low, high = (100 * end / base for end in c["interval"] or (np.nan, np.nan))
            axis.plot([low, high], [y, y], color="#777", linewidth=1)
            axis.plot([100 * c["relative"]], [y], "o", color="#0b5ea8", markersize=5)
        axis.axvline(0, color="#bbb", linewidth=0.8, zorder=0)
        axis.set_yticks(range(len(lines)), [c["candidate"] for c in lines])
        axis.set_ylim(-0.5, len(lines) - 0.5)
        axis.set_xlabel("% bits a byte against natural")
        axis.set_title(f"{verdict['size']}, {len(verdict['seeds'])} seeds")
    save(figure, path)


def weights(run: RunDirectory, path: Path) -> None:
    """Natural share and DoReMi's mixture, with each proxy's."""
    domains, own = list(run.corpus().domains), proxies(run)
    tokens = np.array(run.corpus().count("train", "tokens"), float)
    figure, axis = plt.subplots(figsize=(6.4, 3.2))
    place = np.arange(len(domains))
    axis.bar(place, tokens / tokens.sum(), color="#cfcfcf", label="natural")
    for one in own:
        axis.plot(place, one, "_", color="#0b5ea8", markersize=9, alpha=0.6)
    axis.plot(place, own.mean(axis=0), "o", color="#0b5ea8", markersize=5, label="DoReMi (lines: proxies)")
    axis.set_xticks(place, domains, rotation=40, ha="right")
    axis.set_ylabel("share of tokens")
    axis.legend(frameon=False)
    save(figure, path)


def etas(root: Path, path: Path) -> None:
    """Distance between proxies, signal to noise of their log-weights, and main models, over eta."""
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 2.8))
    for sweep in SWEEPS:
        runs = {eta: RunDirectory(root / f"{sweep}-eta-{eta:g}") for eta in ETAS}
        done = {eta: run for eta, run in runs.items() if run.mixture_path(LEARNED).exists()}
        own = {eta: proxies(run) for eta, run in done.items()}
        style = "o--" if str(SHORT) in sweep else "o-"
        color = "#0b5ea8" if sweep.startswith("chosen") else "#b8541f"
        axes[0].plot(list(own), [apart(w) for w in own.values()], style, color=color, label=sweep)
        axes[1].plot(list(own), [signal(w) / wandered(w) for w in own.values()], style, color=color)
        made = {eta: m.mean() for eta, run in done.items() if (m := means(run)) is not None}
        axes[2].plot(list(made), [100 * (m / made[1.0] - 1) for m in made.values() if 1.0 in made], style, color=color)
    titles = ("tokens elsewhere between proxies", "signal / noise of log-weights", "main models against eta 1, %")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_xscale("log")
        axis.set_xlabel("eta")
        axis.set_title(title)
    axes[0].legend(frameon=False)
    save(figure, path)
