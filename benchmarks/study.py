"""The runs of docs/results/study.md, each once; giving the command again goes on.

python benchmarks/study.py [--only NAME ...]

Two lines of work at a time: searches (`doremi reference`, `doremi proxy`) in a directory each, where one that differs
in its proxy alone takes another's references; and main models, all in the directory of the first search.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG, RUNS = ROOT / "configs" / "study.yaml", ROOT / "runs" / "study"
ETAS = (0.1, 0.3, 1.0, 3.0)
HELD_OUT = ("dialogue", "law", "math_tex", "poetry")  # domains that the rule for eta was not chosen on
CHOSEN = (
    "biomedical", "cpp_docs", "encyclopedia", "novels", "podcasts", "python_code", "scripture", "word_problems",
)  # fmt: skip
VARIANTS = ("official", "hardest", "easiest")
PLAIN = ("natural", "uniform", "temperature", "unimax")
SMOOTHINGS = (1e-4, 1e-2)
FOUND = (*(f"variant-{name}" for name in VARIANTS), "uniform-reference", "rounds", "bad-reference")


@dataclass(frozen=True)
class Search:
    """One run directory: what differs from configs/study.yaml, and whose corpus and references it takes."""

    name: str
    settings: tuple[str, ...] = ()
    like: str = "natural"
    commands: tuple[str, ...] = ("reference", "proxy")


def searches() -> list[Search]:
    """All of them; a run comes after the one whose references it takes."""
    bad = str(ROOT / "configs" / "bad-reference.json")
    return [
        Search("natural", like=""),
        *eta_sweep("chosen-320", CHOSEN, 320),
        *(Search(f"variant-{v}", (f"proxy.variant={v}", "proxy.seeds=3")) for v in VARIANTS),
        *eta_sweep("held-out-320", HELD_OUT, 320),
        Search("bad-reference", (f"reference.mixture={bad}", "rounds.max=3", "proxy.seeds=1")),
        Search("uniform-reference", ("reference.mixture=uniform", "proxy.seeds=2")),
        Search("rounds", ("rounds.max=3", "proxy.seeds=1")),
        Search("proxy-0.3m", ("model.preset=0.3m", "proxy.seeds=1")),
        *(Search(f"smoothing-{c:g}", (f"proxy.smoothing={c}", "proxy.seeds=1")) for c in SMOOTHINGS),
        long_search(),
        Search(
            "equal-compute", ("proxy.seeds=1", "candidates.seeds=2", "candidates.equal_compute=true"), commands=("run",)
        ),
    ]


def eta_sweep(name: str, domains: tuple[str, ...], steps: int) -> list[Search]:
    """Searches over some domains only, two sequences of each in a batch, with every eta."""
    data = ", ".join(f"{domain}: ../shared/corpus/{domain}" for domain in domains)
    settings = (
        f"data.domains={{{data}}}",
        f"training.steps={steps}",
        f"training.batch_size={2 * len(domains)}",
        f"training.evaluate_every={steps // 2}",
        "proxy.seeds=3",
    )
    first = f"{name}-eta-1"
    others = [Search(f"{name}-eta-{eta:g}", (*settings, f"proxy.eta={eta}"), first) for eta in ETAS if eta != 1]
    return [Search(first, settings, ""), *others]


def long_search() -> Search:
    """Steps enough to ask whether averaged weights settle: four domains, one proxy."""
    data = ", ".join(f"{domain}: ../shared/corpus/{domain}" for domain in HELD_OUT)
    sizes = ("training.steps=2000", "training.batch_size=8", "training.evaluate_every=500", "proxy.seeds=1")
    return Search("long", (f"data.domains={{{data}}}", *sizes), "")


def search(one: Search) -> None:
    """Train what is missing of one search."""
    if one.like:
        share_corpus(RUNS / one.like, RUNS / one.name)
    for command in one.commands:
        doremi(command, one.name, with_references(one))


def doremi(command: str, name: str, settings: Sequence[str]) -> None:
    """One command; its output goes to a file beside the run's folder."""
    words = [sys.executable, "-m", "doremi", command, str(CONFIG)]
    for setting in (f"runs={RUNS}", f"name={name}", *settings):
        words += ["--set", setting]
    with (RUNS / f"{name}.log").open("a") as log:
        subprocess.run(words, stdout=log, stderr=log, check=True, cwd=ROOT)


def share_corpus(source: Path, target: Path) -> None:
    """The same prepared corpus in another run directory, on the disk once."""
    if not (target / "corpus").exists():
        target.mkdir(parents=True, exist_ok=True)
        (target / "run.lock").touch()  # marks the folder as a run's
        shutil.copytree(source / "corpus", target / "corpus", copy_function=os.link)


def tournaments() -> None:
    """Main models of the proxy's size and of larger ones, and on what other searches found."""
    everyone = ", ".join(("doremi", "doremi-per-seed", *PLAIN))
    doremi("run", "natural", [f"candidates.mixtures=[{everyone}]"])
    larger("0.3m", "doremi, natural, uniform", 3)
    etas_judged("chosen-320")
    larger("3m", "doremi, natural", 1)
    etas_judged("held-out-320")


def larger(size: str, mixtures: str, seeds: int) -> None:
    settings = (f"candidates.mixtures=[{mixtures}]", f"candidates.sizes=[{size}]", f"candidates.seeds={seeds}")
    doremi("train", "natural", settings)


def found_mixtures() -> None:
    """Main models on what the other searches found."""
    paths = []
    for name in FOUND:
        path = RUNS / f"{name}.json"  # the candidate is called after its file
        shutil.copyfile(RUNS / name / "mixture.json", path)
        paths.append(str(path))
    doremi("train", "natural", [f"candidates.mixtures=[{', '.join(paths)}]", "candidates.seeds=2"])


def etas_judged(sweep: str) -> None:
    """Main models for every eta of a sweep, each seed on the mixture of its own proxy."""
    for one in searches():
        if one.name.startswith(sweep):
            settings = ("candidates.mixtures=[doremi-per-seed, natural]", "candidates.seeds=2")
            doremi("train", one.name, [*with_references(one), *settings])


def with_references(one: Search) -> list[str]:
    """What a search differs in from configs/study.yaml."""
    return [*one.settings, *([f"reference.reuse={RUNS / one.like}"] if one.like else [])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="names of searches; everything if not given")
    args = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    wanted = [one for one in searches() if not args.only or one.name in args.only]
    first, *others = wanted
    search(first)
    late = [one for one in others if one.name in ("long", "equal-compute")]  # that nothing else needs
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(lambda: [search(one) for one in others if one not in late])
        main_models = [] if args.only else [pool.submit(tournaments)]
        rest = pool.submit(lambda: [search(one) for one in late])
        main_models += [] if args.only else [pool.submit(lambda: (early.result(), found_mixtures()))]
        for one in (early, rest, *main_models):
            one.result()


if __name__ == "__main__":
    main()
