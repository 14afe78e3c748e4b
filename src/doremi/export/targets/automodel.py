"""NeMo AutoModel: Megatron's list, and its domain mixture with weights of sampling and of the objective.

The objective's weight divided by the sampling weight multiplies the loss of a domain's tokens. Both are the mixture's
weights here, so every token counts 1: that is what training on the mixture means.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from doremi.errors import ExportError
from doremi.export.blend import Blend
from doremi.export.files import Files, readme, summary, yaml_bytes
from doremi.export.rounding import decimal_text
from doremi.export.target import Target, Weights
from doremi.export.targets.megatron import own_data, own_files, own_lines, weighted_paths
from doremi.export.targets.parsing import records, yaml_at

UNIT = "samples of one length, hence tokens"
RESERVED = "weighted"  # AutoModel's name of the aggregate over domains


def files(blend: Blend, folder: Path) -> Files:
    """`domain_mixture.yaml`, to be merged into a recipe; `ExportError` for one domain alone, or a reserved name."""
    weighted = weighted_paths(blend)
    names = _names(blend)
    if len(names) < 2:
        raise ExportError("NeMo AutoModel's domain mixture needs two domains or more with a weight")
    yield from own_files(blend, folder.resolve())
    words = [word for weight, path in weighted for word in (decimal_text(weight), path)]
    domains = [
        {"name": name, "sampling_weight": weight, "objective_weight": weight, "path": path}
        for name, (weight, path) in zip(names, weighted, strict=True)
    ]
    value = {"dataset": {"paths": words}, "domain_mixture": {"domains": domains}}
    yield "domain_mixture.yaml", yaml_bytes(value, summary(blend, UNIT))
    usage = [
        "Merge domain_mixture.yaml into the recipe. dataset.paths belongs to a MegatronPretraining dataset.",
        "To weigh the objective otherwise, change objective_weight alone. sampling_weight must stay what paths has.",
        "",
        *own_lines(blend),
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def _names(blend: Blend) -> list[str]:
    """Distinct names of the entries: a domain with several paths has a number after the first."""
    seen: Counter[str] = Counter()
    names = []
    for entry in blend.entries:
        seen[entry.domain.name] += 1
        count = seen[entry.domain.name]
        names.append(entry.domain.name if count == 1 else f"{entry.domain.name} {count}")
    if RESERVED in names:
        raise ExportError(f"domain {RESERVED!r}: NeMo AutoModel keeps this name for itself; rename the domain")
    return names


def read(text: str) -> Weights:
    """The sampling weights by path."""
    return records(yaml_at(text, "domain_mixture", "domains"), "path", "sampling_weight")


TARGET = Target(
    name="automodel",
    family="Megatron files",
    description="NeMo AutoModel domain mixture, with sampling and objective weights",
    unit=UNIT,
    files=files,
    main="domain_mixture.yaml",
    read=read,
    own_data=own_data,
    data="tokens",
)
