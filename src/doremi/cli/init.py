"""`doremi init`: a commented configuration for a corpus that nobody has described yet, and what is in it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from doremi.cli.suggestion import VOCABULARY, Given, suggest
from doremi.config import schema
from doremi.corpus.by_field import Values, values_of
from doremi.corpus.encoding import worker_count
from doremi.corpus.glance import Glance, all_files, evenly, found_at_a_glance, glance
from doremi.corpus.hub.dataset import Dataset, commit_of, dataset_at
from doremi.corpus.places import places
from doremi.corpus.readers import read_shaped
from doremi.corpus.sampling import BYTES_PER_TOKEN
from doremi.corpus.shape import Shape
from doremi.corpus.sources import DomainSource, Part, describe, find_files
from doremi.corpus.tokenized.asked import TokenIds
from doremi.corpus.tokenized.find import holds_tokens, tokenizer_of
from doremi.corpus.unpack import is_remote
from doremi.credentials import what_is_secret
from doremi.errors import ConfigError, DataError, one_line
from doremi.files import write_bytes
from doremi.mixture.domains import DomainSet, check_domain_name

LARGE_TOKENS = 10**9  # of a domain: tokenizing more takes one core over twenty minutes, so a sample is proposed
SAMPLE_TOKENS = 10**8  # of it: more than the configuration here trains on
JOIN = "\n\n"  # between the parts of a text that is a list
_SAMPLE = "  {sign}sample_tokens: {tokens}   # read about so many tokens of each domain, spread over its files"

_SMALL = ("0.1m", "0.3m", "1m", "3m")
_RECIPE = """\
  learning_rate: auto         # by the width of the model, so that each size has its own
  # What was best for models of up to 3m, in loss and in how sure a comparison is (docs/results/recipe.md)
  schedule: linear
  final_learning_rate: 0
  warmup: 0.5
  beta1: 0.8
  beta2: 0.95
  initial_spread: 2
"""
_UNTUNED = """\
  learning_rate: 0.003        # `doremi tune` finds a better one
"""

_TEMPLATE = """\
# A run of doremi. Only data.domains is required. `doremi run {command} --dry-run` shows what would happen.
# The meaning of each key, and keys that are not shown here, are in {schema}
# To override single keys, add --set section.key=value to a command.

seed: 0
# budget_tokens: 1000000000   # tokens of your final run, used to show how often it repeats each domain

data:
{shared}  # name: folder, file, glob or list of them (JSON lines, tables, .txt; also packed), seen from this file
  domains:
{domains}
  text_field: {text_field}            # field of a record, or column of a table, that holds the text
{join}  tokenizer: {tokenizer}
  vocab_size: 8192            # entries of the tokenizer to train
{sample}
  sequence_length: 256        # tokens
  epoch_matched: false        # true repeats each domain as a run of budget_tokens will

model:
  preset: {preset:<20}# 0.1m 0.3m 1m 3m 10m 30m, or the paper's 70m 150m 280m 510m 760m 1b 8b

training:                     # the same for reference, proxy and main models
  steps: {steps:<21}# enough for the usual 20 tokens a body parameter, where text and time allow
  batch_size: {batch_size:<16}# sequences, at least one for each domain
{recipe}
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
class Asked:
    """What a user says of a corpus: where it is, and which fields hold the text and the domain."""

    source: str
    text_field: str = "text"
    domain_field: str | None = None
    tokenizer: str | None = None
    """The one that made the tokens, where they are there already."""


@dataclass(frozen=True)
class DomainCount:
    """What a domain's files hold; validation files included."""

    name: str
    paths: list[str]
    found: Glance
    ids: bool = False
    """Whether its files hold tokens."""

    @property
    def documents(self) -> int:
        return self.found.documents

    @property
    def bytes(self) -> int:
        return self.found.bytes

    @property
    def tokens(self) -> int:
        """Estimated."""
        return tokens_in(self.bytes)

    def shown(self, number: int) -> str:
        """A count, and that it is an estimate where it is one."""
        return f"{'' if self.found.exact else '~'}{number:,}"

    @property
    def remark(self) -> str:
        """What an estimate was made from."""
        found = self.found
        if self.ids:
            return " (already tokenized)"
        number = len(found.files.train) + len(found.files.validation)
        return "" if found.exact else f" (estimated from {found.opened} of {number:,} files)"


@dataclass(frozen=True)
class _Data:
    """What the data section and the screen say."""

    shared: str
    domains: str
    tokens: list[int]
    """Of each domain, about."""
    rows: list[str]
    join: str | None = None
    sampled: bool = False
    ids: bool = False
    tokenizer: str | None = None
    """What files of tokens say of theirs."""


