"""Sentences of what users read: of Markdown pages, and of single messages.

Code blocks, tables, headings, pictures and addresses are no sentences. A piece of code within a sentence is one word.
Lines are joined first, since a sentence runs over the line breaks of a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

CODE = "Code"  # stands for a piece of code: one word that may begin a sentence

_FENCE = re.compile(r"^ *(```|~~~)")
_SKIPPED = re.compile(r"^\s*(\||#{1,6} |!\[|<|[-*_]{3,}\s*$)")
_ITEM = re.compile(r"^\s*([-*+]|\d+[.)])\s+")
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])")
_NO_END = re.compile(r"(\be\.g|\bi\.e|\bet al|\bvs|\bcf|\bapprox|\bNo|\b[A-Z])\.$")
_JOINT = re.compile(r"[:;](?=[\s\"')]|$)")


@dataclass(frozen=True)
class Paragraph:
    """Text on one line, and where it stands: `README.md:12`."""

    where: str
    text: str


@dataclass(frozen=True)
class Sentence:
    where: str
    text: str

    @property
    def words(self) -> int:
        return sum(any(c.isalnum() for c in word) for word in self.text.split())

    @property
    def joined(self) -> bool:
        """Two thoughts in one sentence: it holds a colon or a semicolon."""
        return bool(_JOINT.search(self.text))


def paragraphs(markdown: str, name: str) -> Iterator[Paragraph]:
    """The running text of a page; each item of a list is a paragraph of its own."""
    held: list[str] = []
    start, fenced = 1, False
    for number, line in enumerate([*markdown.splitlines(), ""], start=1):
        fence = bool(_FENCE.match(line))
        item = _ITEM.match(line)
        ends = fenced or fence or not line.strip() or bool(_SKIPPED.match(line))
        if held and (ends or item):
            yield Paragraph(f"{name}:{start}", plain(" ".join(held)))
            held = []
        fenced ^= fence
        if not ends:
            start = start if held else number
            held.append((line[item.end() :] if item else line.removeprefix(">")).strip())


def plain(text: str) -> str:
    """Without marks and addresses; code becomes one word."""
    text = re.sub(r"`+[^`]+`+", CODE, text)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\bhttps?://\S+", "address", text)
    return " ".join(re.sub(r"\*\*?|(?<!\w)_|_(?!\w)", "", text).split())


def sentences(paragraph: Paragraph) -> list[Sentence]:
    found: list[str] = []
    for piece in _END.split(paragraph.text):
        if found and _NO_END.search(found[-1]):
            found[-1] += " " + piece
        else:
            found.append(piece)
    return [s for s in (Sentence(paragraph.where, piece) for piece in found) if s.words]
