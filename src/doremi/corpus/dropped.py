"""Letters that a normalizer or pre-tokenizer takes away, or turns into blanks: no token says that they were there."""

from __future__ import annotations

import unicodedata

from tokenizers import Tokenizer

from doremi.corpus.cutting import words_of

_BLANKS = str.maketrans(dict.fromkeys(" \u2581"))  # a blank, and how many vocabularies write it
_KINDS = "LMNPS"  # Unicode's letters, marks, numbers, punctuation and symbols: what carries text


class Dropped:
    """Counts dropped letters. Each letter is tried once, between two others; ASCII is tried at the start."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._nothing = self._left("")
        self._kept: set[str] = set()
        self._ascii = [chr(i) for i in range(128) if self._is_dropped(chr(i))]

    def count(self, text: str) -> int:
        """How many letters of `text` are dropped."""
        if text.isascii():
            return sum(map(text.count, self._ascii))
        unsure = set(text) - self._kept
        dropped = {letter for letter in unsure if self._is_dropped(letter)}
        self._kept |= unsure - dropped
        return sum(map(text.count, dropped))

    def _is_dropped(self, letter: str) -> bool:
        if unicodedata.category(letter)[0] not in _KINDS or ord(letter) in _BLANKS:
            return False
        return self._left(letter) == self._nothing

    def _left(self, letter: str) -> str:
        return "".join(words_of(self._tokenizer, f"a{letter}a")).translate(_BLANKS)
