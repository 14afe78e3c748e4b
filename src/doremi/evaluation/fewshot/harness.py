"""Exact match after greedy generation, run by lm-evaluation-harness (the extra `eval`) on prompts that we made.

Tasks are built in memory: nothing is looked up by name, downloaded or written to a cache, and no remote code is run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from doremi.errors import RunError
from doremi.evaluation.fewshot.tasks import Examples, is_correct

NEW_TOKENS = 20  # of the authors' harness, as are greedy decoding and the cut at the first line
BATCH_SIZE = 16


def require() -> None:
    """`RunError` unless lm-evaluation-harness and what it runs models with are installed."""
    if any(find_spec(name) is None for name in ("lm_eval", "accelerate")):
        raise RunError("few-shot generation needs lm-evaluation-harness: pip install 'doremi[eval]'")


def exact_matches(
    lm: Any, tokenizer_folder: Path, examples: Mapping[str, Examples], context_length: int
) -> dict[str, list[float]]:
    """1.0 or 0.0 for each example, by task, in order; prompts that are too long lose their beginning.

    `RunError`: the model's context has no room for `NEW_TOKENS` tokens after a prompt.
    """
    require()
    if context_length <= NEW_TOKENS:
        raise RunError(
            f"the model reads {context_length} tokens, generating an answer needs more than {NEW_TOKENS}; "
            "train with a larger data.sequence_length"
        )
    from transformers import AutoTokenizer

    # without static types: the extra is not there everywhere, and its annotations do not fit its own documentation
    evaluator: Any = import_module("lm_eval.evaluator")
    task_class: Any = import_module("lm_eval.api.task").ConfigurableTask
    model_class: Any = import_module("lm_eval.models.huggingface").HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every prompt that is cut
    model = model_class(
        pretrained=lm,
        tokenizer=AutoTokenizer.from_pretrained(tokenizer_folder, trust_remote_code=False, local_files_only=True),
        max_length=context_length,
        batch_size=BATCH_SIZE,
        add_bos_token=False,
    )
    tasks = {name: task_class(config=_task(name, task)) for name, task in examples.items()}
    samples = evaluator.evaluate(model, tasks, bootstrap_iters=0)["samples"]
    return {
        name: [sample["exact_match"] for sample in sorted(samples[name], key=lambda sample: sample["doc_id"])]
        for name in examples
    }


def _task(name: str, task: Examples) -> dict[str, Any]:
    """A task of the harness; its prompts are complete, so it adds no shots of its own."""
    return {
        "task": f"doremi_{name}",
        "custom_dataset": lambda: _dataset(task),
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": lambda document: document["prompt"],
        "doc_to_target": lambda document: document["answers"][0],
        "num_fewshot": 0,
        # no stop at a newline: the answer is the first line that is not empty
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": NEW_TOKENS},
        "process_results": lambda document, generated: {
            "exact_match": float(is_correct(generated[0], document["answers"]))
        },
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }


def _dataset(task: Examples) -> dict[str, Any]:
    from datasets import Dataset

    documents = [{"prompt": example.prompt, "answers": list(example.answers)} for example in task.examples]
    return {"test": Dataset.from_list(documents)}
