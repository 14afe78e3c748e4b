"""How an export reaches the disk: whole files, relative links to the corpus, and the README.txt beside them.

An exporter is a generator of `(relative path, content)`: bytes become a file, a `Path` becomes a link to that file of
the corpus. One at a time, so that only one index is in memory however many domains there are. Token files are never
copied: a corpus may be terabytes, and a link shows where the tokens come from.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from doremi.errors import ExportError
from doremi.export.blend import Blend, Domain
from doremi.export.rounding import DECIMALS, decimal_text
from doremi.files import write_bytes
from doremi.rundir.layout import RunDirectory

Files = Iterator[tuple[str, bytes | Path]]
ABSOLUTE = (
    "The paths are absolute, since this trainer reads relative ones from the folder that it is started in.",
    "After moving the run, export again.",
)
"""In the README.txt of targets whose own configuration cannot say where it lies."""


def write_all(files: Iterable[tuple[str, bytes | Path]], folder: Path) -> list[Path]:
    """Write `files` under `folder`, each atomically; returns their paths in the order written."""
    written = []
    for name, content in files:
        path = folder / name
        try:
            if isinstance(content, Path):
                _link(path, content)
            else:
                write_bytes(path, content)
        except OSError as error:
            raise ExportError(
                f"{path}: cannot be written ({error.strerror}); make room or choose another folder"
            ) from None
        written.append(path)
    return written


def _link(path: Path, target: Path) -> None:
    """A relative link, so that a run directory can be moved or copied with its exports."""
    if path.exists() and not path.is_symlink():
        raise ExportError(f"{path}: is a file of its own, not a link of an earlier export; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target.resolve(), path.parent.resolve()))
    temporary.replace(path)


def check_folder(folder: Path, run: RunDirectory) -> None:
    """`ExportError` for a folder inside a run or a corpus, whose files an export could replace; `export/` is free."""
    place = folder.resolve()
    for parent in (place, *place.parents):
        if (parent / "sources.json").exists() and (parent / "manifest.json").exists():
            raise ExportError(f"{folder}: lies inside {parent}, a corpus; choose a folder outside")
        if parent == run.root.resolve() or ((parent / "config.yaml").exists() and (parent / "manifest.json").exists()):
            if not place.is_relative_to(parent / "export"):
                raise ExportError(f"{folder}: lies inside {parent}, a run; choose a folder outside or its export/")
            return


# -- what people read ------------------------------------------------------------------------------------------------


def table(blend: Blend) -> list[str]:
    """Lines of weight, tokens, documents, mean length and epochs of each domain; a dash where one is not known."""
    head = ("weight", "train tokens", "documents", "tokens/document", "epochs", "domain")
    rows = [_row(domain) for domain in blend.domains]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head) - 1)]
    return ["  ".join([*map(str.rjust, row[:-1], widths), row[-1]]) for row in (head, *rows)]


def _row(domain: Domain) -> tuple[str, ...]:
    counts = [domain.tokens, domain.documents]
    mean, epochs = domain.tokens_per_document, domain.epochs
    return (
        decimal_text(domain.weight),
        *("-" if count is None else str(count) for count in counts),
        f"{mean:.1f}" if mean else "-",
        "-" if epochs is None else f"{float(epochs):.4g}",
        domain.name,
    )


def summary(blend: Blend, unit: str) -> list[str]:
    """What the numbers of an export mean: unit, tokenizer, budget, epochs, and what was left out."""
    tokenizer = blend.tokenizer
    lines = [
        f"Mixture {blend.mixture!r}, written by doremi.",
        "",
        f"The weights count  {unit}, in the order of the corpus, and sum to exactly 1 in {DECIMALS} decimals",
        f"Tokenizer          sha256 {tokenizer.sha256}, vocabulary {tokenizer.vocab_size}",
        f"Budget             {blend.budget_tokens} tokens (epochs = token weight x budget / train tokens)",
    ]
    lines += [f"Note               {note}" for note in blend.notes]
    lines += [f"Note               {line}" for line in left_out(blend)]
    return [*lines, "", "Token weights and epochs at the budget:", "", *table(blend)]


def left_out(blend: Blend) -> list[str]:
    """A line on the domains that the file does not name."""
    names = ", ".join(repr(domain.name) for domain in blend.dropped)
    return [f"Left out, because their weight is 0: {names}"] if names else []


def readme(blend: Blend, unit: str, usage: Sequence[str]) -> bytes:
    """README.txt: the summary and how to use the files with the trainer."""
    return ("\n".join([*summary(blend, unit), "", *usage]) + "\n").encode()


def yaml_bytes(value: Mapping[str, Any], comments: Sequence[str] = ()) -> bytes:
    """`value` as YAML under `comments`; a `Decimal` keeps its places and stays a number."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comments)
    return (head + yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**9)).encode()


# libyaml's is ten times as fast, where there is one
_Base: Any = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


class _Dumper(_Base):
    """Prints a `Decimal` as a plain number."""


def _represent_decimal(dumper: yaml.SafeDumper, number: Decimal) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", decimal_text(number))


_Dumper.add_representer(Decimal, _represent_decimal)


def comments(blend: Blend, unit: str) -> list[str]:
    """The summary as lines of a comment, which Python and YAML begin alike."""
    return [f"# {line}".rstrip() for line in summary(blend, unit)]


def python_bytes(blend: Blend, unit: str, values: Mapping[str, Any], code: str) -> bytes:
    """A Python file: the summary, `values` as assignments, one entry a line, and `code`."""
    lines = [*comments(blend, unit), ""]
    for name, value in values.items():
        lines += [*_assignment(name, value), ""]
    return ("\n".join(lines) + code).encode()


def _assignment(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name} = {{", *(f"    {key!r}: {_literal(one)}," for key, one in value.items()), "}"]
    return [f"{name} = {_literal(value)}"]


def _literal(value: Any) -> str:
    return decimal_text(value) if isinstance(value, Decimal) else repr(value)


def refuse_in_path(path: Path | str, signs: str, trainer: str) -> None:
    """`ExportError` if `path` has one of `signs`, which `trainer` would misread; a blank stands for all white space."""
    for sign in str(path):
        if sign in signs or (" " in signs and sign.isspace()):
            raise ExportError(
                f"{path}: {trainer} cannot read a path with {sign!r} in it; rename the folder or choose another place"
            )
