"""`--until decided` of `doremi run` and `doremi slurm`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from doremi.config import RunConfig


class Until(StrEnum):
    """When a run is over."""

    decided = "decided"


UntilOption = Annotated[
    Until | None,
    typer.Option(
        "--until",
        help="Add seeds by the plan of looks, 3, 5, 8 and 12, until the claims are decided. "
        "It needs `verdict.looks: planned`.",
    ),
]


def may_walk(config: RunConfig) -> None:
    """Refuse at once, before anything is loaded, what cannot walk along the plan."""
    from doremi.verdict.walk import first_goal

    first_goal(config)
