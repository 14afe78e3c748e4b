"""What a picture of the page is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from doremi.report.tables import Table
from doremi.report.words import NBSP

COLUMNS = 6  # steps in a picture's table


@dataclass(frozen=True)
class Panel:
    name: str
    note: str
    svg: str


@dataclass(frozen=True)
class Figure:
    """One figure of the page; without pictures, `caption` says why. `legend` is (tone, mark, words)."""

    key: str
    title: str
    caption: str
    svg: str = ""
    panels: Sequence[Panel] = field(default_factory=list)
    legend: Sequence[tuple[str, str, str]] = field(default_factory=list)
    table: Table | None = None


def percent_tick(x: float) -> str:
    return f"{100 * x:.4g}{NBSP}%"


def short_tick(x: float) -> str:
    return f"{x:.3g}"


def chosen(length: int, most: int = COLUMNS) -> list[int]:
    """At most `most` positions of `length`, evenly spread, both ends among them."""
    return [int(i) for i in np.unique(np.linspace(0, length - 1, min(most, length)).round())]
