"""About how many tokens files hold, from their indices and sizes, before any tokenizer is known."""

from __future__ import annotations

from pathlib import Path

from doremi.corpus.patterns import File
from doremi.corpus.tokenized import columns, flat
from doremi.corpus.tokenized.asked import TokenIds
from doremi.corpus.tokenized.find import companion
from doremi.corpus.tokenized.layout import UNREADABLE, FileError, Layout, refused
from doremi.corpus.tokenized.megatron import megatron
from doremi.corpus.tokenized.numbers import check_numbers

LIKELY_DOCUMENT = 1000  # tokens, where no index says it
_SMALL, _LARGE = 1 << 16, 1 << 31


def count(domain: str, file: File, asked: TokenIds) -> tuple[int, int]:
    """Tokens and documents of a file, about; `DataError` where it holds none."""
    path, beside = Path(file.path), companion(file.path)
    try:
        if path.suffix in (".arrow", ".parquet"):
            return columns.count(path, asked.field)
        if path.suffix == ".bin" and beside is not None:
            found = megatron(path, beside, asked.type)
        else:
            found = _array(path, beside, asked)
        documents = len(found.index()) if found.index is not None else found.tokens // LIKELY_DOCUMENT
        return found.tokens, max(1, documents)
    except UNREADABLE as error:
        raise refused(domain, file.path, error) from None


def _array(path: Path, beside: Path | None, asked: TokenIds) -> Layout:
    """As uint16 or, where that cannot be, as uint32."""
    for size in (_SMALL, _LARGE):
        try:
            found = _of_size(path, beside, asked, size)
            check_numbers(found, _LARGE)
            return found
        except FileError:
            if size == _LARGE or asked.type != "auto":
                raise
    raise AssertionError


def _of_size(path: Path, beside: Path | None, asked: TokenIds, vocab_size: int) -> Layout:
    if path.suffix == ".ds":
        return flat.datatrove(path, beside, asked.type, vocab_size)
    return (flat.npy if path.suffix == ".npy" else flat.raw)(path, asked.type, vocab_size)
