"""Few-shot evaluation: prompts word by word, a scorer worked out by hand, and both engines on models that know."""

from __future__ import annotations

import json
import math
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import SHARED
from doremi.config import comparison
from doremi.corpus.tokenizer import TextTokenizer, train_tokenizer
from doremi.errors import ConfigError, DataError, RunError
from doremi.evaluation import fewshot
from doremi.evaluation.fewshot import TASKS, harness, likelihood
from doremi.evaluation.fewshot.likelihood import cut, score_answers
from doremi.evaluation.fewshot.tasks import Example, is_correct, normalise, read_examples
from doremi.model.build import build, save
from doremi.pipeline import look
from tolerances import FLOAT32, FLOAT64

QUESTIONS = [
    {"id": "a", "question": "who wrote it", "answers": ["Jane Doe", "Doe"]},
    {"id": "b", "question": "which {city}", "answers": ["Rome"]},
]
ITEMS: dict[str, list[dict[str, Any]]] = {
    "triviaqa": QUESTIONS,
    "nq_open": QUESTIONS,
    "webquestions": QUESTIONS,
    "squad_v2": [
        {"id": "a", "title": "Force", "context": "Force is a push.", "question": "What is it?", "answers": ["a push"]},
        {"id": "b", "title": "Rome", "context": "A city.", "question": "How old?", "answers": []},
        {"id": "c", "title": "Force", "context": "Units exist.", "question": "Why?", "answers": []},
        {"id": "d", "title": "Rome", "context": "It is old.", "question": "Is it?", "answers": ["old"]},
    ],
    "lambada": [
        {"id": "a", "text": "He dug with the", "target": "shovel"},
        {"id": "b", "text": "She put on the", "target": "the\ngloves"},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks", ITEMS)


def write_tasks(folder: Path, items: dict[str, list[dict[str, Any]]]) -> Path:
    folder.mkdir()
    for name, lines in items.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


# -- prompts ---------------------------------------------------------------------------------------------------------


PROMPTS = {
    "triviaqa": "Question: which {city}\nAnswer: Rome\n\nQuestion: who wrote it\nAnswer:",
    "nq_open": "Q: which {city}?\n\nA: Rome\n\nQ: who wrote it?\n\nA:",
    "webquestions": "Question: which {city}\nAnswer: Rome\n\nQuestion: who wrote it\nAnswer:",
    "squad_v2": "Title: Force\n\nBackground: Force is a push.\n\n"
    'Question: Why?\n\nAnswer (from the background, or "unanswerable"): unanswerable\n\n'
    'Question: What is it?\n\nAnswer (from the background, or "unanswerable"):',
    "lambada": "Write the last word of each text.\n\nInput: She put on the\nOutput: the gloves\n\n"
    "Input: He dug with the\nOutput:",
}


@pytest.mark.parametrize("name", TASKS)
def test_prompt_with_one_shot(folder: Path, name: str) -> None:
    assert read_examples(folder, 1, None)[name].examples[0].prompt == PROMPTS[name]


def test_without_shots_only_the_item_is_left(folder: Path) -> None:
    prompts = {name: task.examples[0].prompt for name, task in read_examples(folder, 0, None).items()}
    assert prompts["nq_open"] == "Q: who wrote it?\n\nA:"
    assert prompts["lambada"] == "Write the last word of each text.\n\nInput: He dug with the\nOutput:"


def test_shots_show_the_first_answer_only(folder: Path) -> None:
    task = read_examples(folder, 1, None)["triviaqa"].examples
    assert task[1].prompt.startswith("Question: who wrote it\nAnswer: Jane Doe\n\n")
    assert task[0].answers == ("Jane Doe", "Doe")


def test_last_word_is_asked_of_the_bare_text(folder: Path) -> None:
    examples = read_examples(folder, 1, None)
    assert examples["lambada"].examples[0].context == "He dug with the"
    assert all(e.context == e.prompt for name in TASKS if name != "lambada" for e in examples[name].examples)


def test_questions_without_an_answer_have_one_to_give(folder: Path) -> None:
    squad = read_examples(folder, 1, None)["squad_v2"].examples
    assert [example.answers for example in squad] == [("a push",), ("unanswerable",), ("unanswerable",), ("old",)]


@given(st.integers(3, 12), st.integers(1, 12), st.integers(0, 2))
def test_limit_and_order_do_not_change_prompts(tmp_path_factory: Any, count: int, limit: int, shots: int) -> None:
    """The first items of a limited run are those of the whole one; no item is a shot of its own."""
    items = [{"id": f"i{i}", "question": f"number {i}!", "answers": [f"word{i}"]} for i in range(count)]
    squad = [{**item, "title": "t", "context": "c"} for item in items]
    lambada = [{"id": item["id"], "text": item["question"], "target": item["answers"][0]} for item in items]
    every = {name: items for name in TASKS} | {"squad_v2": squad, "lambada": lambada}
    folder = write_tasks(tmp_path_factory.mktemp("few") / "tasks", every)
    whole, part = read_examples(folder, shots, None), read_examples(folder, shots, limit)
    for name in TASKS:
        assert part[name].examples == whole[name].examples[:limit]
        for i, example in enumerate(whole[name].examples):
            assert example.prompt.count(f"number {i}!") == 1
            assert example.prompt.count("number ") == shots + 1
            assert f"word{i}\n" not in example.prompt


def test_shots_differ_between_items(tmp_path: Path) -> None:
    items = [{"id": f"i{i}", "question": f"q{i}", "answers": ["x"]} for i in range(40)]
    folder = write_tasks(tmp_path / "tasks", {**ITEMS, "triviaqa": items})
    shown = {e.prompt.split("\n")[0] for e in read_examples(folder, 1, None)["triviaqa"].examples}
    assert len(shown) > 15  # 40 draws of 40 leave about 25 different ones


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("triviaqa", "{", r"triviaqa.jsonl:1: is not JSON"),
        ("triviaqa", "[1]", r"triviaqa.jsonl:1: is not a JSON object"),
        ("nq_open", '{"id": "a", "answers": ["x"]}', r"field 'question' is missing"),
        ("webquestions", '{"id": "a", "question": " ", "answers": ["x"]}', r"field 'question' is missing, empty"),
        ("webquestions", '{"id": "a", "question": "q", "answers": []}', r"field 'answers' must hold at least one"),
        ("webquestions", '{"id": "a", "question": "q", "answers": ["?!"]}', r"field 'answers' must hold at least one"),
        ("squad_v2", '{"id": "a", "question": "q", "context": "c", "answers": []}', r"field 'title' is missing"),
        ("lambada", '{"id": "a", "text": "t"}', r"field 'target' must hold at least one"),
        ("lambada", "", r"lambada.jsonl: holds no items"),
    ],
)
def test_broken_files_are_named(folder: Path, name: str, line: str, message: str) -> None:
    (folder / f"{name}.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        read_examples(folder, 0, None)


@pytest.mark.parametrize(("name", "same"), [("triviaqa", ""), ("squad_v2", " with the same title")])
def test_too_few_for_shots_is_an_error(tmp_path: Path, name: str, same: str) -> None:
    many = {task: items if task == name else [*items, *items] for task, items in ITEMS.items()}
    with pytest.raises(DataError, match=f"{name}.jsonl: item 'a' has 1 others{same}, too few for 2 shots"):
        read_examples(write_tasks(tmp_path / "tasks", many), 2, None)


def test_missing_file_is_an_error(folder: Path) -> None:
    (folder / "lambada.jsonl").unlink()
    with pytest.raises(DataError, match=r"lambada\.jsonl: cannot be read"):
        read_examples(folder, 1, None)


@pytest.mark.parametrize(("shots", "limit"), [(-1, None), (1, 0)])
def test_impossible_numbers_are_errors(folder: Path, shots: int, limit: int | None) -> None:
    with pytest.raises(ConfigError):
        read_examples(folder, shots, limit)


# -- exact match -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generated", "right"),
    [
        (" Jane Doe\n\nQuestion: who", True),
        ("\n jane doe.", True),  # leading blank lines go before the cut
        ("J.A.N.E. DOE", True),
        (" Doe", True),
        ("the Doe", False),  # articles stay
        ("Jane  Doe", False),
        ("Jane Doe and", False),
        ("", False),
    ],
)
def test_exact_match(generated: str, right: bool) -> None:
    assert is_correct(generated, ["Jane Doe", "DOE!"]) is right


