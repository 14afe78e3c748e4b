"""nanotron: a data stage with two lists, and datatrove's names for our token files.

A datatrove dataset is `<name>.ds` (the tokens), `<name>.ds.index` (where each document ends, uint64) and
`<name>.ds.metadata` (tokenizer, bytes a token, tokens). The first two are our `.bin` and `.ends` byte for byte, so they
are links.
"""

from __future__ import annotations

from pathlib import Path

from doremi.export.blend import Blend, Domain
from doremi.export.files import ABSOLUTE, Files, readme, refuse_in_path, summary, yaml_bytes
from doremi.export.schedule import stage_steps
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import at, pairs, yaml_at

UNIT = "sequences of one length, hence tokens"


def files(blend: Blend, folder: Path) -> Files:
    """A folder a domain and `data_stages.yaml`, to be put into a nanotron config.

    Zero weights are left out: nanotron draws whatever lags most behind its weight, and where nothing lags that is the
    first of the list. `ExportError` for a path with `*`, `?`, `[` (it is a pattern to datatrove) or `|` (it separates
    fields in the metadata).
    """
    if not blend.mapped:
        refuse_in_path(folder.resolve(), "*?[", "datatrove")
        refuse_in_path(blend.tokenizer_folder, "|", "nanotron")
        for domain in blend.kept:
            stem = f"{domain.folder}/train.ds"
            yield stem, blend.train_tokens(domain)
            yield f"{stem}.index", blend.train_ends(domain)
            yield f"{stem}.metadata", _metadata(blend, domain)
    stages = [_stage(i, *one) for i, one in enumerate(stage_steps(blend, step=1, first=1), 1)]
    yield "data_stages.yaml", yaml_bytes({"data_stages": stages}, summary(blend, UNIT))
    yield "README.txt", readme(blend, UNIT, _usage(blend))


def _stage(number: int, start: int, blend: Blend) -> dict[str, object]:
    dataset = {
        "dataset_folder": [entry.key for entry in blend.entries],
        "dataset_weights": [entry.weight for entry in blend.entries],
    }
    data = {"dataset": dataset, "num_loading_workers": 1, "seed": 42}
    return {"name": f"stage{number}", "start_training_step": start, "data": data}


def _metadata(blend: Blend, domain: Domain) -> bytes:
    """`tokenizer|bytes a token`, the tokens, and the tokens again for people."""
    tokens = blend.corpus.entries[domain.name].train.tokens
    lines = [f"{blend.tokenizer_folder}|{blend.dtype.itemsize}", str(tokens), f"{tokens / 1e6:.4g} MT"]
    return "\n".join(lines).encode()


def _usage(blend: Blend) -> list[str]:
    return [
        "Put data_stages.yaml into the nanotron config (it replaces the data_stages there) and run",
        "  torchrun ... run_train.py --config-file your_config.yaml",
        "with the tokenizer_name_or_path that your files were made with"
        if blend.mapped
        else f"with tokenizer_name_or_path: {blend.tokenizer_folder}",
        "",
        "nanotron reads the sequences of a domain in the order of its file: shuffle the documents before they are",
        "prepared if their order means something. With use_old_brrr_dataloader: true (beside dataset_weights) a domain",
        "starts again where its file ends; with another loader, check that it does before training longer than that.",
        *([] if blend.mapped else ABSOLUTE),
    ]


def read(text: str) -> Weights:
    """Of the only stage; several are a schedule, and no mixture."""
    stages = yaml_at(text, "data_stages")
    if not isinstance(stages, list) or len(stages) != 1:
        raise ValueError("should have one data stage; of several, make a file with the one that you mean")
    dataset = at(stages[0], "data", "dataset")
    if isinstance(dataset, dict) and isinstance(dataset.get("dataset_folder"), dict):
        return pairs(dataset["dataset_folder"].keys(), dataset["dataset_folder"].values())  # the older form
    return pairs(at(dataset, "dataset_folder"), at(dataset, "dataset_weights"))


TARGET = Target(
    name="nanotron",
    family="token files",
    description="nanotron data stages over datatrove files",
    unit=UNIT,
    files=files,
    main="data_stages.yaml",
    read=read,
    own_data=lambda blend, domain, place: str(place / domain.folder),
    data="tokens",
    takes_stages=True,
)
