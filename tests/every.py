"""Every objective and every file format, found by listing, for the tests of what all of them must hold."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import torch
import zstandard
from pyarrow import ipc, parquet

from doremi.config import ProxyConfig
from doremi.corpus.formats import _CONTAINERS, DELIMITERS, format_of
from doremi.mixture.domains import DomainSet, Mixture
from doremi.objectives.choose import make_objective
from doremi.objectives.objective import Objective
from doremi.objectives.plain import PlainObjective
from doremi.objectives.variants import Choices

# -- objectives ------------------------------------------------------------------------------------------------------

K = 3  # domains
OTHER_CHOICES: dict[str, Any] = {
    "unseen_score": 2.0,
    "start": [3, 2, 1],
    "smoothing_target": [1, 1, 2],
    "average_from": 3,
    "sampling": [0.5, 0.25, 0.25],
}
"""One example of each choice that is not one of a few words."""


def proxies() -> list[dict[str, Any]]:
    """Every variant in every way to update, and every choice alone."""
    fields = ProxyConfig.model_fields
    words = {name: get_args(hint) for name, hint in get_type_hints(Choices).items() if name not in OTHER_CHOICES}
    single = [(name, word) for name, options in words.items() for word in options] + list(OTHER_CHOICES.items())
    return [
        *(
            {"variant": variant, "update": update}
            for variant in get_args(fields["variant"].annotation)
            for update in get_args(fields["update"].annotation)
        ),
        *({"choices": {name: value}} for name, value in single),
    ]


def from_settings(values: dict[str, Any]) -> Callable[[], Objective]:
    names = [f"domain {k}" for k in range(K)]
    return lambda: make_objective(
        ProxyConfig(**values), DomainSet(names), 50, Mixture(dict(zip(names, [2.0, 1.0, 1.0], strict=True)))
    )


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "plain": PlainObjective,
    **{" ".join(map(str, values.values())): from_settings(values) for values in proxies()},
}

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def batch(step: int) -> Batch:
    """Eight sequences of six tokens whose losses are eighths, so that sums are exact in any order.

    Some tokens are masked. Every other step has nothing of the last domain.
    """
    generator = torch.Generator().manual_seed(step)
    loss, reference = (torch.randint(0, 40, (8, 6), generator=generator) / 8 for _ in range(2))
    mask = torch.rand(8, 6, generator=generator) < 0.8
    return loss, reference, mask, torch.arange(8) % (K - step % 2)


def counts(of: Batch) -> torch.Tensor:
    return torch.stack([of[2][of[3] == k].sum() for k in range(K)]).double()


def feed(objective: Objective, of: Batch, rows: int = 8) -> None:
    """Move the objective's weights by a batch that comes `rows` sequences at a time."""
    scoring = objective.scoring
    if scoring is not None:
        parts = [tuple(tensor[i : i + rows] for tensor in of) for i in range(0, 8, rows)]
        scoring.update(torch.stack([scoring.sums(*part) for part in parts]).sum(dim=0))


def seen(objective: Objective) -> dict[str, list[float] | None]:
    """All that the loop takes from it."""
    average = objective.average_weights
    return {
        **{name: column.tolist() for name, column in objective.columns().items()},
        "average": None if average is None else average.tolist(),
        "of a token": objective.token_weights(counts(batch(0))).tolist(),
    }


# -- formats ---------------------------------------------------------------------------------------------------------

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
ENDS = {end + packing: kind for end, kind in _CONTAINERS.items() for packing in PACKERS if format_of(end + packing)}
CASES = [(end, False) for end in ENDS] + [(end, True) for end, kind in ENDS.items() if kind == "json"]
"""Ends of file names, and whether the file is an array of records."""


def write_table(path: Path, texts: list[str | None]) -> None:
    """As Parquet, as an Arrow file (.feather) or as an Arrow stream."""
    table = pa.table({"text": pa.array(texts, pa.string())})
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
        return
    kind = ipc.new_file if path.suffix == ".feather" else ipc.new_stream
    with kind(path, table.schema) as writer:
        writer.write_table(table)


def tar_of(members: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return held.getvalue()


def write_documents(folder: Path, end: str, array: bool, texts: list[str | None]) -> list[str]:
    """Files with these documents; None is a record that is none, in a text file a byte that is no letter,
    in a table of text a NUL."""
    form = format_of(f"a{end}")
    assert form is not None
    if form.container == "text":
        contents = [b"fine\n\xff" if text is None else text.encode() for text in texts]
    elif form.container in ("parquet", "arrow"):
        write_table(folder / f"0{end}", texts)
        return [str(folder / f"0{end}")]
    elif form.container == "tar":
        contents = [tar_of({f"{i}.txt": b"fine\n\xff" if t is None else t.encode() for i, t in enumerate(texts)})]
    elif form.container in DELIMITERS:
        held = io.StringIO(newline="")
        rows = [["text"], *(["a\0b" if text is None else text] for text in texts)]
        csv.writer(held, delimiter=DELIMITERS[form.container]).writerows(rows)
        contents = [held.getvalue().encode()]
    elif array:
        contents = [json.dumps([{"text": text} for text in texts], ensure_ascii=False).encode()]
    else:
        contents = ["".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()]
    paths = [folder / f"{number}{end}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(PACKERS[form.packing](content))
    return [str(path) for path in paths]