def test_normalisation_keeps_what_is_not_ascii_punctuation() -> None:
    assert normalise(" \u00c4rger's (2nd) \u2013 A_b! ") == "\u00e4rgers 2nd \u2013 ab"


# -- likelihood ------------------------------------------------------------------------------------------------------

# Next-token logits of a bigram model over the letters a, b, c and the blank: rows are the token before
LOGITS = np.log(np.array([[0.1, 0.6, 0.2, 0.1], [0.5, 0.1, 0.1, 0.3], [0.25, 0.25, 0.25, 0.25], [0.2, 0.1, 0.6, 0.1]]))


def letters(text: str) -> list[int]:
    return ["abc ".index(letter) for letter in text]


class Bigram:
    """A language model as far as the scorer knows one; remembers the shapes that it was given."""

    config = SimpleNamespace(vocab_size=4)

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, input_ids: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        self.shapes.append(tuple(input_ids.shape))
        return SimpleNamespace(logits=torch.from_numpy(LOGITS)[input_ids])


def score(pairs: list[tuple[str, str]], context_length: int = 100, lm: Any = None) -> tuple[list[float], list[bool]]:
    nats, greedy = score_answers(lm or Bigram(), letters, pairs, context_length, "cpu")
    return nats.tolist(), greedy.tolist()


