"""Megatron-LM and Megatron-Core: weight-prefix lists, and the `.idx` files that make our token files theirs.

A prefix is the path of a dataset without `.bin` and `.idx`. The `.bin` is a link to the corpus; only the index is
written: header, version, type code, counts, then lengths (int32) and byte offsets (int64) of the documents, then the
document boundaries (int64). An index may name any documents of its `.bin`, so the two halves of the validation
documents share one file: `select` is Megatron's valid, `report` its test.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from doremi.drawing.megatron_index import LARGEST, index
from doremi.errors import ExportError
from doremi.export.blend import Blend, Domain
from doremi.export.files import ABSOLUTE, Files, readme, refuse_in_path
from doremi.export.rounding import decimal_text
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import at, blend_list, json_value
from doremi.rundir.layout import SPLITS

UNIT = "samples of one length, hence tokens"


def files(blend: Blend, folder: Path) -> Files:
    """Links and indices of each domain, `blend.txt` for one list, `blend.json` for a list a split.

    Zero weights are left out of training (Megatron asserts that weights are positive) but not of validation, which
    is never mixed. Raises `ExportError` for a path with a blank (the lists are split there) or too large an id.
    """
    place = folder.resolve()
    train = [word for weight, path in weighted_paths(blend) for word in (decimal_text(weight), path)]
    yield from own_files(blend, place)
    splits, pairs = own_validation(blend, place)
    yield from pairs
    yield "blend.txt", ("\n".join(map(" ".join, zip(train[::2], train[1::2], strict=True))) + "\n").encode()
    lists = {"train": train, "valid": splits["select"] or None, "test": splits["report"] or None}
    yield "blend.json", (json.dumps(lists, indent=1, ensure_ascii=False) + "\n").encode()
    yield "README.txt", readme(blend, UNIT, _usage(blend, place))


def weighted_paths(blend: Blend) -> list[tuple[Decimal, str]]:
    """Weight and prefix of each entry, for all trainers that read Megatron's files; a prefix may hold no blank."""
    for entry in blend.entries:
        refuse_in_path(entry.key, " ", "Megatron")
    return [(entry.weight, entry.key) for entry in blend.entries]


def own_data(blend: Blend, domain: Domain, place: Path) -> str:
    """The prefix of the run's own tokens."""
    return str(place / domain.folder / "train")


def own_files(blend: Blend, place: Path) -> Files:
    """Links and indices of the run's own tokens, where no paths were given."""
    if blend.mapped:
        return
    refuse_in_path(place, " ", "Megatron")
    if blend.tokenizer.vocab_size > LARGEST:
        raise ExportError(f"vocabulary {blend.tokenizer.vocab_size}: Megatron's token ids end at {LARGEST}")
    for domain in blend.kept:
        yield from _train(blend, domain)


def _train(blend: Blend, domain: Domain) -> Files:
    tokens, ends_path = blend.train_tokens(domain), blend.train_ends(domain)
    ends = np.fromfile(ends_path, dtype="<u8").astype(np.int64)
    lengths = np.diff(ends, prepend=0)
    yield f"{domain.folder}/train.bin", tokens
    yield f"{domain.folder}/train.idx", index(lengths, ends - lengths, blend.dtype.itemsize)


def own_validation(blend: Blend, place: Path) -> tuple[dict[str, list[str]], Files]:
    """Prefixes of the run's own validation documents by split, and their files; nothing where paths were given."""
    domains = () if blend.mapped else blend.domains
    found = [(split, domain, pair) for domain in domains for split, pair in _validation(blend, domain)]
    prefixes = {
        name: [str(place / domain.folder / name) for split, domain, _ in found if split == name] for name in SPLITS
    }
    return prefixes, (file for *_, pair in found for file in pair)


def _validation(blend: Blend, domain: Domain) -> Iterator[tuple[str, Files]]:
    """For each split that has documents: its name, and its link and index."""
    count = blend.corpus.entries[domain.name].validation.documents
    for name in ("validation.ends", "validation.documents"):  # eight bytes a document, both of them
        blend.file(domain, name, count, np.dtype("<u8"))
    documents = blend.corpus.validation_documents(domain.name)
    lengths = documents["tokens"]
    starts = np.cumsum(lengths) - lengths
    tokens = blend.file(domain, "validation.bin", int(lengths.sum()), blend.dtype)
    for split in SPLITS:
        chosen = documents["report"] == (split == "report")
        if chosen.any():
            content = index(lengths[chosen], starts[chosen], blend.dtype.itemsize)
            pair = [(f"{domain.folder}/{split}.bin", tokens), (f"{domain.folder}/{split}.idx", content)]
            yield split, iter(pair)


def _usage(blend: Blend, place: Path) -> list[str]:
    lines = [
        "Add to the options of pretrain_gpt.py:",
        f"  --per-split-data-args-path {shlex.quote(str(place / 'blend.json'))} \\",
        *tokenizer_lines(blend),
        "or, with training data alone:",
        f"  --data-args-path {shlex.quote(str(place / 'blend.txt'))} --split 100,0,0",
        "",
    ]
    if not blend.mapped:
        lines += [
            "valid holds the documents that doremi chooses by, test those that it reports. They carry no weights and",
            "come as they are. --multiple-validation-sets gives a loss for each domain.",
        ]
    return [*lines, *own_lines(blend)]


def tokenizer_lines(blend: Blend) -> list[str]:
    """The option for the tokenizer of the run's own tokens."""
    if blend.mapped:
        return ["  --tokenizer-type ... --tokenizer-model ...      (those that your files were made with)"]
    tokenizer = shlex.quote(str(blend.tokenizer_folder))
    return [f"  --tokenizer-type HuggingFaceTokenizer --tokenizer-model {tokenizer}"]


def own_lines(blend: Blend, paths: Sequence[str] = ABSOLUTE) -> list[str]:
    """What to know of the data: of the run's own tokens and their `paths`, and of repetition."""
    lines = ["Small domains are repeated in silence: see the epochs above."]
    if not blend.mapped:
        lines += ["Every document ends with its end-of-text token.", *paths]
    return lines


def read(text: str) -> Weights:
    """`blend.txt`, or the training list of `blend.json`."""
    if text.lstrip().startswith("{"):
        return blend_list(at(json_value(text), "train"))
    return blend_list(text)


TARGET = Target(
    name="megatron",
    family="Megatron files",
    description="Megatron-LM and Megatron-Core data blend with .idx files",
    unit=UNIT,
    files=files,
    main="blend.txt",
    read=read,
    own_data=own_data,
    data="tokens",
)
