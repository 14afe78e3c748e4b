"""`doremi init`: a commented configuration for a folder of domain folders, and what is in them."""

from __future__ import annotations

import math
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml

from doremi.config import schema
from doremi.corpus.glance import Glance, found_at_a_glance, glance
from doremi.corpus.sampling import BYTES_PER_TOKEN
from doremi.corpus.sources import DomainSource, describe
from doremi.corpus.splits import is_split_name
from doremi.errors import ConfigError, DataError, one_line
from doremi.files import write_bytes
from doremi.mixture.domains import DomainSet, check_domain_name

LARGE_TOKENS = 10**9  # of a domain: tokenizing more takes one core over twenty minutes, so a sample is proposed
SAMPLE_TOKENS = 10**8  # of it: more than the configuration here trains on
_SAMPLE = "  {sign}sample_tokens: {tokens}   # read about so many tokens of each domain, spread over its files"

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
{sample}
  sequence_length: 256        # tokens
  epoch_matched: false        # true repeats each domain as a run of budget_tokens will

model:
  preset: 1m                  # 0.1m 0.3m 1m 3m 10m 30m, or the paper's 70m 150m 280m 510m 760m 1b 8b

training:                     # the same for reference, proxy and main models
  steps: {steps}
  batch_size: {batch_size}            # sequences, at least one for each domain
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
    found: Glance

    @property
    def documents(self) -> int:
        return self.found.documents

    @property
    def bytes(self) -> int:
        return self.found.bytes

    @property
    def tokens(self) -> int:
        """Estimated."""
        return round(self.bytes / BYTES_PER_TOKEN)

    def shown(self, number: int) -> str:
        """A count, and that it is an estimate where it is one."""
        return f"{'' if self.found.exact else '~'}{number:,}"

    @property
    def remark(self) -> str:
        """What an estimate was made from."""
        found = self.found
        number = len(found.files.train) + len(found.files.validation)
        return "" if found.exact else f" (estimated from {found.opened} of {number:,} files)"


def write_config(config: Path, folder: Path, *, force: bool = False) -> str:
    """Write the configuration; returns the table of domains and what to do next."""
    if config.exists() and not force:
        raise ConfigError(f"{config}: exists already; choose another name or add --force")
    counts = count_domains(folder)
    tokens = sum(count.tokens for count in counts)
    batch_size = max(32, 8 * math.ceil(len(counts) / 8))
    steps = min(2000, max(100, round(tokens / (batch_size * 256) / 50) * 50))
    sampled = any(count.tokens > LARGE_TOKENS for count in counts)
    domains = "\n".join(_domain_line(config, count, sampled=sampled) for count in counts)
    command = shlex.quote(str(config))
    text = _TEMPLATE.format(
        command=one_line(command), schema=schema.__file__, domains=domains, steps=steps, batch_size=batch_size,
        sample=_SAMPLE.format(sign="" if sampled else "# ", tokens=SAMPLE_TOKENS),
    )  # fmt: skip
    write_bytes(config, text.encode())
    rows = [f"{'domain':<28} {'documents':>11} {'bytes':>15} {'tokens (about)':>15}"]
    rows += [f"{c.name:<28} {c.shown(c.documents):>11} {c.shown(c.bytes):>15} {c.tokens:>15,}" for c in counts]
    rows += [f"{c.name}: {describe(c.found.files)}{c.remark}" for c in counts]
    rows += [f"large domains: about {SAMPLE_TOKENS:,} tokens of each are read (data.sample_tokens)"] if sampled else []
    return "\n".join([*rows, f"wrote {config}; next: doremi run {command}"])


def _seen_from(config: Path, path: Path) -> str:
    """A path as the configuration says it: relative to where that lies, unless it was given as an absolute one."""
    return str(path) if path.is_absolute() else os.path.relpath(path, config.parent)


def count_domains(folder: Path) -> list[DomainCount]:
    """Documents and bytes of each folder below `folder`; of large ones estimates, from a few files each."""
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
    source = DomainSource([str(place)])
    found = glance(place.name, source, found_at_a_glance(place.name, source))
    if not found.bytes:
        raise DataError(f"domain {place.name!r}: {place}: its files hold no text; add some, or remove the folder")
    return DomainCount(place.name, place, found)


def _domain_line(config: Path, count: DomainCount, *, sampled: bool) -> str:
    """A domain in the configuration, with its size where only a sample of it is read."""
    name, path = _quoted(count.name), _quoted(_seen_from(config, count.path))
    if sampled and count.tokens > SAMPLE_TOKENS:
        path = f"{{train: {_in_flow(_seen_from(config, count.path))}, bytes: {count.bytes}}}"
    documents, size = count.shown(count.documents), count.shown(count.bytes)
    return f"    {name}: {path}  # {documents} documents, {size} bytes, about {count.tokens:,} tokens{count.remark}"


def _in_flow(text: str) -> str:
    """A text inside braces."""
    return yaml.safe_dump([text], default_flow_style=True, width=10**9).strip()[1:-1]


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style=None, width=10_000).removesuffix("...\n").strip()