def test_scores_by_hand() -> None:
    """ "b", " ca" and "ab": the blank counts; padding of the shorter one does not."""
    nats, greedy = score([("ab", "ca"), ("b", "c"), ("ba", "b")])
    assert nats == pytest.approx(
        [
            -math.log(0.3 * 0.6 * 0.25),  # b -> blank -> c -> a
            -math.log(0.3 * 0.6),
            -math.log(0.1 * 0.1),  # a -> blank -> b
        ],
        rel=FLOAT32,
    )
    assert greedy == [False, False, False]  # after b the most likely is a, not the blank


def test_greedy_needs_every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    likely = LOGITS.copy()
    likely[1] = np.log([0.1, 0.1, 0.1, 0.7])  # now the blank follows b
    monkeypatch.setattr(sys.modules[__name__], "LOGITS", likely)
    assert score([("ab", "c"), ("ab", "b"), ("ab", "cb")])[1] == [True, False, False]


@pytest.mark.parametrize("context_length", [1, 2, 3, 5, 7, 100])
def test_any_window_gives_a_bigram_model_the_same(context_length: int) -> None:
    """Only the last token matters to it, so a cut context or an answer in several windows changes nothing."""
    pairs = [("abcabc", "abcab"), ("c", "b"), ("aaaaaaaa", "bca")]
    lm = Bigram()
    nats, greedy = score(pairs, context_length, lm)
    assert nats == pytest.approx(score(pairs)[0], rel=FLOAT64)
    assert greedy == score(pairs)[1]
    assert max(shape[1] for shape in lm.shapes) <= context_length


def test_batches_of_one_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [("abcabc", "abcab"), ("c", "b"), ("aaaaaaaa", "bca")]
    together, lm = score(pairs), Bigram()
    monkeypatch.setattr(likelihood, "LOGITS_BYTES", 1)
    assert score(pairs, lm=lm) == together
    assert [shape[0] for shape in lm.shapes] == [1, 1, 1]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8))
def test_windows_predict_each_answer_token_once(before: int, answer: int, context_length: int) -> None:
    """All fits: one window with everything. Else the last one is full and no token is predicted twice."""
    whole = list(range(before + answer))
    windows = list(cut(0, whole[:before], whole, context_length))
    assert sorted(t for w in windows for t in w.tokens[w.first :]) == whole[before:]
    assert all(1 <= w.first < len(w.tokens) <= context_length + 1 for w in windows)
    assert len(windows[0].tokens) == min(len(whole), context_length + 1)


