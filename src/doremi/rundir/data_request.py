"""What the configuration asks of the corpus."""

from __future__ import annotations

from doremi.config import RunConfig
from doremi.corpus.parts import PrepareRequest
from doremi.corpus.sources import DomainSource


def domain_sources(config: RunConfig) -> dict[str, DomainSource]:
    """Where the text of each domain is."""
    return {
        name: DomainSource(
            d.train,
            d.validation,
            d.text_field or config.data.text_field,
            d.sample_tokens or config.data.sample_tokens,
        )
        for name, d in config.data.domains.items()
    }


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
