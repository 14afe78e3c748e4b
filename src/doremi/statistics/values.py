"""What a verdict says, as typed values. Everything relative is a share of the opponent's bits per byte.

Differences are candidate less opponent: below 0 the candidate is better. None is what cannot be known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from doremi.statistics.needed import Needed
from doremi.statistics.table import Target

Outcome = Literal["win", "loss", "tie", "undecided"]
Family = Literal["primary", "average", "method", "plain", "compute"]
Ends = tuple[float, float]


@dataclass(frozen=True)
class Claim:
    """One step of a fixed sequence: that `candidate` is better than everyone in `over`.

    `level`: what it was tested at, one-sided; `tested` is False where an earlier claim failed. `relative` is the
    difference to the strongest of `over`. `at_least`: by how much it is surely better; below 0, at most so much worse.
    """

    candidate: str
    method: str
    over: tuple[str, ...]
    level: float
    tested: bool
    held: bool
    p_value: float
    relative: float
    at_least: float | None


@dataclass(frozen=True)
class Comparison:
    """Two candidates on one average. `interval`: all of one target and one opponent or hub hold at once (Dunnett).

    `fixed`: the same for these very documents. `outcome` tells the sign where it is known, `small` whether the whole
    interval lies within the margin. `family` other than `primary`: not part of what is claimed, shown only.
    """

    candidate: str
    opponent: str
    family: Family
    target: Target
    difference: float
    relative: float
    interval: Ends | None
    fixed: Ends | None
    outcome: Outcome
    small: bool


@dataclass(frozen=True)
class DomainDifference:
    """A candidate against the reference mixture in one domain, relative; 95 % for one domain at a time.

    No interval where there is one seed, or where the noise is as large as the domain's own loss.
    """

    domain: str
    weight_ratio: float | None
    profile: float
    profile_interval: Ends | None
    level: float
    level_interval: Ends | None


@dataclass(frozen=True)
class CandidateDomains:
    """All domains of one candidate, and in one sentence what surely moved."""

    candidate: str
    domains: tuple[DomainDifference, ...]
    words: str


@dataclass(frozen=True)
class Choice:
    """What choosing one candidate costs, relative to the best: expected, and at most (all at once)."""

    candidate: str
    expected: float | None
    at_most: float | None


@dataclass(frozen=True)
class WithoutLent:
    """A comparison with the reference mixture without the seeds whose training also served the search.

    No seeds and None where all of them did.
    """

    candidate: str
    seeds: tuple[int, ...]
    relative: float | None
    interval: Ends | None


@dataclass(frozen=True)
class Recommended:
    """What to use on the `target`, why, and what the other average says."""

    mixture: str
    target: Target
    proved: bool
    reason: str
    other_mixture: str


@dataclass(frozen=True)
class Judged:
    """The whole of it. `noise`: seeds that prove one per cent. `settle`: what would prove the first claim that failed.

    `document_share`: the documents' part of the noise, in units of the seeds'.

    `exploratory`: why no claim is made, where looks were not planned so.
    """

    target: Target
    baseline: str
    level: float
    margin: float
    seeds: tuple[int, ...]
    same: tuple[tuple[str, str], ...]
    """Candidates that share all trainings with an earlier one, and with which."""
    claims: tuple[Claim, ...]
    comparisons: tuple[Comparison, ...]
    choices: dict[Target, tuple[Choice, ...]]
    domains: tuple[CandidateDomains, ...]
    without_lent: tuple[WithoutLent, ...]
    noise: Needed | None
    settle: Needed | None
    document_share: float | None
    recommended: Recommended
    exploratory: str | None