def write_config(config: Path, asked: Asked, *, force: bool = False) -> str:
    """Write the configuration; returns the table of domains and what to do next."""
    if config.exists() and not force:
        raise ConfigError(f"{config}: exists already; choose another name or add --force")
    if kind := what_is_secret(asked.source):
        raise ConfigError(f"the address holds {kind}; leave it out and give it in the environment (docs/data.md)")
    asked = replace(asked, source=_at_a_commit(asked.source))
    try:
        data = _of_places(config, asked) if asked.domain_field is None else _of_field(config, asked)
    except DataError as error:
        raise DataError(str(error).replace("set text_field to", "say with --text-field which is")) from None
    given = Given(sum(data.tokens), worker_count(0), _entries(asked.tokenizer or data.tokenizer))
    suggested = suggest(len(data.tokens), given)
    command = shlex.quote(str(config))
    join = "" if data.join is None else f"  join: {_quoted(data.join)}  # stands between the parts of a text\n"
    text = _TEMPLATE.format(
        command=one_line(command), schema=schema.__file__, domains=data.domains, preset=suggested.preset,
        recipe=_RECIPE if suggested.preset in _SMALL else _UNTUNED,
        steps=suggested.steps, batch_size=suggested.batch_size, shared=data.shared,
        sample=_SAMPLE.format(sign="" if data.sampled else "# ", tokens=SAMPLE_TOKENS),
        text_field=_quoted(asked.text_field), join=join, tokenizer=_tokenizer(config, asked, data),
    )  # fmt: skip
    write_bytes(config, text.encode())
    rows = [f"{'domain':<28} {'documents':>11} {'bytes':>15} {'tokens (about)':>15}", *data.rows]
    rows += (
        [f"large domains: about {SAMPLE_TOKENS:,} tokens of each are read (data.sample_tokens)"] if data.sampled else []
    )
    return "\n".join([*rows, suggested.words(), f"wrote {config}; next: doremi run {command}"])


def _tokenizer(config: Path, asked: Asked, data: _Data) -> str:
    """The line of the tokenizer, which somebody must name where tokens are there already."""
    named = asked.tokenizer or data.tokenizer
    if named is not None:
        named = _seen_from(config, named) if asked.tokenizer and Path(named).exists() else named
        return f"{_quoted(named)}  # made the tokens" if data.ids else _quoted(named)
    if data.ids:
        return "null             # name the tokenizer that made these tokens: its folder or its Hugging Face name"
    return "null             # null trains one on your data. Better is the folder or name of your model's own."


def _entries(tokenizer: str | None) -> int:
    """Of its vocabulary; of one that will be trained where none is named, or that one cannot be had here."""
    if tokenizer is None:
        return VOCABULARY
    from doremi.corpus.tokenizer import load_tokenizer

    try:
        return load_tokenizer(tokenizer).vocab_size
    except ConfigError:
        return VOCABULARY


def _at_a_commit(source: str) -> str:
    """The address of a dataset with the commit that it is at now, so that a run reads the same at any time."""
    dataset = dataset_at(source)
    return source if dataset is None else replace(dataset, revision=commit_of(dataset)).address


def tokens_in(size: int) -> int:
    """Tokens in so many bytes of text, about."""
    return round(size / BYTES_PER_TOKEN)


# -- a folder or a file a domain -------------------------------------------------------------------------------------


def _of_places(config: Path, asked: Asked) -> _Data:
    found = places(asked.source)
    DomainSet(check_domain_name(name) for name in found.domains)
    join = _join(next(iter(found.domains.values())), asked.text_field)
    counts, odd = count_domains(found.domains, asked.text_field, join)
    sampled = any(count.tokens > LARGE_TOKENS for count in counts)
    rows = [f"{c.name:<28} {c.shown(c.documents):>11} {c.shown(c.bytes):>15} {c.tokens:>15,}" for c in counts]
    rows += [f"{c.name}: {describe(c.found.files)}{c.remark}" for c in counts]
    rows += [f"{c.name}: {wrong}" for c in counts for wrong in c.found.odd]
    rows += [
        f"{c.name}: records that are no text: {c.found.bad:,}; data.on_bad_record: skip leaves them out"
        for c in counts
        if c.found.bad
    ]
    rows += [f"left out: {name}: {error}" for name, error in odd.items()]
    rows += [f"left out: {', '.join(found.beside)}: {_why_beside(asked.source)}"] if found.beside else []
    lines = [_domain_line(config, count, sampled=sampled) for count in counts]
    lines += [f"    # {one_line(name)}: left out, since it cannot be read" for name in odd]
    ids = [count for count in counts if count.ids]
    named = {name for count in ids for file in count.found.files.train if (name := tokenizer_of(file.path))}
    own = named.pop() if len(named) == 1 else None
    return _Data("", "\n".join(lines), [count.tokens for count in counts], rows, join, sampled, bool(ids), own)


def _why_beside(source: str) -> str:
    return "beside the folders of domains" if dataset_at(source) is None else "the files of other configurations"


def count_domains(
    domains: Mapping[str, list[str]], text_field: str, join: str | None
) -> tuple[list[DomainCount], dict[str, DataError]]:
    """Documents and bytes of each domain, of large ones estimates; and what is wrong with those that cannot be read.

    `DataError` where fewer than two can be read."""
    counts, odd = [], {}
    for name, paths in domains.items():
        try:
            found, ids = _look(name, DomainSource(paths, text_field=text_field, join=join))
            if not found.bytes:
                raise DataError(f"domain {name!r}: {paths[0]}: its files hold no text; add some, or remove it")
            counts.append(DomainCount(name, paths, found, ids))
        except DataError as error:
            odd[name] = error
    if len(counts) < 2:
        raise next(iter(odd.values()))
    return counts, odd


