"""verdict.json as typed values (docs/formats.md): what was compared, and what came of it.

The order of the fields is that of the file. `[K]` are lists in the order of `domains`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from doremi.errors import DamageError, one_line
from doremi.files import FORMAT, read_json, write_json
from doremi.rundir.nodes import Race
from doremi.statistics.looks import Looks
from doremi.statistics.needed import Needed
from doremi.statistics.table import Target
from doremi.statistics.values import (
    CandidateDomains,
    Choice,
    Claim,
    Comparison,
    Ends,
    Family,
    Outcome,
    Recommended,
    WithoutLent,
)

FILE = "verdict.json"

Interval = Ends | None


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Mean(_Value):
    """A weighted average over domains."""

    bits_per_byte: float
    loss: float


class WorstDomain(_Value):
    """The domain with the most bits per byte."""

    domain: str
    bits_per_byte: float
    loss: float


class LargestRegret(_Value):
    """The domain that is furthest behind the baseline, in bits per byte."""

    domain: str
    bits_per_byte: float


class StepsToBaseline(_Value):
    """The step from which the baseline's last mean is kept, on the target, with its interval; None: not reached."""

    step: float | None
    earliest: float | None
    latest: float | None
    of: int
    speedup: float | None


class Ranks(_Value):
    uniform: int
    natural: int
    worst: int


class CandidateResult(_Value):
    """One candidate by itself, means over seeds and all validation documents."""

    name: str
    weights: tuple[float, ...]
    epochs: tuple[float, ...]
    loss: tuple[float, ...]
    bits_per_byte: tuple[float, ...]
    perplexity: tuple[float, ...]
    mean: dict[Target, Mean]
    worst: WorstDomain
    worst_regret: LargestRegret
    domains_better_than_reference: int
    steps_to_baseline: StepsToBaseline
    epochs_at_budget: tuple[float, ...] | None
    limited: bool
    allowed: bool = True
    """Whether it keeps the limits. Else it is only compared with."""
    interval_of: Literal["method", "mixture"]
    rank: Ranks
    trainings: dict[int, str]
    """By seed, the key of the training that was judged."""


class HeldOut(_Value):
    """Held-out documents that count, and all there are, `[K]`.

    `share`: what they add to the variance of a difference, in units of what seeds make; None where that is not known.
    `times`: where all are in use and too few, so many times as many are needed.
    """

    documents: tuple[int, ...]
    pool: tuple[int, ...]
    share: float | None
    times: float | None


class SizeComparison(_Value):
    candidate: str
    opponent: str
    difference: float | None
    relative: float | None
    interval: Interval
    outcome: Outcome


class SizeSummary(_Value):
    """One size's means, order and comparisons on the target that decides."""

    size: str
    parameters: int
    tokens: int
    bits_per_byte: dict[str, float]
    order: tuple[str, ...]
    recommended: str
    trainings: dict[str, dict[int, str]]
    """By candidate and seed, the keys of the trainings that were judged."""
    comparisons: tuple[SizeComparison, ...]


class Ranking(_Value):
    """Whether the ranking holds as models grow; None where nothing can be said."""

    holds: bool | None
    reason: str


class ComputeCandidate(_Value):
    """A main model at equal total compute: the mixture that a `search` has found, or a plain one that trained `longer`.

    It trained on for what that search cost.
    """

    name: str
    search: str
    longer: bool
    trainings: dict[int, str]
    """By seed, the keys of the trainings that were judged."""
    steps: int
    tokens: int
    mean: dict[Target, float]


class EqualCompute(_Value):
    """Each found mixture against the plain ones that were given the cost of its own search."""

    candidates: tuple[ComputeCandidate, ...]
    comparisons: tuple[Comparison, ...]

    def pairs(self) -> list[tuple[Comparison, ComputeCandidate]]:
        """Each comparison with its opponent: plain mixtures train on once for each search."""
        search = {one.name: one.search for one in self.candidates if not one.longer}
        longer = {(one.name, one.search): one for one in self.candidates if one.longer}
        return [(one, longer[one.opponent, search[one.candidate]]) for one in self.comparisons]


class TaskComparison(_Value):
    """As the metric counts: positive is more of it."""

    candidate: str
    opponent: str
    family: Family
    task: str
    difference: float | None
    interval: Interval
    outcome: Outcome


class Metric(_Value):
    higher_is_better: bool
    tasks: tuple[str, ...]
    values: dict[str, dict[str, float | None]]
    comparisons: tuple[TaskComparison, ...]


class Downstream(_Value):
    shots: int
    examples: dict[str, int]
    metrics: dict[str, Metric]


class Verdict(_Value):
    """The whole file. The last five are there only where they were asked for.

    `baseline`: the candidate that others are measured by, the reference mixture.
    """

    format: int = FORMAT
    unit: str = "bits_per_byte"
    confidence: float
    level: float
    """Of this look: claims one-sided, intervals two-sided."""
    looks: Looks
    exploratory: str | None = None
    """Why nothing is claimed, where this look was not planned."""
    margin: float
    domains: tuple[str, ...]
    natural_weights: tuple[float, ...]
    reference_mixture: str
    baseline: str
    size: str
    seeds: tuple[int, ...]
    tokens: int
    candidates: tuple[CandidateResult, ...]
    same: tuple[tuple[str, str], ...]
    """Candidates that share all trainings with another one, and with which."""
    claims: tuple[Claim, ...]
    comparisons: tuple[Comparison, ...]
    choices: dict[Target, tuple[Choice, ...]]
    domain_changes: tuple[CandidateDomains, ...]
    without_lent: tuple[WithoutLent, ...]
    noise: Needed | None
    settle: Needed | None
    recommendation: Recommended
    held_out: HeldOut | None = None
    """None of verdicts from before it was told."""
    race: Race | None = None
    """What chose the candidates, where they raced."""
    sizes: tuple[SizeSummary, ...] | None = None
    ranking: Ranking | None = None
    equal_compute: EqualCompute | None = None
    downstream: Downstream | None = None

    @property
    def sure(self) -> str:
        """The confidence of this look in words."""
        return f"{100 * (1 - self.level):.4g} %"

    def told_claims(self) -> list[Claim]:
        """Claims without those that say the same again, as where the reference mixture is the only plain one."""
        return list({(one.candidate, one.over): one for one in reversed(self.claims)}.values())[::-1]

    def candidate(self, name: str) -> CandidateResult | None:
        return next((one for one in self.candidates if one.name == name), None)

    def values(self) -> dict[str, Any]:
        """The file as plain JSON values."""
        dumped = self.model_dump(mode="json")
        return {key: value for key, value in dumped.items() if value is not None or key in ("noise", "settle")}


def read_verdict(root: Path) -> Verdict:
    """verdict.json of a run directory. `RunError`: there is none yet. `DamageError`: the file is not ours."""
    path = root / FILE
    try:
        return Verdict.model_validate(read_json(path, "verdict"))
    except ValidationError as error:
        one = error.errors()[0]
        where = ".".join(map(str, one["loc"]))
        raise DamageError(
            one_line(f"{path}: this verdict is damaged at {where} ({one['msg']}); remove it and run again")
        ) from None


def write_verdict(root: Path, verdict: Verdict) -> None:
    """Write verdict.json into a run directory, atomically."""
    write_json(root / FILE, verdict.values())
