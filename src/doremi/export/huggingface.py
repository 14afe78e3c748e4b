"""Hugging Face datasets: a `mixture.py` whose `mix` calls `interleave_datasets` with probabilities of documents.

`interleave_datasets` draws examples, not tokens: a domain of long documents must be drawn less often for the same
share of tokens, so each weight is divided by the domain's mean document length and the result normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from doremi.export.common import Blend, as_documents, decimal_text
from doremi.export.files import Files, left_out, readme, summary

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
    kept = blend.kept
    names = [domain.name for domain in kept]
    probabilities = dict(zip(names, as_documents(kept), strict=True))
    tokens = {domain.name: domain.weight for domain in kept}
    documents = round(blend.budget_tokens * sum(float(d.weight) / d.tokens_per_document for d in kept))
    code = [
        *(f"# {line}".rstrip() for line in summary(blend, UNIT)),
        *(f"# {line}" for line in left_out(blend)),
        "",
        "# What interleave_datasets takes: the chance that the next document is of this domain.",
        *_dictionary("PROBABILITIES", probabilities),
        "",
        "# The shares of tokens that come of it, counted with the tokenizer above.",
        *_dictionary("TOKEN_WEIGHTS", tokens),
        "",
        "# Documents in the budget, on average: `mix(sources).take(DOCUMENTS)`.",
        f"DOCUMENTS = {documents}",
    ]
    yield "mixture.py", ("\n".join(code) + "\n" + _FUNCTION).encode()
    yield "README.txt", readme(blend, UNIT, _usage(blend))


def _dictionary(name: str, values: Mapping[str, Decimal]) -> list[str]:
    return [f"{name} = {{", *(f"    {key!r}: {decimal_text(value)}," for key, value in values.items()), "}"]


def _usage(blend: Blend) -> list[str]:
    first = blend.kept[0].name
    return [
        *left_out(blend),
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
