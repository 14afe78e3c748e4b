"""The tables and pictures of docs/results/study.md, from what studies/study.py left; what is missing is left out.

python studies/study_tables.py [runs/study] [--pictures docs/results]
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from doremi import verdict
from doremi.diagnostics import settled
from doremi.mixture.files import read_mixture
from doremi.model.operations import of_model
from doremi.model.presets import shape
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.nodes import CandidateRole, NodeRecord, Role
from doremi.statistics import student
from doremi.statistics.setting import Terms
from results_table import candidate_rows, comparison_rows, domain_rows, header, mixture_rows, row
from study import ETAS, FOUND, PLAIN, SHORT, SMOOTHINGS, VARIANTS

LEARNED, PER_SEED = "doremi", "doremi-per-seed"
SWEEPS = ("chosen", f"chosen-{SHORT}", "held-out", f"held-out-{SHORT}")


FIRST_SEEDS = 5  # of the tournament; what they said decided that there should be more


def proxy_share() -> float:
    """A proxy's part of a search's operations: its training, and the forward pass of the live reference."""
    each = of_model(shape("0.1m", None, {}), 2048, 128)
    return (each.training + each.forward) / (2 * each.training + each.forward)


def judge(run: RunDirectory, size: str, mixtures: Sequence[str], first: int = 0) -> dict[str, Any] | None:
    """The verdict over what is there of `mixtures`, with the most seeds, from `first` on, that all of them have."""
    done = evaluated(run, size)
    names = [name for name in mixtures if name in done]
    if len(names) < 2 or "natural" not in names:
        return None
    seeds = sorted(seed for seed in set.intersection(*(set(done[name]) for name in names)) if seed >= first)
    if not seeds:
        return None
    candidates = [candidate(name, done[name], seeds) for name in names]
    return verdict.judge(run, size=size, seeds=seeds, candidates=candidates, reference_mixture="natural").values()


def candidate(name: str, models: Mapping[int, TrainingFolder], seeds: Sequence[int]) -> verdict.Candidate:
    """A mixture with its models of some seeds."""
    roles: dict[str, CandidateRole] = {LEARNED: "found", PER_SEED: "per-seed"}
    trainings = {seed: models[seed] for seed in seeds}
    is_reference = name == "natural"
    return verdict.Candidate(name, roles.get(name, "plain"), trainings, is_reference=is_reference, method=LEARNED)


def judged(root: Path, name: str) -> RunDirectory:
    """The copy of a run with more validation documents (study_judged.py), or the run itself where there is none."""
    copy = root / "judged" / name
    return RunDirectory(copy if copy.exists() else root / name)


def recorded(run: RunDirectory, role: Role) -> list[NodeRecord]:
    """What all commands in this directory have trained: of a later configuration, those of earlier ones are `earlier`.

    The newest are the last, so that a dictionary keeps these.
    """
    nodes = run.nodes()
    return [node for node in (*reversed(nodes.earlier), *nodes.nodes) if node.role == role]


def evaluated(run: RunDirectory, size: str, role: Role = "main") -> dict[str, dict[int, TrainingFolder]]:
    """Models of each mixture by seed, as far as their losses are there."""
    found: dict[str, dict[int, TrainingFolder]] = {}
    if not (run.root / "nodes.json").exists():
        return found
    for node in recorded(run, role):
        folder = run.training(node)
        if node.size == size and folder is not None and (folder.folder / "evaluation.documents.f64").exists():
            found.setdefault(node.mixture, {})[node.seed] = folder
    return found


def searched(run: RunDirectory) -> dict[int, TrainingFolder]:
    """Finished proxies of the first round, by seed."""
    made = run.trainings(node for node in recorded(run, "proxy") if node.round <= 1)
    return {seed: folder for seed, folder in made.items() if folder.finished}


def proxies(run: RunDirectory) -> np.ndarray:
    """Averaged weights of each finished proxy, `[S, K]`."""
    made = searched(run).values()
    return np.array([list(read_mixture(proxy.folder / "mixture.json").weights.values()) for proxy in made])


def apart(weights_SK: np.ndarray) -> float:
    """Mean share of tokens that comes from elsewhere, over pairs of proxies."""
    return float(np.mean([np.abs(a - b).sum() / 2 for a, b in itertools.combinations(weights_SK, 2)]))


def spread(weights_SK: np.ndarray) -> str:
    """`apart`, where there is more than one proxy."""
    return f"{apart(weights_SK):.3f}" if len(weights_SK) > 1 else "-"


def moved(a_K: np.ndarray, b_K: np.ndarray) -> float:
    """Share of tokens that comes from elsewhere."""
    return float(np.abs(a_K - b_K).sum() / 2)


def noise(run: RunDirectory) -> float:
    """Median standard error of a domain's score in one step, over proxies and steps after the first tenth."""
    errors = [proxy.trace()["score_error"] for proxy in searched(run).values()]
    return float(np.median([np.nanmedian(e[len(e) // 10 :]) for e in errors]))


# -- tables ----------------------------------------------------------------------------------------------------------


def tournaments(root: Path) -> Iterator[tuple[str, list[str]]]:
    """The verdict at each size, with its mixtures and domains at the proxy's."""
    natural = judged(root, "natural")
    for title, run, size, names, first in (
        ("0.1m", natural, "0.1m", (LEARNED, PER_SEED, *PLAIN), 0),
        ("0.1m, more seeds", natural, "0.1m", (LEARNED, "natural", "uniform"), 0),
        ("0.1m, seeds that nobody had looked at", natural, "0.1m", (LEARNED, "natural", "uniform"), FIRST_SEEDS),
        ("0.3m", natural, "0.3m", (LEARNED, *PLAIN), 0),
        ("3m", natural, "3m", (LEARNED, *PLAIN), 0),
    ):
        held = judge(run, size, names, first)
        if held is None:
            continue
        if title == "0.1m":
            yield "Mixture (fractions of tokens)", mixture_rows(natural, held)
        yield f"Candidates at {title}: {len(held['seeds'])} seeds", candidate_rows(held)
        yield f"Comparisons at {title}", comparison_rows(held)
        yield f"By domain at {title}", domain_rows(held)
        yield f"Against natural by domain at {title}", against_natural(held)
        yield f"Recommendation at {title}", [held["recommendation"]["reason"]]


def against_natural(held: dict[str, Any]) -> list[str]:
    """DoReMi's difference to natural in each domain, relative: what it changes less the mean change, and the whole."""
    lines = header("domain", "weight", "less the mean change", "interval", "doremi against natural", "interval")
    for one in held["domain_changes"]:
        if one["candidate"] == LEARNED:
            lines += [
                row(
                    c["domain"], f"{c['weight_ratio']:.2f}x", *shares(c["profile"], c["profile_interval"]),
                    *shares(c["level"], c["level_interval"]),
                )
                for c in one["domains"]
            ]  # fmt: skip
    return lines


def shares(value: float, interval: Sequence[float] | None) -> tuple[str, str]:
    """A relative difference and its interval in per cent."""
    ends = "none (one seed)" if interval is None else f"{100 * interval[0]:+.2f} to {100 * interval[1]:+.2f} %"
    return f"{100 * value:+.2f} %", ends


def found(natural: RunDirectory) -> list[str]:
    """Main models on what the other searches found, each against natural and against DoReMi's own mixture."""
    lines = header(
        "mixture", "from natural", "mean, uniform", "against natural", "interval", "against doremi", "interval"
    )
    for name in FOUND:
        held = judge(natural, "0.1m", (LEARNED, "natural", name))
        if held is None or name not in [c["name"] for c in held["candidates"]]:
            continue
        one = next(c for c in held["candidates"] if c["name"] == name)
        cells = [name, f"{moved(np.array(one['weights']), np.array(held['natural_weights'])):.2f}"]
        cells.append(f"{one['mean']['uniform']['bits_per_byte']:.4f}")
        for other in ("natural", LEARNED):
            cells += versus(held, name, other)
        lines.append(row(*cells))
    return lines


def versus(held: dict[str, Any], name: str, other: str) -> list[str]:
    """Relative difference and outcome, and interval, of `name` against `other` on the uniform mean."""
    for c in held["comparisons"]:
        if c["target"] == "uniform" and {c["candidate"], c["opponent"]} == {name, other}:
            sign = 1 if c["candidate"] == name else -1
            base = c["difference"] / c["relative"] if c["relative"] else 1.0
            ends = sorted(sign * x / base for x in c["interval"] or (np.nan, np.nan))
            outcome = c["outcome"] if sign == 1 else {"win": "loss", "loss": "win"}.get(c["outcome"], c["outcome"])
            shown = f"{100 * ends[0]:+.2f} to {100 * ends[1]:+.2f} %" if c["interval"] else "none (one seed)"
            return [f"{100 * sign * c['relative']:+.2f} % {outcome}", shown]
    return ["-", "-"]


def variants(root: Path) -> list[str]:
    """How far other ways to search end from Algorithm 1, and how far their own proxies are apart."""
    base = proxies(RunDirectory(root / "natural"))
    names = [f"variant-{v}" for v in VARIANTS] + [f"smoothing-{c:g}" for c in SMOOTHINGS]
    names += ["proxy-0.3m", "uniform-reference"]
    lines = header(
        "search", "proxies", "from Algorithm 1's mixture", "between its proxies", "from uniform", "largest weight"
    )
    for name in ("natural", *names):
        run = RunDirectory(root / name)
        if not run.mixture_path(LEARNED).exists():
            continue
        own = proxies(run)
        mean, same = own.mean(axis=0), base[: len(own)].mean(axis=0)  # the same seeds of the first search
        cells = [
            f"{moved(mean, same):.3f}",
            spread(own),
            f"{moved(mean, np.full(len(mean), 1 / len(mean))):.3f}",
        ]
        lines.append(row(name, len(own), *cells, f"{mean.max():.3f}"))
    return lines


def rounds(root: Path) -> list[str]:
    """Largest change of a weight in each round, and the weight of the domain that the bad reference has most of."""
    lines = header("search", "round", "largest change", "domain", "poetry", "math_tex", "stopped")
    for name in ("rounds", "bad-reference"):
        path = root / name / "mixture.json"
        for held in json.loads(path.read_text()).get("rounds", []) if path.exists() else []:
            cells = (
                f"{held['largest_change']:.3f}",
                held["domain"],
                *(f"{held['weights'][d]:.3f}" for d in ("poetry", "math_tex")),
            )
            lines.append(row(name, held["round"], *cells, held["stopped"] or "no"))
    return lines


def etas(root: Path) -> list[str]:
    """Each sweep over eta: noise, agreement of proxies, and what main models made of each proxy's mixture."""
    lines = header("sweep", "eta", "noise of a score", "log-weights between proxies, predicted", "observed",
                   "signal", "signal / observed", "weights between proxies",
                   "main models, bits a byte, select", "report", "report against eta 1", "95 % interval")  # fmt: skip
    for sweep, eta in itertools.product(SWEEPS, ETAS):
        run = RunDirectory(root / f"{sweep}-eta-{eta:g}")
        if not run.mixture_path(LEARNED).exists():
            continue
        own = proxies(run)
        steps = searched(run)[0].stage()["steps"]
        cells = [f"{noise(run):.3f}", f"{predicted(eta, noise(run), steps):.2f}", f"{wandered(own):.2f}"]
        cells += [f"{signal(own):.2f}", f"{signal(own) / wandered(own):.1f}", f"{apart(own):.3f}"]
        cells += judged_eta(root, sweep, run)
        lines.append(row(sweep, f"{eta:g}", *cells))
    return lines


def predicted(eta: float, noise_of_score: float, steps: int) -> float:
    """Standard deviation that independent noise of the scores alone gives a log-weight, averaged over a search.

    A sum of T independent terms of size eta x noise has eta x noise x sqrt(T) at the end; the mean of the sums so far
    has that over sqrt(3). Smoothing and what the proxy learns from its weights are left out.
    """
    return eta * noise_of_score * (steps / 3) ** 0.5


def wandered(weights_SK: np.ndarray) -> float:
    """Standard deviation between proxies of a log-weight less its mean over domains, root mean square over domains."""
    log_SK = np.log(weights_SK)
    return float(np.sqrt((log_SK - log_SK.mean(axis=1, keepdims=True)).var(axis=0, ddof=1).mean()))


def signal(weights_SK: np.ndarray) -> float:
    """Standard deviation over domains of what proxies agree on in a log-weight: that of the mean, less its noise."""
    log_SK = np.log(weights_SK)
    spread = log_SK.mean(axis=0).var(ddof=1)
    return float(np.sqrt(max(0.0, spread - wandered(weights_SK) ** 2 / len(weights_SK))))


def judged_eta(root: Path, sweep: str, run: RunDirectory) -> list[str]:
    """Mean over seeds of main models on each proxy's own mixture; paired difference to those of eta 1."""
    select, own, one = means(run, "select"), means(run), means(RunDirectory(root / f"{sweep}-eta-1"))
    if own is None or select is None:
        return ["-"] * 4
    shown = [f"{select.mean():.4f}", f"{own.mean():.4f}"]
    return [*shown, *(("-", "-") if one is None or run.root.name.endswith("eta-1") else paired(own, one))]


def means(run: RunDirectory, split: str = "report") -> np.ndarray | None:
    """Unweighted mean of a split's bits a byte, one for each seed of the method, `[S]`."""
    models = evaluated(run, "0.1m").get(PER_SEED, {}).values()
    each = [np.mean(model.evaluation()[split]["bits_per_byte"]) for model in models]
    return np.array(each) if each else None


def paired(own_S: np.ndarray, other_S: np.ndarray) -> list[str]:
    """Relative difference of means with Student's interval over seeds."""
    seeds = min(len(own_S), len(other_S))
    relative_S = own_S[:seeds] / other_S[:seeds] - 1
    half = float(student.quantile(0.05, seeds - 1)) * relative_S.std(ddof=1) / seeds**0.5
    low, high = relative_S.mean() - half, relative_S.mean() + half
    return [f"{100 * relative_S.mean():+.2f} %", f"{100 * low:+.2f} to {100 * high:+.2f} %"]


def early(root: Path) -> list[str]:
    """How far the average after part of a proxy's steps is from that after all, and when it would have stopped."""
    lines = header(
        "search", "proxies", "steps", "after 25 %", "50 %", "75 %", "between proxies", "settled at",
        "of the search saved by stopping at 50 %", "at 75 %",
    )  # fmt: skip
    for name in ("natural", "chosen-eta-1", "held-out-eta-1", f"chosen-{SHORT}-eta-1", "long"):
        run = RunDirectory(root / name)
        if not run.mixture_path(LEARNED).exists():
            continue
        paths = [proxy.trace()["weights"].astype(float) for proxy in searched(run).values()]
        steps = len(paths[0])
        share = [
            np.mean([moved(p[: int(steps * part)].mean(0), p.mean(0)) for p in paths]) for part in (0.25, 0.5, 0.75)
        ]
        own = proxies(run)
        ends = [str(first_settled(p) or "never") for p in paths]
        saved = [f"{100 * (1 - part) * proxy_share():.0f} %" for part in (0.5, 0.75)]
        cells = (*(f"{s:.3f}" for s in share), spread(own), ", ".join(ends), *saved)
        lines.append(row(name, len(paths), steps, *cells))
    return lines


def first_settled(path_TK: np.ndarray) -> int | None:
    """The first tenth of the steps after which the averaged weights count as settled."""
    tenths = [len(path_TK) * part // 10 for part in range(1, 11)]
    return next((step for step in tenths if settled.judge(path_TK[:step]).settled), None)


def equal_compute(root: Path) -> list[str]:
    """DoReMi from one proxy against plain mixtures that trained on."""
    run = judged(root, "equal-compute")
    own, longer = evaluated(run, "0.1m").get(LEARNED, {}), evaluated(run, "0.1m", "longer").get("natural", {})
    seeds = sorted({*own} & {*longer})
    if not seeds:
        return []
    held = verdict.equal_compute(
        run, size="0.1m", seeds=seeds, candidates=[candidate(LEARNED, own, seeds)],
        longer=[candidate("natural", longer, seeds)], terms=Terms(),
    ).model_dump(mode="json")  # fmt: skip
    steps = {c["name"]: c for c in held["candidates"]}
    lines = header(
        "opponent", "its steps", "its mean", "doremi's mean", "average", "doremi against it", "interval, bits a byte"
    )
    for c in held["comparisons"]:
        other, t = steps[c["opponent"]], c["target"]
        means_ = (f"{other['mean'][t]:.4f}", f"{steps[LEARNED]['mean'][t]:.4f}")
        interval = "none" if c["interval"] is None else f"{c['interval'][0]:+.4f} to {c['interval'][1]:+.4f}"
        lines.append(
            row(c["opponent"], other["steps"], *means_, t, f"{100 * c['relative']:+.2f} % {c['outcome']}", interval)
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", default="runs/study", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for the pictures; none if not given")
    args = parser.parse_args()
    sections = [
        *tournaments(args.root),
        ("At equal total compute", equal_compute(args.root)),
        ("Other searches: mixtures", variants(args.root)),
        ("Other searches: main models", found(judged(args.root, "natural"))),
        ("Rounds", rounds(args.root)),
        ("Eta", etas(args.root)),
        ("Stopping early", early(args.root)),
    ]
    for title, lines in sections:
        if lines:
            print(f"### {title}\n\n" + "\n".join(lines) + "\n")
    if args.pictures:
        from study_pictures import draw

        draw(args.root, args.pictures)


if __name__ == "__main__":
    main()