def test_answer_begins_where_the_tokens_part() -> None:
    """A tokenizer may join the end of the context with the answer: then the joined token is the answer's."""
    (window,) = cut(0, [5, 6, 7], [5, 6, 9, 8], 10)
    assert window.tokens[window.first :] == [9, 8]
    (window,) = cut(0, [5, 6, 7], [5, 6], 10)
    assert window.tokens[window.first :] == [6]


# -- a saved model ---------------------------------------------------------------------------------------------------


def tokenizer() -> TextTokenizer:
    return train_tokenizer(["Question: Answer: the of and is was Input: Output: Title: Background: " * 3], 300)


def small_model(context_length: int) -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    return build({"architecture": "llama", **shape}, tokenizer().vocab_size, context_length, 0)


def saved(lm: Any, folder: Path) -> Path:
    tokenizer().save(folder / "tokenizer")
    save(lm, folder / "tokenizer", folder / "model")
    return folder / "model"


def test_a_plan_looks_at_the_same_files() -> None:
    assert tuple(TASKS) == comparison.TASKS


def test_files_of_tasks_are_hashed_again_only_where_they_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run looks at them whenever a training ends."""
    path = tmp_path / "lambada.jsonl"
    path.write_text("one")
    hashed: list[Path] = []
    monkeypatch.setattr(look, "file_sha256", lambda path: hashed.append(path) or path.read_text())
    assert [look._hash(path), look._hash(path), look._hash(tmp_path / "none")] == ["one", "one", None]
    path.write_text("another")
    assert look._hash(path) == "another"
    assert hashed == [path, path]


def test_score_of_a_saved_model(folder: Path, tmp_path: Path) -> None:
    """Against the plain way: one answer at a time, log-softmax in float64."""
    lm = small_model(128).eval()
    result = fewshot.score(saved(lm, tmp_path), folder, device="cpu")
    assert list(result["tasks"]) == list(TASKS)
    assert [task["n"] for task in result["tasks"].values()] == [2, 2, 2, 4, 2]
    for name, task in read_examples(folder, 1, None).items():
        metric = result["tasks"][name]["metrics"]["answer_nats_per_byte"]
        expected = [plain_nats(lm, e) / len(e.answers[0].encode()) for e in task.examples]
        assert metric["values"] == pytest.approx(expected, rel=1e2 * FLOAT32)
        assert metric["value"] == pytest.approx(np.mean(metric["values"]), rel=FLOAT64)
    metrics = {name: list(task["metrics"]) for name, task in result["tasks"].items()}
    assert metrics.pop("lambada") == ["answer_nats_per_byte", "last_word_accuracy"]
    assert set(map(tuple, metrics.values())) == {("answer_nats_per_byte",)}


def plain_nats(lm: Any, example: Example) -> float:
    encode = tokenizer().encode
    context, answer = encode(example.context), encode(f" {example.answers[0]}")
    tokens = torch.tensor([(context + answer)[-129:]])
    with torch.no_grad():
        log_p = lm(input_ids=tokens[:, :-1]).logits[0].double().log_softmax(dim=-1)
    return -sum(float(log_p[-len(answer) + i, token]) for i, token in enumerate(answer))


def test_result_is_written_whole(folder: Path, tmp_path: Path) -> None:
    result = fewshot.score(saved(small_model(64), tmp_path), folder, limit=1, device="cpu")
    path = fewshot.write(tmp_path / "main", result)
    assert path == tmp_path / "main" / "fewshot.json"
    read = json.loads(path.read_text())
    assert read == result
    assert (read["format"], read["shots"], read["limit"]) == (1, 1, 1)
    assert [len(m["values"]) for task in read["tasks"].values() for m in task["metrics"].values()] == [1] * 6
    assert [p.name for p in path.parent.iterdir()] == ["fewshot.json"]


def test_a_folder_without_a_model_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no model; give the folder `model`"):
        fewshot.score(tmp_path / "nothing", folder, device="cpu")


def test_losses_that_are_not_numbers_are_an_error(folder: Path, tmp_path: Path) -> None:
    lm = small_model(64)
    with torch.no_grad():
        lm.get_output_embeddings().weight.fill_(math.nan)
    with pytest.raises(RunError, match="the loss of an answer of triviaqa is not finite"):
        fewshot.score(saved(lm, tmp_path), folder, device="cpu")


@pytest.mark.parametrize("missing", ["lm_eval", "accelerate"])
def test_without_the_harness_one_line_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(harness, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(RunError, match=r"pip install 'doremi\[eval\]'"):
        fewshot.evaluate(tmp_path, folder, device="cpu")


# -- both engines ----------------------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing may ask for a host, not even in vain: libraries swallow the error."""
    asked: list[object] = []

    def refuse(*what: object, **_: object) -> None:
        asked.append(what)
        raise OSError("this test has no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    yield
    assert asked == []


def learn_by_heart(lm: Any, texts: list[str]) -> None:
    """Train until every text is the most likely one, from any beginning that the tests use."""
    rows = [torch.tensor(tokenizer().encode(text)) for text in texts]
    block = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=3e-3)
    for _ in range(150):
        lm(input_ids=block.clamp(min=0), labels=block).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of other people's code
