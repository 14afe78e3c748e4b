"""Downstream tasks on a saved model, offline: exact match as in the paper, and likelihoods that grade small models.

    exact_match            1 if the generated answer is right (needs the extra `eval`)
    answer_nats_per_byte   -ln p(first accepted answer | prompt) / its UTF-8 bytes; LAMBADA: given the bare text
    last_word_accuracy     LAMBADA: 1 if each token of the last word is the most likely one, given the bare text

Every value of a task is the plain mean of one value per example, which are kept: models that were evaluated on the
same files (`sha256`) with the same `shots` and `limit` are paired example by example.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from doremi.corpus.tokenizer import load_tokenizer
from doremi.errors import RunError
from doremi.evaluation.fewshot import harness
from doremi.evaluation.fewshot.likelihood import score_answers
from doremi.evaluation.fewshot.tasks import TASKS, Examples, read_examples
from doremi.files import FORMAT, write_json
from doremi.model.build import load

__all__ = ["TASKS", "evaluate", "score", "write"]

FILE = "fewshot.json"
EXACT_MATCH, NATS, LAST_WORD = "exact_match", "answer_nats_per_byte", "last_word_accuracy"
HIGHER_IS_BETTER = {EXACT_MATCH: True, NATS: False, LAST_WORD: True}


def evaluate(
    model_folder: Path, tasks_folder: Path, *, shots: int = 1, limit: int | None = None, device: str
) -> dict[str, Any]:
    """All metrics of the five tasks: the contents of fewshot.json (docs/formats.md).

    `model_folder` is one that `AutoModelForCausalLM` and `AutoTokenizer` load; `tasks_folder` holds the files that
    `tasks.read_examples` describes; `limit` takes the first items of each. `RunError`: lm-evaluation-harness is not
    installed, or the folder holds no usable model. `DataError`: a file of tasks is missing or broken.
    """
    harness.require()
    examples = read_examples(tasks_folder, shots, limit)
    lm, context_length = _open(model_folder, device)
    exact = harness.exact_matches(lm, model_folder, examples, context_length)
    values = _likelihoods(lm, model_folder, examples, context_length, device)
    metrics = {name: {EXACT_MATCH: exact[name], **values[name]} for name in examples}
    result = _described(metrics, examples, shots, limit)
    means = [task["metrics"][EXACT_MATCH]["value"] for task in result["tasks"].values()]
    return {**result, "mean_exact_match": math.fsum(means) / len(means)}


def score(
    model_folder: Path, tasks_folder: Path, *, shots: int = 1, limit: int | None = None, device: str
) -> dict[str, Any]:
    """What `evaluate` returns without exact match: nothing is generated, and no extra is needed."""
    examples = read_examples(tasks_folder, shots, limit)
    lm, context_length = _open(model_folder, device)
    return _described(_likelihoods(lm, model_folder, examples, context_length, device), examples, shots, limit)


def write(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write a result as fewshot.json into a training folder, atomically; returns its path."""
    write_json(folder / FILE, result)
    return folder / FILE


def _open(folder: Path, device: str) -> tuple[Any, int]:
    """The model on its device, ready to evaluate, and how many tokens it reads."""
    if not (folder / "config.json").is_file():  # else the name would be looked up on the hub
        raise RunError(f"{folder}: holds no model; give the folder `model` of a finished training folder")
    lm = load(folder).to(device).eval()
    context_length = getattr(lm.config, "max_position_embeddings", None)
    if context_length is None:
        raise RunError(
            f"{folder / 'config.json'}: does not say how many tokens the model reads; add max_position_embeddings"
        )
    return lm, context_length


def _likelihoods(
    lm: Any, model_folder: Path, examples: Mapping[str, Examples], context_length: int, device: str
) -> dict[str, dict[str, list[float]]]:
    """Our own metrics, by task: one value for each example."""
    encode = load_tokenizer(str(model_folder.resolve())).encode
    found: dict[str, dict[str, list[float]]] = {}
    for name, task in examples.items():
        pairs = [(example.context, example.answers[0]) for example in task.examples]
        nats, greedy = score_answers(lm, encode, pairs, context_length, device)
        size = [len(answer.encode()) for _, answer in pairs]
        found[name] = {NATS: [float(n) / bytes_ for n, bytes_ in zip(nats, size, strict=True)]}
        if name == "lambada":
            found[name][LAST_WORD] = [float(right) for right in greedy]
        if not all(map(math.isfinite, found[name][NATS])):
            raise RunError(f"{model_folder}: the loss of an answer of {name} is not finite; train the model again")
    return found


def _described(
    metrics: Mapping[str, Mapping[str, Sequence[float]]],
    examples: Mapping[str, Examples],
    shots: int,
    limit: int | None,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "shots": shots,
        "limit": limit,
        "tasks": {
            name: {
                "n": len(task.examples),
                "sha256": task.sha256,
                "metrics": {
                    metric: {
                        "value": math.fsum(values) / len(values),
                        "higher_is_better": HIGHER_IS_BETTER[metric],
                        "values": list(values),
                    }
                    for metric, values in metrics[name].items()
                },
            }
            for name, task in examples.items()
        },
    }
