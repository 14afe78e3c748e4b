"""The runs of docs/results/study.md, each once, several at a time; giving the command again goes on.

python benchmarks/study.py [--workers 2] [--only NAME ...]

A search is `doremi reference` and `doremi proxy`; one that differs in its proxy alone takes another's references.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG, RUNS = ROOT / "configs" / "study.yaml", ROOT / "runs" / "study"
ETAS = (0.03, 0.1, 0.3, 1.0, 3.0)
HELD_OUT = ("dialogue", "law", "math_tex", "poetry")  # domains that the rule for eta was not chosen on
CHOSEN = (
    "biomedical", "cpp_docs", "encyclopedia", "novels", "podcasts", "python_code", "scripture", "word_problems",
)  # fmt: skip


@dataclass(frozen=True)
class Search:
    """One run directory: what differs from configs/study.yaml, and whose corpus and references it takes."""

    name: str
    settings: tuple[str, ...] = ()
    like: str = ""


def searches() -> list[Search]:
    """All of them; a run comes after the one whose references it takes."""
    found = [Search("natural")]
    found += [Search(f"eta-{eta:g}", (f"proxy.eta={eta}",), "natural") for eta in ETAS if eta != 1]
    found += [Search(f"variant-{v}", (f"proxy.variant={v}",), "natural") for v in ("official", "hardest", "easiest")]
    found += [Search(f"smoothing-{c:g}", (f"proxy.smoothing={c}",), "natural") for c in (1e-4, 1e-2, 1e-1)]
    found += [
        Search("uniform-reference", ("reference.mixture=uniform",), "natural"),
        Search("rounds", ("rounds.max=3", "proxy.seeds=2"), "natural"),
        Search(
            "bad-reference",
            (f"reference.mixture={ROOT / 'configs' / 'bad-reference.json'}", "rounds.max=3", "proxy.seeds=2"),
            "natural",
        ),
        Search("proxy-0.3m", ("model.preset=0.3m", "proxy.seeds=2"), "natural"),
        Search("proxy-1m", ("model.preset=1m", "proxy.seeds=2"), "natural"),
    ]
    for group, names in (("chosen", CHOSEN), ("held-out", HELD_OUT)):
        for steps in (80, 320) if group == "chosen" else (320,):
            found += eta_sweep(f"{group}-{steps}", names, steps)
    return found


def eta_sweep(name: str, domains: tuple[str, ...], steps: int) -> list[Search]:
    """Searches over some domains only, two sequences of each in a batch, with every eta."""
    data = ", ".join(f"{domain}: ../shared/corpus/{domain}" for domain in domains)
    settings = (
        f"data.domains={{{data}}}",
        f"training.steps={steps}",
        f"training.batch_size={2 * len(domains)}",
        f"training.evaluate_every={steps // 4}",
        "proxy.seeds=3",
    )
    first = f"{name}-eta-1"
    others = [Search(f"{name}-eta-{eta:g}", (*settings, f"proxy.eta={eta}"), first) for eta in ETAS if eta != 1]
    return [Search(first, settings), *others]


def do(search: Search) -> None:
    """Train what is missing of one search; its output goes to a file beside its folder."""
    folder = RUNS / search.name
    settings = [f"runs={RUNS}", f"name={search.name}", *search.settings]
    if search.like:
        share_corpus(RUNS / search.like, folder)
        settings.append(f"reference.reuse={RUNS / search.like}")
    with (RUNS / f"{search.name}.log").open("a") as log:
        for command in ("reference", "proxy"):
            words = [sys.executable, "-m", "doremi", command, str(CONFIG)]
            words += [word for setting in settings for word in ("--set", setting)]
            subprocess.run(words, stdout=log, stderr=log, check=True, cwd=ROOT)


def share_corpus(source: Path, target: Path) -> None:
    """The same prepared corpus in another run directory, on the disk once."""
    if not (target / "corpus").exists():
        target.mkdir(parents=True, exist_ok=True)
        (target / "run.lock").touch()  # marks the folder as a run's
        shutil.copytree(source / "corpus", target / "corpus", copy_function=os.link)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of runs; all of them if not given")
    args = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    wanted = [search for search in searches() if not args.only or search.name in args.only]
    for first in (True, False):  # those whose references others take come first
        with ThreadPoolExecutor(args.workers) as pool:
            list(pool.map(do, [search for search in wanted if bool(search.like) != first]))


if __name__ == "__main__":
    main()
