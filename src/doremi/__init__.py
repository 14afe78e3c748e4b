"""DoReMi: how much of each kind of text should a language model see? (Xie et al. 2023, arXiv:2305.10429)

The public names are below; they are imported when they are first used, so `import doremi` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from doremi.errors import DoremiError
    from doremi.mixture.domains import DomainSet, Mixture
    from doremi.mixture.files import read_mixture
    from doremi.objectives.dro import GroupDRO
    from doremi.objectives.variants import Choices, VariantDRO

__version__ = "0.1.0"

_WHERE = {
    "Choices": "doremi.objectives.variants",
    "DomainSet": "doremi.mixture.domains",
    "DoremiError": "doremi.errors",
    "GroupDRO": "doremi.objectives.dro",
    "Mixture": "doremi.mixture.domains",
    "VariantDRO": "doremi.objectives.variants",
    "read_mixture": "doremi.mixture.files",
}

__all__ = ["Choices", "DomainSet", "DoremiError", "GroupDRO", "Mixture", "VariantDRO", "read_mixture"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'doremi' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
