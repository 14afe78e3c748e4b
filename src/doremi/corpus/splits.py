"""Which split a file belongs to, by the words in its name and in the names of its folders.

A folder, or a file that is one document, counts where the whole name is such a word (`test/`, `val_set/`, `dev.txt`);
a file of many documents where the word stands anywhere between separators (`c4-validation.00000.json.gz`). Names that
speak of two splits count as what is held out, so that such text is never trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

Split = Literal["train", "validation", "test"]

_WORDS: dict[Split, str] = {  # the first that is found decides
    "test": r"tests?|testing|eval|evals|evaluation|hold[-_. ]?out|held[-_. ]?out",
    "validation": r"validation|validate|valid|val|dev|devel|development",
    "train": r"train|training",
}
_AFTER = r"(?:[-_. ]*(?:set|split|data|files?|docs?|documents?|texts?|shards?|parts?|of|[0-9]+))*"
_WHOLE = {split: re.compile(rf"(?:{words}){_AFTER}", re.IGNORECASE) for split, words in _WORDS.items()}
_ANYWHERE: dict[Split, re.Pattern[str]] = {
    split: re.compile(rf"(?<![a-z])(?:{words})(?:sets?|splits?|data)?(?![a-z])", re.IGNORECASE)
    for split, words in _WORDS.items()
}


def split_of(folders: Sequence[str], name: str, *, one_document: bool, named: Iterable[Split] = ()) -> Split | None:
    """The split of a file called `name` in `folders` (outermost first), or None where no name says one.

    `named` are splits that the user asked for by name, which therefore decide nothing.
    """
    for split in _WORDS:
        found = any(_WHOLE[split].fullmatch(folder) for folder in folders)
        stem = name.split(".", 1)[0] if one_document else name
        found = found or bool(_WHOLE[split].fullmatch(stem) if one_document else _ANYWHERE[split].search(name))
        if found and split not in named:
            return split
    return None


def splits_named(text: str) -> set[Split]:
    """Splits whose words stand in a pattern that the user wrote."""
    return {split for split, pattern in _ANYWHERE.items() if pattern.search(text)}


def is_split_name(folder: str) -> bool:
    """Whether a folder's whole name is that of a split."""
    return any(pattern.fullmatch(folder) for pattern in _WHOLE.values())
