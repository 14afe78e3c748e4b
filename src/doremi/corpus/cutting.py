"""Where a long document may be cut: places at which the tokens of the pieces are those of the whole.

Which places are, depends on the tokenizer, so each rule is tried on a made-up text when a tokenizer is loaded. What no
rule that holds can cut is encoded whole.
"""

from __future__ import annotations

import json
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
BETWEEN_WORDS = rf"{_LETTER}(?= {_LETTER})"
# Where to cut, and what a token has that reaches over such a place; vocabularies often write a blank as U+2581.
RULES = {
    BETWEEN_WORDS: r"[^\s\u2581][\s\u2581]",
    rf"{_LETTER} (?={_LETTER})": r"[\s\u2581][^\s\u2581]",
    rf"{_LETTER}(?=\n{_LETTER})": r"[^\s\u2581][\s\u2581]",
    rf"{_LETTER}(?={_STOPS})": rf".(?:[,.]|{_STOPS})",
    rf"[.!?\u3002]\n(?={_LETTER})": r"[\s\u2581][^\s\u2581]",
}
# Words of every kind that pre-tokenizers tell apart, and letters that most vocabularies lack. A bar is between them.
_WORDS = (
    "the|Cat's|don't|1st|x_1|f(2)!|\u00e4\u00d6|A|b|U.S.|e\u0301|3.14|(so)|no|--|\n\nA|z\tz|a  b|a.b|NASA|iPhone|\u00bd"
    "|one.\ntwo|one\ntwo|\u5b57\u3002\n\u5b57|\u4e2d\u6587|\u4e2d\u6587\u3002\u5b57|\u3042\u3001\u3044|\uac00\ub098|m\u00b2"
    "|\u0e44\u0e17\u0e22|\u0416|\u1208|\u03a3\u039f\u03a3|\u0627\u0644|\u0939\u093f|\U00010300|\U00010300\U00010301|\ufb01n"
)
_WORD_COUNT = 1_500


def exact_cuts(tokenizer: Tokenizer, described: dict[str, Any]) -> str:
    """The regular expression whose matches end where `tokenizer` can be cut; empty where nothing is sure."""
    added = [token["content"] for token in described["added_tokens"] if not token["special"]]
    stock = [*_WORDS.split("|"), *added]
    text = " ".join([*stock, *random.Random(0).choices(stock, k=_WORD_COUNT), *stock])
    whole, words = _encoded(tokenizer, [text]), words_of(tokenizer, text)
    sure = []
    for rule, across in RULES.items():
        parts = _parts(text, rule)
        if _encoded(tokenizer, parts) == whole and (
            [word for part in parts for word in words_of(tokenizer, part)] == words
            or _never_joins(described, re.compile(across, re.DOTALL))
        ):
            sure.append(rule)
    return "|".join(sure)


def _never_joins(described: dict[str, Any], across: re.Pattern[str]) -> bool:
    """Whether a model that is given more than a word at a time still has no token that reaches over a place to cut.

    Merges then have nothing to do with those beyond. A Unigram's sums over a long text may round another way.
    """
    model = described["model"]
    readable = model["type"] == "BPE" and "ByteLevel" not in json.dumps(
        [described["normalizer"], described["pre_tokenizer"]]
    )
    return readable and not any(map(across.search, model["vocab"]))


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
