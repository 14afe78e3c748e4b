"""Whether text that is decoded from tokens encodes to the same tokens again: asked of a few documents of each domain.

A byte-level tokenizer gives back every byte. Others change text before they encode it (letters composed, case, blanks),
drop what they do not know, or put blanks between words when they decode.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from doremi.corpus.tokenizer import TextTokenizer
from doremi.corpus.value import Corpus
from doremi.drawing.order import Drawn, Order
from doremi.drawing.source import Source, read_tokenizer

_EACH = 20  # documents of a domain


def check_decoding(corpus: Corpus, source: Source, order: Order, draws: Sequence[int]) -> tuple[int, int, bool]:
    """How many documents were looked at, how many encode to other tokens, and whether text is changed before it is
    encoded, which no document can show.
    """
    backend = read_tokenizer(source.tokenizer)
    tokenizer = TextTokenizer(backend, str(source.tokenizer), corpus.tokenizer.end_of_text)
    looked, others = 0, 0
    for domain, count in enumerate(draws):
        draw = np.arange(min(count, _EACH), dtype=np.int64)
        if not len(draw):
            continue
        documents = source.open(Drawn(np.full(len(draw), domain), order.document(domain, draw)))
        texts = [text for chunk in documents.texts() for text in chunk]
        looked += len(texts)
        pairs = zip(texts, documents.ids(), strict=True)
        others += sum(tokenizer.encode(text) != ids for text, ids in pairs)
    return looked, others, backend.normalizer is not None


def words(looked: int, others: int, changed: bool) -> str:
    """The same as a sentence, for the receipt."""
    if others:
        return f"decoding is not exact: of {looked} documents, {others} encode to other tokens than they had"
    said = f"of {looked} documents, all encode to the tokens that they had"
    return f"{said}; the tokenizer changes text before it encodes it, and that stays" if changed else said
