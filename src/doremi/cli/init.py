"""`doremi init`: a commented configuration for a folder of domain folders, and what is in them."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml

from doremi.cli.suggestion import suggest
from doremi.config import schema
from doremi.corpus.encoding import worker_count
from doremi.corpus.readers import read_documents
from doremi.corpus.sources import DomainFiles, DomainSource, describe, find_files, paths
from doremi.corpus.splits import is_split_name
from doremi.errors import ConfigError, DataError, one_line
from doremi.files import write_bytes
from doremi.mixture.domains import DomainSet, check_domain_name

BYTES_PER_TOKEN = 3.5  # of a byte-level BPE with 8,192 entries on English text; only for the estimate that is shown

_TEMPLATE = """\
# A run of doremi. Only data.domains is required. `doremi run {command} --dry-run` shows what would happen.
# The meaning of each key, and keys that are not shown here, are in {schema}
# To override single keys, add --set section.key=value to a command.

seed: 0
# budget_tokens: 1000000000   # tokens of your final run, used to show how often it repeats each domain

data:
  # name: folder, file, glob or list of them (JSON lines, Parquet, .txt; also packed), seen from this file
  domains:
{domains}
  text_field: text            # field (JSON lines) or column (parquet) that holds the text
  tokenizer: null             # null trains one on your data. Better is the folder or name of your model's own.
  vocab_size: 8192            # entries of the tokenizer to train
  sequence_length: 256        # tokens
  epoch_matched: false        # true repeats each domain as a run of budget_tokens will

model:
  preset: {preset:<20}# 0.1m 0.3m 1m 3m 10m 30m, or the paper's 70m 150m 280m 510m 760m 1b 8b

training:                     # the same for reference, proxy and main models
  steps: {steps:<21}# enough for the usual 20 tokens a body parameter, where text and time allow
  batch_size: {batch_size:<16}# sequences, at least one for each domain
  learning_rate: 0.003

reference:
  mixture: natural            # the mixture of the reference model, natural (by tokens), uniform, or a mixture.json

proxy:
  seeds: 1                    # more seeds show how sure the weights are
  eta: 1.0                    # step size of the weights, as in the paper
  smoothing: 0.001            # c in the paper

candidates:                   # mixtures that are compared, all trained on equally many tokens
  mixtures: [doremi, natural, uniform, temperature, unimax]
  seeds: 3                    # one seed is not enough to compare mixtures, three detect large differences
"""


@dataclass(frozen=True)
class DomainCount:
    """What a domain folder holds; validation files included."""

    name: str
    path: Path
    files: DomainFiles
    documents: int
    bytes: int

    @property
    def tokens(self) -> int:
        """Estimated."""
        return round(self.bytes / BYTES_PER_TOKEN)


def write_config(config: Path, folder: Path, *, force: bool = False) -> str:
    """Write the configuration; returns the table of domains and what to do next."""
    if config.exists() and not force:
        raise ConfigError(f"{config}: exists already; choose another name or add --force")
    counts = count_domains(folder)
    tokens = sum(count.tokens for count in counts)
    suggested = suggest(len(counts), tokens, worker_count(0))
    domains = "\n".join(
        f"    {_quoted(c.name)}: {_quoted(_seen_from(config, c.path))}"
        f"  # {c.documents:,} documents, {c.bytes:,} bytes, about {c.tokens:,} tokens"
        for c in counts
    )
    command = shlex.quote(str(config))
    text = _TEMPLATE.format(
        command=one_line(command), schema=schema.__file__, domains=domains,
        preset=suggested.preset, steps=suggested.steps, batch_size=suggested.batch_size,
    )  # fmt: skip
    write_bytes(config, text.encode())
    rows = [f"{'domain':<28} {'documents':>11} {'bytes':>15} {'tokens (about)':>15}"]
    rows += [f"{c.name:<28} {c.documents:>11,} {c.bytes:>15,} {c.tokens:>15,}" for c in counts]
    rows += [f"{c.name}: {describe(c.files)}" for c in counts]
    return "\n".join([*rows, suggested.words(), f"wrote {config}; next: doremi run {command}"])


def _seen_from(config: Path, path: Path) -> str:
    """A path as the configuration says it: relative to where that lies, unless it was given as an absolute one."""
    return str(path) if path.is_absolute() else os.path.relpath(path, config.parent)


def count_domains(folder: Path) -> list[DomainCount]:
    """Documents and bytes of each folder below `folder`; it reads everything once."""
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; give one that holds a folder of text files for each domain")
    places = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not places:
        raise DataError(f"{folder}: holds no folders; put the files of each domain into a folder of its own")
    if len(places) == 1:
        raise DataError(f"{places[0]}: is the only folder in it; doremi weighs domains against one another: give two")
    splits = [place.name for place in places if is_split_name(place.name)]
    if splits:
        raise DataError(
            f"{folder}: holds a folder called {splits[0]!r}. That is the name of a split, not of a domain. Give a "
            "folder with one folder a domain, or write the configuration by hand."
        )
    DomainSet(check_domain_name(place.name) for place in places)
    return [_count(place) for place in places]


def _count(place: Path) -> DomainCount:
    files = find_files(DomainSource([str(place)]), key=f"domain {place.name!r}")
    documents = size = 0
    for text in read_documents(paths([*files.train, *files.validation]), text_field="text", domain=place.name):
        documents, size = documents + 1, size + len(text.encode())
    if not size:
        raise DataError(f"domain {place.name!r}: {place}: its files hold no text; add some, or remove the folder")
    return DomainCount(place.name, place, files, documents, size)


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style=None, width=10_000).removesuffix("...\n").strip()
