"""What a run is, has done and would do, in words: status, dry run, mixture table. Torch-free but for the dry run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from doremi.config import RunConfig
from doremi.corpus.source_record import change_warning, source_changes
from doremi.corpus.sources import describe as describe_files
from doremi.corpus.sources import find_all
from doremi.corpus.value import Corpus
from doremi.files import read_json
from doremi.mixture.names import WITH_SEARCH
from doremi.rundir.corpora import find
from doremi.rundir.data_request import domain_sources
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.mixtures import candidate_name, check_limits, found_weights, plain_candidates


def trainings(config: RunConfig) -> Iterator[tuple[str, TrainingFolder]]:
    """Every training of a run in order: its name (its folder in the run directory) and the folder."""
    directory = RunDirectory(config.root)
    for search in _searches(config, directory):
        for seed in config.search_seeds():
            for folder in (search.reference(seed), search.proxy(seed)):
                yield str(folder.folder.relative_to(directory.root)), folder
    for size in config.size_names():
        for seed in config.candidate_seeds():
            for mixture in config.candidate_mixtures():
                name = candidate_name(mixture)
                yield f"main/{size}/{name}/seed-{seed}", directory.main(size, name, seed)
    if config.candidates.equal_compute:
        yield from _longer(config, directory)


def _longer(config: RunConfig, directory: RunDirectory) -> Iterator[tuple[str, TrainingFolder]]:
    """Main models on plain mixtures that train on for what the search cost."""
    for size in config.size_names():
        for seed in config.candidate_seeds():
            for name in plain_candidates(config):
                yield f"main/{size}/{name}{WITH_SEARCH}/seed-{seed}", directory.main(size, name + WITH_SEARCH, seed)


def _searches(config: RunConfig, directory: RunDirectory) -> list[RunDirectory]:
    """The rounds that are, or may still be: those after a search that has ended are not."""
    path = directory.mixture_path("doremi")
    ended = read_json(path, "mixture").get("rounds") if path.exists() else None
    return directory.searches(config.rounds.max)[: len(ended) if ended else None]


def status_table(config: RunConfig) -> str:
    """Each stage: done, the step it has reached, or waiting; and how the last command ended."""
    directory = RunDirectory(config.root)
    corpus = directory.corpus_folder / "manifest.json"
    rows = [("prepare", "done" if corpus.exists() else "waiting")]
    for name, folder in trainings(config):
        same = folder.folder != directory.root / name
        rows.append((name, _state(folder, config) + (f" (is {folder.folder.parent.name})" if same else "")))
    rows.append(("mixture", _exists(directory, "mixture.json")))
    rows.append(("verdict", _exists(directory, "verdict.json")))
    rows.append(("report", _exists(directory, "report.html")))
    paths = {"last": directory.status_path(), "last own model": directory.status_path(own_model=True)}
    last = [f"{title}: {_last(read_json(path, 'status'))}" for title, path in paths.items() if path.exists()]
    return "\n".join([f"{name:<44} {state}" for name, state in rows] + last)


def _state(folder: TrainingFolder, config: RunConfig) -> str:
    if folder.finished:
        return "done"
    step = folder.saved_step()
    return f"saved at step {step} of {config.training.steps}" if step else "waiting"


def _exists(directory: RunDirectory, name: str) -> str:
    return "done" if (directory.root / name).exists() else "waiting"


def _last(status: dict[str, Any]) -> str:
    state, process = status["state"], status["process"]
    if state == "running":
        state = "running" if _alive(process) else "was killed"
    if state == "done":
        return state
    return f"{state} at {status['stage']}" + (f": {status['message']}" if status["message"] else "")


def _alive(process: int) -> bool:
    import os

    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def mixture_table(config: RunConfig) -> str:
    """DoReMi's mixture beside the natural and the reference one, with epochs at the budget."""
    directory = RunDirectory(config.root)
    record = read_json(directory.mixture_path("doremi"), "mixture")
    reference = candidate_name(config.reference.mixture)
    trained_on = read_json(directory.mixture_path(reference), "mixture")
    other = found_weights(trained_on)
    lines = [f"{'domain':<28} {reference:>10} {'doremi':>8} {'change':>8} {'epochs':>8}"]
    for name, weight in record["weights"].items():
        change = f"x{weight / other[name]:.2f}" if other[name] else "new"
        epochs = record["domains"][name]["epochs"]
        lines.append(f"{name:<28} {other[name]:>10.3f} {weight:>8.3f} {change:>8} {epochs:>8.2f}")
    return "\n".join(lines)


# -- dry run ----------------------------------------------------------------------------------------------------------


def describe(config: RunConfig) -> str:
    """What `doremi run` would do: data, model, tokens, trainings; nothing is written.

    `MixtureError` for limits that no mixture over the prepared corpus keeps.
    """
    from doremi.pipeline.tournament import check, model_remarks

    check(config, search=True)
    prepared = find(config)
    if prepared is not None:
        check_limits(config, prepared)
    files = _data_lines(config, prepared)
    tokens = config.run_tokens
    training = config.training
    return "\n".join(
        [
            f"run directory {config.root}",
            f"{len(config.domains)} domains:",
            *files,
            f"corpus: {'to prepare' if prepared is None else f'prepared, in {prepared.folder}'}",
            f"tokenizer: {config.data.tokenizer or f'to train, {config.data.vocab_size} entries'}",
            _model_line(config),
            *model_remarks(config),
            f"each training: {training.steps} steps x {training.batch_size} sequences x "
            f"{config.data.sequence_length} tokens = {tokens:,} tokens",
            *_matched_line(config),
            "stages:",
            *(f"  {line}" for line in status_table(config).splitlines()),
            "what it costs: `doremi plan`",
        ]
    )


def _matched_line(config: RunConfig) -> list[str]:
    if config.kept_share == 1:
        return []
    return [
        f"epoch-matched: trained on {float(config.kept_share):.3g} of each domain, to repeat it as the final run will"
    ]


def _data_lines(config: RunConfig, prepared: Corpus | None) -> list[str]:
    """What lies where each domain's files are, and whether a prepared corpus is still made of it."""
    sources = domain_sources(config)
    changed = source_changes(prepared.folder, sources) if prepared else []
    gone = {change.domain for change in changed if not change.what}
    here = {name: source for name, source in sources.items() if name not in gone}
    lines = [f"  {name:<28} {describe_files(files)}" for name, files in find_all(here).items()]
    lines += [f"  {name:<28} its files are not here; the prepared corpus is used" for name in sorted(gone)]
    warning = change_warning(changed, RunDirectory(config.root).corpus_folder) if prepared else None
    return lines + ([f"warning: {warning}"] if warning else [])


def _model_line(config: RunConfig) -> str:
    import torch

    from doremi.model.build import build, count_parameters
    from doremi.pipeline.workspace import shape_of

    lines = []
    for size in dict.fromkeys([config.size_name, *config.size_names()]):
        with torch.device("meta"):
            lm = build(shape_of(config, size), config.data.vocab_size, config.data.sequence_length, 0)
        body, total = count_parameters(lm)
        flops = 6 * total * config.run_tokens
        exponent = int(math.log10(flops))
        lines.append(
            f"model {size}: {total:,} parameters, {body:,} without embeddings; "
            f"one training is about {flops / 10**exponent:.1f}e{exponent} floating-point operations"
        )
    return "\n".join(lines)
