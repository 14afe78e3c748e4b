"""The runs of docs/results/study.md, each once; giving the command again goes on.

python studies/study.py [--only NAME ...]

Searches (`doremi reference`, `doremi proxy`) have a directory each, and one that differs in its proxy alone takes
another's references; main models are trained in the directory of the first search, those of the sweeps in their own.
All of them find their corpora in one place, `runs/study/corpora`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG, RUNS = ROOT / "configs" / "study.yaml", ROOT / "runs" / "study"
TEXT = ROOT.parent / "shared" / "corpus"
ETAS = (0.1, 0.3, 1.0, 3.0)
HELD_OUT = ("dialogue", "law", "math_tex", "poetry")  # domains that the rule for eta was not chosen on
CHOSEN = (
    "biomedical", "cpp_docs", "encyclopedia", "novels", "podcasts", "python_code", "scripture", "word_problems",
)  # fmt: skip
VARIANTS = ("official", "hardest", "easiest")
PLAIN = ("natural", "uniform", "temperature", "unimax")
SMOOTHINGS = (1e-4, 1e-2)
# whose mixtures main models are trained on; the official variant's is DoReMi's own to a thousandth
FOUND = ("variant-hardest", "variant-easiest", "uniform-reference", "rounds", "bad-reference", "proxy-0.3m")
SHORT = 80  # steps of the second sweep over eta, of which only the weights are looked at
SEEDS = 12


@dataclass(frozen=True)
class Search:
    """One run directory: what differs from configs/study.yaml, and whose references it takes."""

    name: str
    settings: tuple[str, ...] = ()
    like: str = "natural"
    commands: tuple[str, ...] = ("reference", "proxy")


def searches() -> list[Search]:
    """All of them; a search comes after the one whose references it takes."""
    bad = str(ROOT / "configs" / "bad-reference.json")
    equal = ("proxy.seeds=1", "candidates.mixtures=[doremi, natural]", "candidates.seeds=3")
    return [
        Search("natural", like=""),
        *(Search(f"variant-{v}", (f"proxy.variant={v}", "proxy.seeds=3")) for v in VARIANTS),
        Search("uniform-reference", ("reference.mixture=uniform", "proxy.seeds=3")),
        Search("rounds", ("rounds.max=3", "proxy.seeds=1")),
        Search("bad-reference", (f"reference.mixture={bad}", "rounds.max=3", "proxy.seeds=1")),
        Search("proxy-0.3m", ("model.preset=0.3m", "proxy.seeds=2")),
        *(Search(f"smoothing-{c:g}", (f"proxy.smoothing={c}", "proxy.seeds=2")) for c in SMOOTHINGS),
        *eta_sweep("chosen", CHOSEN),
        *eta_sweep("held-out", HELD_OUT),
        *eta_sweep(f"chosen-{SHORT}", CHOSEN, SHORT),
        *eta_sweep(f"held-out-{SHORT}", HELD_OUT, SHORT),
        Search("equal-compute", (*equal, "candidates.equal_compute=true"), commands=("run",)),
        long_search(),
    ]


def eta_sweep(name: str, domains: tuple[str, ...], steps: int | None = None) -> list[Search]:
    """Searches over some domains only, two sequences of each in a batch, with every eta."""
    data = ", ".join(f"{domain}: {TEXT / domain}" for domain in domains)
    settings = (
        f"data.domains={{{data}}}",
        *((f"training.steps={steps}",) if steps else ()),
        f"training.batch_size={2 * len(domains)}",
        "proxy.seeds=3",
    )
    first = f"{name}-eta-1"
    others = [Search(f"{name}-eta-{eta:g}", (*settings, f"proxy.eta={eta}"), first) for eta in ETAS if eta != 1]
    return [Search(first, settings, ""), *others]


def long_search() -> Search:
    """Steps enough to ask whether averaged weights settle: four domains, one proxy."""
    data = ", ".join(f"{domain}: {TEXT / domain}" for domain in HELD_OUT)
    sizes = ("training.steps=2000", "training.batch_size=8", "training.evaluate_every=500", "proxy.seeds=1")
    return Search("long", (f"data.domains={{{data}}}", *sizes), "")


def search(one: Search) -> None:
    """Train what is missing of one search."""
    for command in one.commands:
        doremi(command, one.name, with_references(one))


def doremi(command: str, name: str, settings: Sequence[str]) -> None:
    """One command; its output goes to a file beside the run's folder."""
    words = [sys.executable, "-m", "doremi", command, str(CONFIG)]
    for setting in (f"runs={RUNS}", f"name={name}", *settings):
        words += ["--set", setting]
    with (RUNS / f"{name}.log").open("a") as log:
        subprocess.run(words, stdout=log, stderr=log, check=True, cwd=ROOT)


