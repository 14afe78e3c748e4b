"""Ways to search for a mixture, one module each: the trainings that it needs, and the mixture that it makes of them.

What a method declares are values without torch. To add one, write a module with a class that has the members of
`methods.method.SearchMethod`, and name it in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from doremi.methods.doremi import DoReMi
from doremi.methods.method import SearchMethod

METHODS: list[SearchMethod] = [DoReMi()]


def by_mixture() -> Mapping[str, SearchMethod]:
    """The methods by the names of the mixtures that they make."""
    return {name: method for method in METHODS for name in method.names}


def by_name(name: str) -> SearchMethod:
    """The method of that name, which a run's nodes have."""
    return next(method for method in METHODS if method.name == name)