def _look(name: str, source: DomainSource) -> tuple[Glance, bool]:
    """What a domain holds, and whether that is tokens: asked only where it holds no text."""
    try:
        return glance(name, source, found_at_a_glance(name, source), skip_bad=True, skip_odd=True), False
    except DataError as error:
        as_ids = replace(source, text_field=DomainSource([]).text_field, join=None, ids=TokenIds())
        try:
            return glance(name, as_ids, found_at_a_glance(name, as_ids)), True
        except DataError as other:
            raise other if holds_tokens(source.train) else error from None


def _join(paths: list[str], text_field: str) -> str | None:
    """What texts that are lists are joined with; None where they are none, as in a field that nobody named."""
    if text_field == DomainSource([]).text_field:
        return None
    try:
        files = find_files(DomainSource(paths, text_field=text_field), key="init", look_inside=False)
        first = [file.path for file in evenly(all_files(files))[:1]]
        for join in (None, JOIN):
            try:
                next(read_shaped(first, shape=Shape(text_field, join), domain="init"), None)
            except DataError:
                continue
            return join
    except DataError:
        pass  # whoever counts says so
    return None


def _domain_line(config: Path, count: DomainCount, *, sampled: bool) -> str:
    """A domain in the configuration, with its size where only a sample of it is read."""
    where = _in_flow([_seen_from(config, path) for path in count.paths])
    dataset = dataset_at(count.paths[0])
    files = f"train: {where}" if dataset is None else _as_keys(dataset)
    said = ", tokenized: true" if count.ids else ""
    if sampled and count.tokens > SAMPLE_TOKENS:
        size = f"tokens: {count.tokens}" if count.ids else f"bytes: {count.bytes}"
        where = f"{{{files}{said}, {size}}}"
    elif said or dataset is not None:
        where = f"{{{files}{said}}}"
    documents, size = count.shown(count.documents), count.shown(count.bytes)
    comment = f"{documents} documents, {size} bytes, about {count.tokens:,} tokens{count.remark}"
    return f"    {_quoted(count.name)}: {where}  # {comment}"


def _as_keys(dataset: Dataset) -> str:
    said = {"dataset": dataset.name, "config": dataset.config, "split": dataset.split, "revision": dataset.revision}
    return ", ".join(f"{key}: {_in_flow([value])}" for key, value in said.items() if value is not None)


def _seen_from(config: Path, path: str) -> str:
    """A path as the configuration says it: relative to where that lies, unless it was given as an absolute one."""
    return path if is_remote(path) or Path(path).is_absolute() else os.path.relpath(path, config.parent)


# -- a field that names the domain -----------------------------------------------------------------------------------


def _of_field(config: Path, asked: Asked) -> _Data:
    part = Part(asked.domain_field or "", ())
    join = _join([asked.source], asked.text_field)
    found = values_of(DomainSource([asked.source], text_field=asked.text_field, join=join, part=part), "init")
    sign = "" if found.exact else "~"
    lines, rows, tokens = [], [], []
    for name, value in found.domains.items():
        count = found.large[value]
        tokens.append(tokens_in(count.bytes))
        documents, size = f"{sign}{count.documents:,}", f"{sign}{count.bytes:,}"
        values = "{}" if name == value else f"{{values: {_in_flow([value], always_list=True)}}}"
        lines.append(
            f"    {_quoted(name)}: {values}  # {documents} documents, {size} bytes, about {tokens[-1]:,} tokens"
        )
        rows.append(f"{name:<28} {documents:>11} {size:>15} {tokens[-1]:>15,}")
    rows.append(describe(found.files))
    rows.append(_rare_words(found, sign))
    path = _in_flow([_seen_from(config, asked.source)])
    shared = (
        f"  train: {path}\n  domain_field: {_quoted(part.field)}   # names the domain of each document\n"
        f"  others: leave_out           # {_rare_words(found, sign)}; or stop, or the domain that takes them\n"
    )
    sampled = any(size > LARGE_TOKENS for size in tokens)
    return _Data(shared, "\n".join(lines), tokens, rows, join, sampled)


def _rare_words(found: Values, sign: str) -> str:
    return (
        f"left out: {found.rare_values:,} rare values and documents without one ({sign}{found.rare.documents:,} "
        f"documents, of which {sign}{found.unnamed:,} without)"
    )


# -- YAML ------------------------------------------------------------------------------------------------------------


def _in_flow(texts: list[str], *, always_list: bool = False) -> str:
    """A text, or a list of them, as it stands inside braces."""
    shown = yaml.safe_dump(texts, default_flow_style=True, width=10**9, allow_unicode=True).strip()
    return shown if len(texts) > 1 or always_list else shown[1:-1]


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style=None, width=10_000).removesuffix("...\n").strip()
