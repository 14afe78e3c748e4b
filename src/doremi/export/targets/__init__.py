"""Every form that a mixture is exported to: one small module a trainer, or a family that spells it alike."""

from __future__ import annotations

from doremi.export.target import Target
from doremi.export.targets import (
    automodel,
    axolotl,
    data_juicer,
    energon,
    huggingface,
    jax,
    levanter,
    lingua,
    litdata,
    llama_factory,
    megatron,
    mixture_json,
    mosaic,
    ms_swift,
    nanotron,
    nemo,
    olmo,
    tables,
    torchtitan,
)

FAMILIES = ("plain", "Megatron files", "token files", "streams", "Hugging Face", "JAX", "mixers")
_ALL = (
    *mixture_json.TARGETS,
    *tables.TARGETS,
    megatron.TARGET,
    *nemo.TARGETS,
    automodel.TARGET,
    olmo.TARGET,
    nanotron.TARGET,
    torchtitan.TARGET,
    energon.TARGET,
    *mosaic.TARGETS,
    *litdata.TARGETS,
    huggingface.TARGET,
    llama_factory.TARGET,
    ms_swift.TARGET,
    lingua.TARGET,
    axolotl.TARGET,
    levanter.TARGET,
    *jax.TARGETS,
    data_juicer.TARGET,
)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}


def by_family() -> list[str]:
    """A line a family: its name and its targets."""
    return [f"{family}: {', '.join(target.name for target in _ALL if target.family == family)}" for family in FAMILIES]
