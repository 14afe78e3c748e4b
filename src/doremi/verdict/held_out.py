"""How many held-out documents a verdict rests on, and by how much they are too few."""

from __future__ import annotations

from doremi.corpus.pool import Part
from doremi.rundir.layout import RunDirectory
from doremi.rundir.nodes import Nodes
from doremi.rundir.part import read_part
from doremi.statistics.enough import SHARE
from doremi.verdict.values import HeldOut, Verdict

MOST = 1000  # larger factors say no more than that


def documents_of(run: RunDirectory, nodes: Nodes, size: str) -> Part | None:
    """What was recorded of a size; None where nothing told the noise."""
    places = [node.place for node in nodes.find("validation", size=size) if node.place is not None]
    return next((read_part(run.place(place)).documents for place in places if run.place(place).exists()), None)


def held_out(documents: Part, pool: Part, share: float | None) -> HeldOut:
    """`share`: the documents' variance in units of the seeds'."""
    short = share is not None and share > SHARE and documents == pool
    return HeldOut(documents=documents, pool=pool, share=share, times=share / SHARE if short and share else None)


def too_few(verdict: Verdict) -> str | None:
    """By how much all that is held out is too little, in sentences; None where it is enough."""
    held = verdict.held_out
    if held is None or held.share is None or held.times is None:
        return None
    return (
        f"There is too little held-out text. All of it is in use, and its documents still add {_of(held.share)} the "
        f"noise that seeds make. {_times(held.times)} times as many would bring that down to {SHARE:.0%}. "
        "Raise data.validation_fraction or data.validation_max_tokens, or add text."
    )


def _of(share: float) -> str:
    return f"{share:.0%} of" if share < 2 else f"{_many(share)} times"


def _times(times: float) -> str:
    if times > MOST:
        return f"More than {MOST}"
    return f"About {_many(times)}" if times >= 2 else f"About {times:.1f}"


def _many(times: float) -> str:
    return f"{times:.0f}" if times <= MOST else f"more than {MOST}"
