"""What the configuration asks of the corpus."""

from __future__ import annotations

from collections.abc import Mapping

from doremi.config import RunConfig
from doremi.config.schema import DataConfig, DomainConfig
from doremi.corpus.parts import PrepareRequest
from doremi.corpus.shape import Filter
from doremi.corpus.sources import DomainSource, Part
from doremi.corpus.tokenized.asked import TokenIds
from doremi.rundir.revisions import pinned, recorded


def domain_sources(config: RunConfig) -> dict[str, DomainSource]:
    """Where the text of each domain is."""
    data, commits = config.data, recorded(config.root)
    return {name: _source(name, domain, data, commits) for name, domain in data.domains.items()}


def _source(name: str, domain: DomainConfig, data: DataConfig, commits: Mapping[str, str]) -> DomainSource:
    """What a domain says for itself goes before what is said of all."""
    shared = data.domain_field is not None
    where = {**data.where, **domain.where}
    ids = domain.tokenized or data.tokenized
    train = [domain.hub.address] if domain.hub is not None else domain.train
    return DomainSource(
        pinned(data.train if shared else train, commits),
        pinned(data.validation if shared else domain.validation, commits),
        domain.text_field or data.text_field,
        domain.sample_tokens or data.sample_tokens,
        join=data.join if domain.join is None else domain.join,
        where=tuple(Filter(field, tuple(values)) for field, values in where.items()),
        part=Part(data.domain_field, tuple(domain.values or [name]), data.others) if data.domain_field else None,
        ids=None if ids is None else TokenIds(ids.type, ids.end, ids.field),
    )


def prepare_request(config: RunConfig) -> PrepareRequest:
    """What the configuration asks of the corpus."""
    data = config.data
    return PrepareRequest(
        domains=domain_sources(config),
        skip_bad_records=data.on_bad_record == "skip",
        drop_duplicates=data.duplicates == "drop",
        max_unknown=data.max_unknown,
        sequence_length=data.sequence_length,
        tokenizer=data.tokenizer,
        vocab_size=data.vocab_size,
        tokenizer_sample_bytes=data.tokenizer_sample_bytes,
        validation_fraction=data.validation_fraction,
        validation_max_tokens=data.validation_max_tokens,
        workers=data.workers,
    )
