"""OLMo-core: a source mixture as YAML, in fractions of tokens with a limit on each source's repetition.

OLMo-core reads token files as raw arrays of unsigned integers without a header, by byte range; that its own are called
`.npy` is a habit, and our `.bin` files are read as they lie.
"""

from __future__ import annotations

import math
from pathlib import Path

from doremi.errors import ExportError
from doremi.export.blend import Blend, Entry
from doremi.export.files import ABSOLUTE, Files, readme, refuse_in_path, summary, yaml_bytes
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import records, yaml_at

UNIT = "tokens"


def files(blend: Blend, folder: Path) -> Files:
    """`sources.yaml`, which `SourceMixtureList.from_yaml` reads.

    Zero ratios are left out (OLMo-core would look for tokens that nobody wants). `ExportError` for a path with `*`,
    which OLMo-core expands.
    """
    sources = [_source(blend, entry) for entry in blend.entries]
    yield "sources.yaml", yaml_bytes({"sources": sources}, summary(blend, UNIT))
    yield "README.txt", readme(blend, UNIT, _usage(blend, folder.resolve()))


def _source(blend: Blend, entry: Entry) -> dict[str, object]:
    paths = entry.paths if entry.domain.parts else (str(blend.train_tokens(entry.domain)),)
    for path in () if entry.domain.parts else paths:
        refuse_in_path(path, "*", "OLMo-core")
    epochs = entry.domain.epochs
    if epochs is None:
        raise ExportError(
            f"domain {entry.domain.name!r}: OLMo-core limits how often a source is repeated, "
            "and its size is not known. Give `tokens` in the file of --paths"
        )
    return {
        "source_name": entry.key,
        "target_ratio": entry.weight,
        "paths": list(paths),
        # OLMo-core stops where a source would be repeated more often than this (at least 1): what the budget needs
        "max_repetition_ratio": float(max(1, math.ceil(epochs))),
        "max_source_fraction": 1.0,
    }


def _usage(blend: Blend, place: Path) -> list[str]:
    end = blend.tokenizer.end_of_text_id
    size = blend.tokenizer.vocab_size
    return [
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
        *_paths(blend),
        "A larger budget needs a larger max_repetition_ratio, else OLMo-core refuses it.",
        "Where a source is repeated, OLMo-core drops the end of each pass that fills no sequence, and gives what is",
        "missing to other sources. That shows where small files are repeated very often.",
        "Where it needs less than a whole file, it takes the beginning. Shuffle files that are sorted.",
    ]


def _paths(blend: Blend) -> list[str]:
    if blend.mapped:
        return ["Tokenizer and dtype are those of the run: name the ones that your files were made with."]
    return [
        f"The paths are the corpus's train.bin files: raw {blend.dtype.name} without a header (numpy.memmap reads",
        "them, numpy.load does not). Name the dtype: OLMo-core would guess it from the vocabulary, and guesses uint8",
        "for a small one.",
        *ABSOLUTE,
    ]


def read(text: str) -> Weights:
    """Of a list of sources, at the top or inside a data set's configuration."""
    value = yaml_at(text)
    for keys in (("dataset", "source_mixture_config"), ("source_mixture_config",), ("source_list",)):
        value = value.get(keys[0], value) if isinstance(value, dict) else value
        value = value.get(keys[-1], value) if isinstance(value, dict) else value
    sources = value.get("sources") if isinstance(value, dict) else value
    return records(sources, "source_name", "target_ratio")


TARGET = Target(
    name="olmo",
    family="token files",
    description="OLMo-core source mixture, with limits of repetition",
    unit=UNIT,
    files=files,
    main="sources.yaml",
    read=read,
    key="name",
    data="tokens",
    groups=True,
    rule="OLMo-core takes the same share of each of them.",
)
