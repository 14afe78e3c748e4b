"""Every main model of the study on more documents than were watched while it trained; giving the command again goes on.

python studies/study_judged.py [--at-once 2]

An interval needs documents: a dozen a half, where the evaluations during training, which must be quick, have whole
chapters and so one or two. Here each held-out document is cut to its first 4,000 characters, and up to 40,000 tokens a
domain are kept. The run directories are copied to runs/study/judged without their models, with these losses in place of
the others; study_tables.py judges the copies. Steps to baseline still come from the evaluations during training.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from doremi.corpus.pool import whole
from doremi.files import write_json
from doremi.rundir.layout import RunDirectory
from study import CHOSEN, HELD_OUT, RUNS, TEXT, doremi

CHARACTERS, TOKENS = 4_000, 40_000
DIRECTORIES = ("natural", "equal-compute")
JUDGED, WIDE = RUNS / "judged", RUNS / "wide"
LEFT_OUT = shutil.ignore_patterns("corpus", "models", "model", "checkpoint", "evaluation.*", "losses", "locks")


def prepare_documents() -> None:
    """A corpus with the study's tokenizer whose validation documents are cut, and more."""
    from doremi.corpus.readers import read_documents

    domains = []
    for domain in (*CHOSEN, *HELD_OUT):
        text = RUNS / "cut" / f"{domain}.jsonl"
        text.parent.mkdir(exist_ok=True)
        source = TEXT / domain
        documents = read_documents([str(source / "validation.jsonl.zst")], text_field="text", domain=domain)
        text.write_text("".join(json.dumps({"text": document[:CHARACTERS]}) + "\n" for document in documents))
        domains.append(f"{domain}: {{train: {source / 'train.jsonl.zst'}, validation: {text}}}")
    tokenizer = RunDirectory(RUNS / "natural").whole_corpus().folder / "tokenizer" / "tokenizer.json"
    settings = (f"data.domains={{{', '.join(sorted(domains))}}}", f"data.tokenizer={tokenizer}")
    doremi("prepare", "wide", (*settings, f"data.validation_max_tokens={TOKENS}"))


def copies(name: str) -> Iterator[tuple[Path, Path]]:
    """Copy what is new of a run directory; the training folders, and their copies, that have no losses yet."""
    source, target = RUNS / name, JUDGED / name
    shutil.copytree(source, target, ignore=LEFT_OUT, copy_function=link, dirs_exist_ok=True)
    if not (target / "corpus").exists():
        shutil.copytree(WIDE / "corpus", target / "corpus")
    wide = list(whole(RunDirectory(target).corpus()))
    for model in source.glob("trainings/*/model"):
        folder = target / model.parent.relative_to(source)
        stage = json.loads((folder / "stage.json").read_text())
        write_json(folder / "stage.json", {**stage, "evaluated_documents": wide})
        if not (folder / "evaluation.documents.f64").exists():
            yield model, folder


def link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    os.link(source, target)


def evaluate(model: Path, target: Path, sequence_length: int) -> None:
    """One model's losses, by the code that evaluates after training."""
    import torch

    from doremi.corpus import store
    from doremi.distributed import World
    from doremi.evaluation.perplexity import ValidationSet
    from doremi.model import build as models
    from doremi.training.loop import write_evaluation

    torch.set_num_threads(1)
    corpus = RunDirectory(WIDE).whole_corpus()
    tokens = [store.tokens(corpus, name, "validation") for name in corpus.domains]
    documents = ValidationSet(corpus, tokens, sequence_length, whole(corpus))
    losses = models.TokenLosses(models.load(model), sequence_length).eval()
    nats = documents.nats(losses, World(0, 1, torch.device("cpu")))
    steps = json.loads((target / "stage.json").read_text())["steps"]
    write_evaluation(target, steps, corpus.domains, nats, documents.summary(nats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=2, help="models at a time, a thread each (default 2)")
    arguments = parser.parse_args()
    JUDGED.mkdir(exist_ok=True)
    prepare_documents()
    length = RunDirectory(WIDE).config()["data"]["sequence_length"]
    work = [pair for name in DIRECTORIES if (RUNS / name).exists() for pair in copies(name)]
    with ProcessPoolExecutor(arguments.at_once, multiprocessing.get_context("spawn")) as pool:
        for number, _ in enumerate(pool.map(partial(evaluate_pair, length), work), start=1):
            print(f"{number} of {len(work)}: {work[number - 1][1]}", flush=True)


def evaluate_pair(sequence_length: int, pair: tuple[Path, Path]) -> None:
    evaluate(*pair, sequence_length)


if __name__ == "__main__":
    main()
