"""Where a long document may be cut: places at which the tokens of the pieces are those of the whole.

Which places are, depends on the tokenizer, so each rule is tried on a made-up text when a tokenizer is loaded. What no
rule that holds can cut is encoded whole.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

_SEARCH = 1 << 12  # characters before the end of a piece in which a place to cut is looked for first
_LETTER = r"[^\W\d_]"
_STOPS = r"[\u3001\u3002\uff0c]"  # East Asian comma and full stop: those texts have no blanks
RULES = (
    rf"{_LETTER}(?= {_LETTER})",
    rf"{_LETTER} (?={_LETTER})",
    rf"{_LETTER}(?=\n{_LETTER})",
    rf"{_LETTER}(?={_STOPS})",
    rf"[.!?\u3002]\n(?={_LETTER})",
)
# A token that reaches over a blank, a line's end or a stop: without words of its own a model may join what we cut.
_ACROSS = re.compile(rf"[^\s\u2581][\s\u2581]+[^\s\u2581]|[^\s\u2581]\n|\w{_STOPS}")
# Words of every kind that pre-tokenizers tell apart, and letters that most vocabularies lack.
_WORDS = (
    *[
        "the",
        "Cat's",
        "don't",
        "1st",
        "x_1",
        "f(2)!",
        "\u00e4\u00d6",
        "A",
        "b",
        "U.S.",
        "e\u0301",
        "3.14",
        "(so)",
        "no",
    ],
    *["\u4e2d\u6587", "\u4e2d\u6587\u3002\u5b57", "\u3042\u3001\u3044", "\ufb01n", "\u0e44\u0e17\u0e22", "\u0416"],
    *[
        "\U00010300",
        "\U00010300\U00010301",
        "\u1208",
        "\u03a3\u039f\u03a3",
        "one.\ntwo",
        "one\ntwo",
        "\u5b57\u3002\n\u5b57",
    ],
    *[
        "--",
        "\n\nA",
        "z\tz",
        "a  b",
        "\U0001f600",
        "\u0627\u0644",
        "\u0939\u093f",
        "a.b",
        "NASA",
        "iPhone",
        "\uac00\ub098",
    ],
)
_WORD_COUNT = 1_500


def exact_cuts(tokenizer: Tokenizer, described: dict[str, Any]) -> str:
    """The regular expression whose matches end where `tokenizer` can be cut; empty where nothing is sure."""
    words = [*_WORDS, *(token["content"] for token in described["added_tokens"] if not token["special"])]
    text = " ".join([*words, *random.Random(0).choices(words, k=_WORD_COUNT), *words])
    whole = tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids
    rules = [rule for rule in RULES if _encoded(tokenizer, _parts(text, rule)) == whole]
    model, words = described["model"], words_of(tokenizer, text)
    if model["type"] == "BPE" and not any(map(_ACROSS.search, model["vocab"])):
        return "|".join(rules)
    return "|".join(rule for rule in rules if [w for p in _parts(text, rule) for w in words_of(tokenizer, p)] == words)


def _parts(text: str, rule: str) -> list[str]:
    """`text`, cut wherever the rule says."""
    ends = [0, *(match.end() for match in re.finditer(rule, text)), len(text)]
    return [text[start:end] for start, end in pairwise(ends)]


def _encoded(tokenizer: Tokenizer, parts: list[str]) -> list[int]:
    return [token for part in tokenizer.encode_batch_fast(parts, add_special_tokens=False) for token in part.ids]


def words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    """What the model is given one by one."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return [text]
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def pieces(text: str, size: int, cuts: re.Pattern[str] | None) -> Iterator[tuple[str, bool]]:
    """`text` in pieces of about `size` characters, each with whether it is the last.

    A piece is longer where no place to cut is near. Without `cuts` there is one piece.
    """
    start = 0
    while cuts is not None and len(text) - start > size:
        end = _place(text, start, start + size, cuts)
        if end is None:
            break
        yield text[start:end], False
        start = end
    yield text[start:] if start else text, True


def _place(text: str, start: int, end: int, cuts: re.Pattern[str]) -> int | None:
    """The last place between `start` and `end`, else the first one after; None where there is none."""
    for begin in (max(start, end - _SEARCH), start):
        if last := deque(cuts.finditer(text, begin, end), maxlen=1):
            return last[0].end()
    following = cuts.search(text, start, len(text))
    return following.end() if following else None