def tournament() -> None:
    """Main models of the proxy's size: DoReMi, the method, and all plain mixtures."""
    everyone = ", ".join(("doremi", "doremi-per-seed", *PLAIN))
    doremi("run", "natural", [f"candidates.mixtures=[{everyone}]"])


def more_seeds() -> None:
    """More seeds where the question is narrow: DoReMi against natural and uniform."""
    doremi("train", "natural", ["candidates.mixtures=[doremi, natural, uniform]", f"candidates.seeds={SEEDS}"])


def larger(size: str) -> None:
    """Main models of another size on the same mixtures."""
    settings = ("candidates.mixtures=[doremi, natural]", f"candidates.sizes=[{size}]", "candidates.seeds=3")
    doremi("train", "natural", settings)


def found_mixtures() -> None:
    """Main models on what the other searches found."""
    paths = []
    for name in FOUND:
        path = RUNS / f"{name}.json"  # the candidate is called after its file
        shutil.copyfile(RUNS / name / "mixture.json", path)
        paths.append(str(path))
    doremi("train", "natural", [f"candidates.mixtures=[{', '.join(paths)}]", "candidates.seeds=3"])


def eta_judged(one: Search) -> None:
    """Main models for one eta, each seed on the mixture of its own proxy."""
    settings = ("candidates.mixtures=[doremi-per-seed, natural]", "candidates.seeds=3")
    doremi("train", one.name, [*with_references(one), *settings])


def with_references(one: Search) -> list[str]:
    """What a search differs in from configs/study.yaml."""
    return [*one.settings, *([f"reference.reuse={RUNS / one.like}"] if one.like else [])]


@dataclass(frozen=True)
class Job:
    """Something to do in one run directory, once others are done."""

    name: str
    directory: str
    needs: tuple[str, ...]
    work: Callable[[], None]


def jobs() -> list[Job]:
    """All of the study, what matters most first."""
    found = [Job(s.name, s.name, (s.like,) if s.like else (), partial(search, s)) for s in searches()]
    first, others = found[0], found[1:]
    judged = [
        Job(f"{s.name} judged", s.name, (s.name,), partial(eta_judged, s))
        for s in searches()
        if "-eta-" in s.name and str(SHORT) not in s.name
    ]
    main_models = [
        Job("tournament", "natural", ("natural",), tournament),
        Job("3m", "natural", ("natural",), partial(larger, "3m")),
        Job("found mixtures", "natural", ("tournament", *FOUND), found_mixtures),
        Job("more seeds", "natural", ("found mixtures",), more_seeds),
        Job("0.3m", "natural", ("3m",), partial(larger, "0.3m")),
    ]
    return [first, *main_models, *others, *judged]


def ready(waiting: Sequence[Job], busy: Sequence[Job], done: Set[str]) -> Job | None:
    """The first job whose needs are met and whose directory nobody works in: a run directory takes one process."""
    taken = {job.directory for job in busy}
    return next((job for job in waiting if job.directory not in taken and done >= set(job.needs)), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="names of jobs; everything if not given")
    parser.add_argument("--at-once", type=int, default=2, help="jobs at a time, a thread each (default 2)")
    args = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    waiting = [job for job in jobs() if not args.only or job.name in args.only]
    done = set() if not args.only else {job.name for job in jobs()} - set(args.only)
    running: dict[Future[None], Job] = {}
    with ThreadPoolExecutor(args.at_once) as pool:
        while waiting or running:
            while len(running) < args.at_once and (job := ready(waiting, list(running.values()), done)):
                waiting.remove(job)
                running[pool.submit(job.work)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                future.result()
                done.add(job.name)
                print(f"done: {job.name}", flush=True)


if __name__ == "__main__":
    main()
