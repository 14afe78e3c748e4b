"""OLMo-core: a source mixture as YAML, in fractions of tokens with a limit on each source's repetition.

OLMo-core reads token files as raw arrays of unsigned integers without a header, by byte range; that its own are called
`.npy` is a habit, and our `.bin` files are read as they lie.
"""

from __future__ import annotations

import math
from pathlib import Path

from doremi.export.common import Blend, Domain, refuse_in_path
from doremi.export.files import Files, left_out, readme, summary, yaml_bytes

UNIT = "tokens"


def files(blend: Blend, folder: Path) -> Files:
    """`sources.yaml`, which `SourceMixtureList.from_yaml` reads.

    Zero ratios are left out (OLMo-core would look for tokens that nobody wants). `ExportError` for a path with `*`,
    which OLMo-core expands.
    """
    sources = [_source(blend, domain) for domain in blend.kept]
    comments = [*summary(blend, UNIT), "", *left_out(blend)]
    yield "sources.yaml", yaml_bytes({"sources": sources}, comments)
    yield "README.txt", readme(blend, UNIT, _usage(blend, folder.resolve()))


def _source(blend: Blend, domain: Domain) -> dict[str, object]:
    path = blend.train_tokens(domain)
    refuse_in_path(path, "*", "OLMo-core")
    return {
        "source_name": domain.name,
        "target_ratio": domain.weight,
        "paths": [str(path)],
        # OLMo-core stops where a source would be repeated more often than this (at least 1): what the budget needs
        "max_repetition_ratio": float(math.ceil(domain.epochs)),
        "max_source_fraction": 1.0,
    }


def _usage(blend: Blend, place: Path) -> list[str]:
    end = blend.tokenizer.end_of_text_id
    size = blend.tokenizer.vocab_size
    return [
        *left_out(blend),
        "In the training script (global_batch_size in tokens, a multiple of the sequence length):",
        "  from olmo_core.data import NumpyDatasetDType, NumpyFSLDatasetConfig, TokenizerConfig",
        "  from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList",
        f"  sources = SourceMixtureList.from_yaml({str(place / 'sources.yaml')!r})",
        f"  mixture = SourceMixtureDatasetConfig(source_list=sources, requested_tokens={blend.budget_tokens},",
        "                                       global_batch_size=...)",
        f"  tokenizer = TokenizerConfig(vocab_size={size}, eos_token_id={end}, pad_token_id={end})",
        "  dataset = NumpyFSLDatasetConfig.from_src_mix(mixture, tokenizer=tokenizer, sequence_length=...,",
        f"                                               dtype=NumpyDatasetDType.{blend.dtype.name})",
        "",
        f"The paths are the corpus's train.bin files: raw {blend.dtype.name} without a header (numpy.memmap reads",
        "them, numpy.load does not). Name the dtype: OLMo-core would guess it from the vocabulary, and guesses uint8",
        "for a small one. A larger budget needs a larger max_repetition_ratio, else OLMo-core refuses it.",
        "The paths are absolute: after moving the run, export again.",
    ]
