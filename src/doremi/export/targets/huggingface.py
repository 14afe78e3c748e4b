"""Hugging Face datasets: a `mixture.py` whose `mix` calls `interleave_datasets` with probabilities of documents.

`interleave_datasets` draws examples, not tokens: a domain of long documents must be drawn less often for the same
share of tokens, so each weight is divided by the domain's mean document length and the result normalised.
"""

from __future__ import annotations

from pathlib import Path

from doremi.export.blend import Blend
from doremi.export.files import Files, python_bytes, readme
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import assigned, mapping

UNIT = "documents"

_FUNCTION = '''
def mix(sources, seed=42, stopping_strategy="all_exhausted"):
    """One dataset out of `sources`, a dict of domain name to dataset with one document an example."""
    from datasets import interleave_datasets

    missing = [name for name in PROBABILITIES if name not in sources]
    if missing:
        raise KeyError(f"no dataset for {missing}")
    return interleave_datasets(
        [sources[name] for name in PROBABILITIES],
        probabilities=list(PROBABILITIES.values()),
        seed=seed,
        stopping_strategy=stopping_strategy,
    )
'''


def files(blend: Blend, folder: Path) -> Files:
    """`mixture.py`. Zero weights are left out: with `all_exhausted` a dataset that is never drawn never ends."""
    entries = blend.entries
    values = {
        # what interleave_datasets takes: the chance that the next document is of this domain
        "PROBABILITIES": blend.weights,
        # the shares of tokens that come of it, counted with the tokenizer above
        "TOKEN_WEIGHTS": {entry.key: entry.domain.weight for entry in entries},
        # documents in the budget, on average
        "DOCUMENTS": blend.units,
    }
    if blend.mapped:
        values["PATHS"] = {entry.key: list(entry.paths) for entry in entries}
    yield "mixture.py", python_bytes(blend, UNIT, values, _FUNCTION)
    yield "README.txt", readme(blend, UNIT, _usage(blend))


def _usage(blend: Blend) -> list[str]:
    first = blend.entries[0].key
    return [
        "Copy mixture.py beside your script, then:",
        "  from mixture import mix",
        f"  dataset = mix({{{first!r}: load_dataset(...), ...}})",
        "",
        "The probabilities are the token weights divided by the mean document length of each domain (table above):",
        "they hold for documents as they were prepared and for this tokenizer. For sequences packed to one length",
        "take TOKEN_WEIGHTS instead.",
        "all_exhausted repeats small domains and ends when every domain has been seen whole. With map-style datasets",
        "that is long where a probability is small: prefer streaming datasets, and take(DOCUMENTS). Where all epochs",
        "above are more than 1 it ends before the budget: repeat the result.",
    ]


def read(text: str) -> Weights:
    """The probabilities, which are of documents."""
    return mapping(assigned(text, "PROBABILITIES"))


TARGET = Target(
    name="huggingface",
    family="Hugging Face",
    description="datasets.interleave_datasets as a Python file",
    unit=UNIT,
    files=files,
    main="mixture.py",
    read=read,
    counts="documents",
    key="name",
    data="names",
    groups=True,
    rule="They are one dataset, read one after the other.",
)
