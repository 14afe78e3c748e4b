"""Encoding in processes: the same bytes as one plain call, in order, within bounds, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, pre_tokenizers

from doremi.corpus import encoding
from doremi.corpus.cutting import RULES, pieces
from doremi.corpus.encoding import Encoder, Spec, worker_count
from doremi.corpus.tokenizer import TextTokenizer, train_tokenizer
from doremi.errors import RunError

WORDS = [
    *["It's", "the", "1st", "cat,", "", "and", "(so)", "the", "cat", "sat:", "x_1", "=", "f(2)!\n\n", "", "Zwei"],
    *["K\u00e4tzchen,", "\u4e2d\u6587\u3002\n"],
]
# The pattern that GPT-4 and Llama 3 cut words by.
MODERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_tokenizer([" ".join(WORDS) * 30], 320)


def encoded(spec: Spec, texts: list[str], workers: int = 1) -> list[list[int]]:
    """Ids of each text; the tags must come back beside their own text."""
    with Encoder(spec, workers) as encoder:
        results = list(encoder.encode((text, i) for i, text in enumerate(texts)))
    assert [document.tag for document in results] == list(range(len(texts)))
    return [np.frombuffer(data, np.dtype(spec.dtype).newbyteorder("<")).tolist() for data, _, _ in results]


def test_ids_of_the_tokenizer_and_end_of_text(tokenizer: TextTokenizer) -> None:
    texts = ["the cat", "", "x" * 1000, "<|endoftext|>"]
    assert encoded(tokenizer.spec, texts) == [[*tokenizer.encode(text), 0] for text in texts]


def test_four_bytes_where_two_do_not_hold_the_ids(tokenizer: TextTokenizer) -> None:
    spec = Spec(tokenizer.plain, 100_000, "uint32")
    assert encoded(spec, ["the"]) == [[*tokenizer.encode("the"), 100_000]]


@settings(deadline=None, max_examples=40)
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=8), size=st.integers(1, 20))
@example(texts=["a" * 100, "", "b c d e f g h i j k l"], size=1)
def test_cut_documents_lose_nothing(tokenizer: TextTokenizer, texts: list[str], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "CHUNK", size)
        found = encoded(tokenizer.spec, texts)
    assert all(ids[-1] == 0 for ids in found)
    assert [tokenizer.decode(ids[:-1]) for ids in found] == texts


@pytest.fixture(scope="module")
def modern(tokenizer: TextTokenizer) -> TextTokenizer:
    backend = Tokenizer.from_str(tokenizer.backend.to_str())
    split = pre_tokenizers.Split(Regex(MODERN), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    return TextTokenizer(backend, "modern")


@settings(deadline=None, max_examples=60)
@given(words=st.lists(st.sampled_from(WORDS), min_size=40, max_size=80), newer=st.booleans())
def test_a_cut_between_words_does_not_change_the_tokens(
    tokenizer: TextTokenizer, modern: TextTokenizer, words: list[str], newer: bool
) -> None:
    given = modern if newer else tokenizer
    text = " and the cat ".join(words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "CHUNK", 64)
        found = encoded(given.spec, [text])
    cut = [piece for piece, _ in pieces(text, 64, given.plain.cut_pattern)]
    assert len(cut) > 5
    assert max(map(len, cut)) <= 64
    assert found == [[*given.backend.encode(text).ids, 0]]


def test_texts_without_blanks_are_cut_before_their_commas() -> None:
    text = "\u4e2d\u6587\u3001" * 100
    first, last = next(pieces(text, 100, re.compile("|".join(RULES))))
    assert not last
    assert 90 < len(first) <= 100
    assert text[len(first)] == "\u3001"


def test_any_number_of_workers_gives_the_same(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 500)
    texts = [" ".join(WORDS) * (i % 40) for i in range(60)]
    assert encoded(tokenizer.spec, texts, workers=3) == encoded(tokenizer.spec, texts)
    assert multiprocessing.active_children() == []


def test_few_chunks_are_on_the_way(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 100)
    taken = 0

    def source() -> Iterator[tuple[str, int]]:
        nonlocal taken
        for i in range(300):
            taken += 1
            yield "x" * 100, i

    ahead = 0
    with Encoder(tokenizer.spec, 2) as encoder:
        for given_back, _ in enumerate(encoder.encode(source())):
            ahead = max(ahead, taken - given_back)
    assert 1 < ahead <= 2 * encoding._AHEAD + 2


def test_a_worker_that_dies_is_told_in_one_line(tokenizer: TextTokenizer) -> None:
    def source() -> Iterator[tuple[str, int]]:
        yield "x" * encoding.CHUNK, 0
        yield "y" * encoding.CHUNK, 1
        yield "w" * encoding.CHUNK, 2  # both workers are started by now: the pool cannot lose one while it adds one
        for worker in multiprocessing.active_children():
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
        yield "z" * encoding.CHUNK, 3

    with (
        pytest.raises(RunError, match="worker process of the preparation died"),
        Encoder(tokenizer.spec, 2) as encoder,
    ):
        list(encoder.encode(source()))
    assert multiprocessing.active_children() == []


def many() -> Iterator[tuple[str, int]]:
    for i in range(100):
        yield "some words " * 100, i
    raise AssertionError("everything was read although only the first was asked for")


def test_leaving_early_ends_the_workers(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 1000)
    with Encoder(tokenizer.spec, 2) as encoder, closing(encoder.encode(many())) as results:
        assert next(results).tag == 0
    assert multiprocessing.active_children() == []


def test_leaving_early_cancels_what_is_on_the_way(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 1100)  # one of the documents, which are all alike
    submitted: list[Future[encoding._Result]] = []

    def slow_workers(_: Encoder, texts: list[str], last: list[bool]) -> Future[encoding._Result]:
        """The first chunk is encoded once the encoder waits for it, the others never."""
        submitted.append(Future())
        if len(submitted) == encoding._AHEAD * 2 + 1:
            submitted[0].set_result(encoding._Worker(tokenizer.spec).encode(texts, last))
        return submitted[-1]

    monkeypatch.setattr(Encoder, "_submit", slow_workers)
    with Encoder(tokenizer.spec, 2) as encoder:
        with closing(encoder.encode(many())) as results:
            assert next(results).tag == 0
        assert all(future.cancelled() for future in submitted[1:])  # the encoder is free for other documents


@pytest.mark.parametrize("before", [None, "true"])
def test_one_worker_is_one_thread_and_the_environment_is_put_back(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is None:
        monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    else:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", before)
    seen = []
    original = encoding._Worker.encode

    def spy(worker: encoding._Worker, texts: list[str], last: list[bool]) -> encoding._Result:
        seen.append(os.environ["TOKENIZERS_PARALLELISM"])
        return original(worker, texts, last)

    monkeypatch.setattr(encoding._Worker, "encode", spy)
    encoded(tokenizer.spec, ["x"])
    assert seen == ["false"]
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before


def test_no_number_of_workers_means_all_cores() -> None:
    assert worker_count(3) == 3
    assert 1 <= worker_count(0) <= len(os.sched_getaffinity(0))  # a container may pay for fewer
