"""nanotron: a data stage with two lists, and datatrove's names for our token files.

A datatrove dataset is `<name>.ds` (the tokens), `<name>.ds.index` (where each document ends, uint64) and
`<name>.ds.metadata` (tokenizer, bytes a token, tokens). The first two are our `.bin` and `.ends` byte for byte, so they
are links.
"""

from __future__ import annotations

from pathlib import Path

from doremi.export.common import Blend, Domain, refuse_in_path
from doremi.export.files import Files, left_out, readme, summary, yaml_bytes

UNIT = "sequences of one length, hence tokens"


def files(blend: Blend, folder: Path) -> Files:
    """A folder a domain and `data_stages.yaml`, to be put into a nanotron config.

    Zero weights are left out: nanotron draws whatever lags most behind its weight, and where nothing lags that is the
    first of the list. `ExportError` for a path with `*`, `?`, `[` (it is a pattern to datatrove) or `|` (it separates
    fields in the metadata).
    """
    place = folder.resolve()
    refuse_in_path(place, "*?[", "datatrove")
    refuse_in_path(blend.tokenizer_folder, "|", "nanotron")
    for domain in blend.kept:
        stem = f"{domain.folder}/train.ds"
        yield stem, blend.train_tokens(domain)
        yield f"{stem}.index", blend.train_ends(domain)
        yield f"{stem}.metadata", _metadata(blend, domain)
    dataset = {
        "dataset_folder": [str(place / domain.folder) for domain in blend.kept],
        "dataset_weights": [domain.weight for domain in blend.kept],
    }
    data = {"dataset": dataset, "num_loading_workers": 1, "seed": 42}
    stage = {"name": "stage1", "start_training_step": 1, "data": data}
    comments = [*summary(blend, UNIT), "", *left_out(blend)]
    yield "data_stages.yaml", yaml_bytes({"data_stages": [stage]}, comments)
    yield "README.txt", readme(blend, UNIT, _usage(blend))


def _metadata(blend: Blend, domain: Domain) -> bytes:
    """`tokenizer|bytes a token`, the tokens, and the tokens again for people."""
    lines = [f"{blend.tokenizer_folder}|{blend.dtype.itemsize}", str(domain.tokens), f"{domain.tokens / 1e6:.4g} MT"]
    return "\n".join(lines).encode()


def _usage(blend: Blend) -> list[str]:
    return [
        *left_out(blend),
        "Put data_stages.yaml into the nanotron config (it replaces the data_stages there) and run",
        "  torchrun ... run_train.py --config-file your_config.yaml",
        f"with tokenizer_name_or_path: {blend.tokenizer_folder}",
        "",
        "nanotron reads the sequences of a domain in the order of its file: shuffle the documents before they are",
        "prepared if their order means something. With use_old_brrr_dataloader: true (beside dataset_weights) a domain",
        "starts again where its file ends; with another loader, check that it does before training longer than that.",
        "The paths are absolute: after moving the run, export again.",
    ]
