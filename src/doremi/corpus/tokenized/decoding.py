"""Tokens to the bytes of their text, where these are the tokens' own bytes one after the other.

That holds for tokenizers of bytes (GPT-2, Llama 3, ...) and of pieces with a sign for the blank (Llama 2, ...). Whether
it holds for this one is tried: texts of several scripts are encoded, and must come back as the same texts
(validation.py says which texts are the same). Where they do not, the library decodes, and texts have no exact hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import pre_tokenizers

from doremi.corpus.tokenized.layout import I64
from doremi.corpus.tokenizer import TextTokenizer
from doremi.corpus.validation import digest_of

_BLANK = "\u2581"
_PROBES = (
    "The quick Brown fox, it's 12,345 miles away!  (No. 7)\n\n\tdef f(x): return x ** 2 # ok",
    "\u00dcber stra\u00dfe caf\u00e9 \u0141\u00f3d\u017a \u0434\u043e\u043c \u6771\u4eac \u0639\u0631 \U0001f600",
    " begins with a blank",
)


@dataclass(frozen=True)
class Decoder:
    """The text of tokens. `exact` where the bytes of texts are those of their tokens."""

    tokenizer: TextTokenizer
    table: list[bytes]
    """Bytes of each id, none for special tokens; empty where the library must decode."""
    sizes: I64
    """How many each has."""
    strips: bool
    """Whether a blank is put before every text, which is none of its own."""

    @property
    def exact(self) -> bool:
        return bool(self.table)

    def data(self, ids: NDArray[np.integer]) -> bytes:
        """The bytes of a document, which may be no UTF-8."""
        if not self.exact:
            return self.tokenizer.decode(ids.tolist()).encode()
        found = b"".join(map(self.table.__getitem__, ids.tolist()))
        return found[1:] if self.strips and found.startswith(b" ") else found

    def upto(self, ids: NDArray[np.integer]) -> I64:
        """Bytes of the document's text before each token and in all, `[tokens + 1]`; of an exact decoder."""
        found = np.concatenate([[0], np.cumsum(self.sizes[ids])])
        first = next(iter(np.flatnonzero(self.sizes[ids])), None) if self.strips else None
        if first is not None and self.table[int(ids[first])].startswith(b" "):
            found = np.maximum(found - 1, 0)
        return found


def decoder_of(tokenizer: TextTokenizer) -> Decoder:
    """How the tokens of this tokenizer become text."""
    described = json.loads(tokenizer.backend.to_str())
    found = [_decoder(described, tokenizer, *way) for way in _ways(described)]
    for same in (_to_the_byte, _as_a_text):
        for one in found:
            if all(same(one.data(np.array(tokenizer.encode(text), np.int64)), text) for text in _PROBES):
                return one
    return Decoder(tokenizer, [], np.zeros(0, np.int64), strips=False)


def _decoder(
    described: dict[str, Any], tokenizer: TextTokenizer, to_bytes: Callable[[str], bytes], strips: bool
) -> Decoder:
    table = _table(described, to_bytes, tokenizer)
    return Decoder(tokenizer, table, np.array([len(data) for data in table], np.int64), strips)


def _to_the_byte(data: bytes, text: str) -> bool:
    return data == text.encode()


def _as_a_text(data: bytes, text: str) -> bool:
    return digest_of(data.decode(errors="replace")) == digest_of(text)


def _ways(described: dict[str, Any]) -> list[tuple[Callable[[str], bytes], bool]]:
    """How a token's name may stand for bytes, the likelier first, and whether a blank comes before a text."""
    if '"ByteLevel"' in json.dumps([described["decoder"], described["pre_tokenizer"]]):
        return [(_byte_level(), False), (_byte_level(), True)]
    return [(_piece, True), (_piece, False)]


def _byte_level() -> Callable[[str], bytes]:
    """GPT-2's letters for bytes: those that can be printed stand for themselves, the others follow from 256 on."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(own)]
    letters = {chr(byte): byte for byte in own} | {chr(256 + i): byte for i, byte in enumerate(others)}
    assert letters.keys() == set(pre_tokenizers.ByteLevel.alphabet())

    def to_bytes(name: str) -> bytes:
        return bytes(letters[c] for c in name) if all(c in letters for c in name) else name.encode()

    return to_bytes


def _piece(name: str) -> bytes:
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.replace(_BLANK, " ").encode()


def _table(described: dict[str, Any], to_bytes: Callable[[str], bytes], tokenizer: TextTokenizer) -> list[bytes]:
    special = set(tokenizer.special_texts)
    added = {token["content"] for token in described["added_tokens"]}
    table = [b""] * tokenizer.vocab_size
    for name, place in tokenizer.backend.get_vocab(with_added_tokens=True).items():
        if name not in special:
            table[place] = name.encode() if name in added and _BLANK not in name else to_bytes(name)
    return table
