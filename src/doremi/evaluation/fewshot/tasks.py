"""The paper's five generative tasks (section 3.1): local files, prompts, and when an answer is right.

The paper gives neither prompts nor splits, so this follows the authors' released harness: one shot, a new one for
each item, the first accepted answer shown in it; SQuADv2's shot is another question about the same article. Shots
come from the same file as the items, never the item itself; which ones depends on the item's id alone, so every model
and every `limit` sees the same prompts. Wording is ours where the harness has a sentence.
"""

from __future__ import annotations

import json
import string
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from doremi.errors import ConfigError, DataError

UNANSWERABLE = "unanswerable"
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Task:
    """Templates over an item's fields; the answer follows `ask` after a blank. Shots share the field `shared`."""

    ask: str
    head: str = ""
    shared: str | None = None

    @property
    def fields(self) -> list[str]:
        """Fields that an item needs besides its id and its answers."""
        return [name for _, name, _, _ in string.Formatter().parse(self.head + self.ask) if name]


TASKS = {
    "triviaqa": Task("Question: {question}\nAnswer:"),
    "nq_open": Task("Q: {question}?\n\nA:"),
    "webquestions": Task("Question: {question}\nAnswer:"),
    "squad_v2": Task(
        f'Question: {{question}}\n\nAnswer (from the background, or "{UNANSWERABLE}"):',
        head="Title: {title}\n\nBackground: {context}\n\n",
        shared="title",
    ),
    "lambada": Task("Input: {text}\nOutput:", head="Write the last word of each text.\n\n"),
}


@dataclass(frozen=True)
class Example:
    """Generation starts from `prompt`; the likelihood of `answers[0]` is that after `context`.

    They are the same but for LAMBADA, whose context is the bare text: that is what its last word follows.
    """

    prompt: str
    context: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Examples:
    """The examples of one task and the SHA-256 of the file they were made from."""

    examples: Sequence[Example]
    sha256: str


def read_examples(folder: Path, shots: int, limit: int | None) -> dict[str, Examples]:
    """The examples of all five tasks, the first `limit` items of each, from `<folder>/<task>.jsonl`.

    A line is an object with `id`, the fields that the task's template names, and `answers` (a list of accepted
    strings; empty in SQuADv2: unanswerable) or, in LAMBADA, `target`. `DataError` names the file and line of what is
    wrong; `ConfigError`: `shots` below 0 or `limit` below 1.
    """
    if shots < 0:
        raise ConfigError(f"shots is {shots}; it must be 0 or more, the paper has 1")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; it must be 1 or more, or left out for all items")
    return {name: _read_task(folder / f"{name}.jsonl", name, shots, limit) for name in TASKS}


def is_correct(generated: str, answers: Sequence[str]) -> bool:
    """Exact match: the first line of what was generated equals an accepted answer, both normalised."""
    line = generated.strip().partition("\n")[0]
    return normalise(line) in {normalise(answer) for answer in answers}


def normalise(answer: str) -> str:
    """Lower case, without ASCII punctuation; articles stay, unlike in SQuAD's own script."""
    return answer.strip().lower().translate(_PUNCTUATION)


def prompt_of(task: Task, item: Mapping[str, Any], shots: Sequence[Mapping[str, Any]]) -> str:
    """The task's head, the shots with their first answers, and the item without one."""
    shown = [f"{task.ask.format_map(shot)} {shot['answers'][0]}" for shot in shots]
    return task.head.format_map(item) + "\n\n".join([*shown, task.ask.format_map(item)])


def _read_task(path: Path, name: str, shots: int, limit: int | None) -> Examples:
    task = TASKS[name]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); give a folder with {', '.join(f'{n}.jsonl' for n in TASKS)}"
        ) from None
    items = [_item(line, f"{path}:{n}", name) for n, line in enumerate(data.splitlines(), start=1) if line.strip()]
    if not items:
        raise DataError(f"{path}: holds no items; give one JSON object a line")
    groups: dict[Any, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        groups[item[task.shared] if task.shared else None].append(place)
    examples = []
    for place, item in enumerate(items[:limit]):
        others = [p for p in groups[item[task.shared] if task.shared else None] if p != place]
        if len(others) < shots:
            same = f" with the same {task.shared}" if task.shared else ""
            raise DataError(f"{path}: item {item['id']!r} has {len(others)} others{same}, too few for {shots} shots")
        prompt = prompt_of(task, item, [items[p] for p in _drawn(f"{name}:{item['id']}", others, shots)])
        examples.append(Example(prompt, item["text"] if name == "lambada" else prompt, item["answers"]))
    return Examples(examples, sha256(data).hexdigest())


def _drawn(key: str, others: Sequence[int], shots: int) -> list[int]:
    """`shots` neighbours in `others`, from a place that the key's hash picks."""
    start = int.from_bytes(sha256(key.encode()).digest()[:8], "big")
    return [others[(start + j) % len(others)] for j in range(shots)]


def _item(line: bytes, where: str, name: str) -> dict[str, Any]:
    """One checked item; its `answers` are never empty."""
    try:
        item = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: is not JSON ({error}); give one object a line") from None
    if not isinstance(item, dict):
        raise DataError(f"{where}: is not a JSON object; give one object a line")
    answers = [item.get("target")] if name == "lambada" else item.get("answers")
    if name == "squad_v2" and answers == []:
        answers = [UNANSWERABLE]
    for field in ("id", *TASKS[name].fields):
        if not isinstance(item.get(field), str) or not item[field].strip():
            raise DataError(f"{where}: field {field!r} is missing, empty or not a string; {name} needs it")
    if not isinstance(answers, list) or not answers or not all(_usable(answer) for answer in answers):
        field = "target" if name == "lambada" else "answers"
        raise DataError(f"{where}: field {field!r} must hold at least one answer, each with a letter or a digit")
    return {**item, "answers": tuple(" ".join(str(answer).split()) for answer in answers)}


def _usable(answer: object) -> bool:
    """Whether something is left to match: a model that generates nothing must not be right."""
    return isinstance(answer, str) and normalise(answer).strip() != ""
