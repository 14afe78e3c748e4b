"""Texts that the program shows: help, meanings of keys, messages, alarms, the report, the file that `init` writes.

Messages are the literals of the source that read like prose. What an f-string fills in counts as one word.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from sentences import Paragraph, plain

FIELD = "X"  # stands for what is filled in
FEWEST = 4  # words; a literal with fewer is a name, a unit or a part of a format
KEYS = ("config/schema.py", "config/limits.py")

_WORD = re.compile(r"(?<!\S)[(\"']?[A-Za-z][a-z'-]*[.,:;!?)\"']*(?!\S)")
_MARKUP = re.compile(r"\{%.*?%\}|<[^>]*>", re.DOTALL)


def texts(source: Path) -> Iterator[Paragraph]:
    """All texts of the package at `source`, each once."""
    seen = set()
    for paragraph in [*commands(), *keys(source), *messages(source), *page(source)]:
        if paragraph.text not in seen:
            seen.add(paragraph.text)
            yield paragraph


def commands() -> Iterator[Paragraph]:
    """What `--help` of every command shows."""
    import typer.main

    from doremi.cli.commands import app

    group = typer.main.get_command(app)
    yield Paragraph("doremi --help", plain(f"{group.help}"))
    yield Paragraph("doremi --help", plain(f"{group.epilog}"))
    for name, command in group.commands.items():
        yield Paragraph(f"doremi {name} --help", plain(f"{command.help}"))
        for parameter in command.params:
            text = getattr(parameter, "help", None)
            yield Paragraph(f"doremi {name} --help ({parameter.name})", plain(text or ""))


def keys(source: Path) -> Iterator[Paragraph]:
    """The docstrings of the configuration's sections and keys."""
    for name in KEYS:
        for node in ast.walk(ast.parse((source / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                for child in node.body:
                    if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                        yield Paragraph(f"{name}:{child.lineno}", plain(str(child.value.value)))


def messages(source: Path) -> Iterator[Paragraph]:
    """Literals that read like prose, docstrings left out."""
    for path in sorted(source.rglob("*.py")):
        name = path.relative_to(source).as_posix()
        for line, text in _literals(ast.parse(path.read_text(encoding="utf-8"))):
            for piece in _pieces(text):
                if len(_WORD.findall(piece)) >= FEWEST:
                    yield Paragraph(f"{name}:{line}", plain(piece))


def page(source: Path) -> Iterator[Paragraph]:
    """The fixed text of the report."""
    text = re.sub(
        r"<(style|script)\b.*?</\1>", "", (source / "report/page.html").read_text(encoding="utf-8"), flags=re.S
    )
    for block in re.split(r"</?(?:p|h\d|li|td|th|dt|dd|div|section|figure|figcaption|nav|title|a)\b[^>]*>", text):
        piece = re.sub(r"\{\{.*?\}\}", FIELD, _MARKUP.sub(" ", block), flags=re.S)
        if len(_WORD.findall(piece)) >= FEWEST:
            yield Paragraph("report/page.html", plain(" ".join(piece.split())))


def _literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    hidden = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}  # docstrings
    hidden |= {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, re.sub(r"\{[\w.:,]*\}", FIELD, node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = (str(v.value) if isinstance(v, ast.Constant) else FIELD for v in node.values)
            yield node.lineno, re.sub(r"\{[\w.:,]*\}", FIELD, "".join(parts))


def _pieces(text: str) -> list[str]:
    """Lines of a longer text; of a configuration only its comments."""
    lines = text.strip().split("\n")
    comments = [line.partition("#")[2].strip() for line in lines if "#" in line]
    return comments if len(lines) > 1 and comments else lines