@pytest.mark.usefixtures("offline")
def test_a_model_that_knows_the_answers_is_right(folder: Path, tmp_path: Path) -> None:
    """All tasks but one are learnt, so that right and wrong are told apart."""
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install 'doremi[eval]'")
    lm = small_model(256)
    known = [e for name, task in read_examples(folder, 1, None).items() if name != "nq_open" for e in task.examples]
    lines = [f"{e.prompt} {e.answers[-1]}\nand so on" for e in known]
    learn_by_heart(lm, lines + [f"{e.context} {e.answers[0]}" for e in known if e.context != e.prompt])
    result = fewshot.evaluate(saved(lm, tmp_path), folder, device="cpu")
    exact = {name: task["metrics"]["exact_match"]["value"] for name, task in result["tasks"].items()}
    assert exact == {"triviaqa": 1, "nq_open": 0, "webquestions": 1, "squad_v2": 1, "lambada": 1}
    assert result["mean_exact_match"] == pytest.approx(0.8, rel=FLOAT64)
    assert result["tasks"]["lambada"]["metrics"]["last_word_accuracy"]["values"] == [1.0, 1.0]
    nats = {name: task["metrics"]["answer_nats_per_byte"]["value"] for name, task in result["tasks"].items()}
    assert nats["squad_v2"] < 0.05 < nats["nq_open"]
    own = fewshot.score(tmp_path / "model", folder, device="cpu")
    assert nats == {name: task["metrics"]["answer_nats_per_byte"]["value"] for name, task in own["tasks"].items()}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("offline")
def test_the_shared_samples(tmp_path: Path) -> None:
    """The paper's five tasks on an untrained model, which is right nowhere and as unsure as a uniform guess."""
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install 'doremi[eval]'")
    if not (SHARED / "tasks").is_dir():
        pytest.skip("the shared tasks are not on this machine")
    model = saved(small_model(256), tmp_path)
    result = fewshot.evaluate(model, SHARED / "tasks", limit=20, device="cpu")
    json.loads(fewshot.write(tmp_path, result).read_text())
    encode, vocab_size = tokenizer().encode, tokenizer().vocab_size
    for name, task in read_examples(SHARED / "tasks", 1, 20).items():
        metrics = result["tasks"][name]["metrics"]
        assert result["tasks"][name]["n"] == 20
        assert metrics["exact_match"]["values"] == [0.0] * 20
        answers = [e.answers[0] for e in task.examples]
        uniform = [len(encode(f" {a}")) * math.log(vocab_size) / len(a.encode()) for a in answers]
        assert metrics["answer_nats_per_byte"]["values"] == pytest.approx(uniform, rel=0.1)
