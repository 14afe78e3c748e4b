"""What is compared in a run, on what, and by which rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from doremi.config.paths import InputPath
from doremi.config.reach import TRAININGS, Reaches
from doremi.config.section import Section
from doremi.statistics.race import OTHERS_LEFT

FINALISTS = 1 + OTHERS_LEFT
SEEDS_OF_A_RACE = 3  # whatever the number of candidates, two fresh seeds are then left (tests/test_race.py)


class CandidatesConfig(Section):
    """The main models (step 3) that are trained and compared, all on the same number of tokens."""

    mixtures: list[Annotated[str, InputPath("mixture")]] = Field(
        default=["doremi", "reference", "natural", "uniform", "temperature", "unimax"]
    )
    """Mixtures to train on. They are doremi, reference (the reference mixture), natural, uniform, temperature, unimax,
    names of published mixtures, and paths of mixture.json. The reference mixture is trained in any case. With
    doremi-per-seed each seed trains on the mixture of its own proxy. Its interval is that of the method, and doremi's
    that of one mixture."""
    sizes: list[str] = Field(default=[])
    """Model presets. Where empty, the proxy's own model."""
    seeds: int = Field(default=3, ge=1)
    """Runs of each candidate. One seed is not enough to compare mixtures. Three detect large differences."""
    race: bool = False
    """Train each candidate with one seed, drop the worse half by the mean, and so on until three are left. What is left
    of the trainings that `seeds` pays for is spent on these, with further seeds. The reference mixture always stays."""
    equal_compute: bool = False
    """Also train the plain mixtures longer, for what DoReMi's search cost, and compare those."""
    temperature: Annotated[float, Reaches(*TRAININGS)] = Field(default=2.0, gt=0)
    """T of the temperature mixture, weights proportional to tokens^(1/T)."""
    max_epochs: Annotated[float, Reaches(*TRAININGS)] = Field(default=4.0, gt=0)
    """Passes over a domain that UniMax allows."""

    @field_validator("mixtures")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name at least one mixture, and each only once")
        return value


TASKS = ("triviaqa", "nq_open", "webquestions", "squad_v2", "lambada")
"""The paper's five evaluation sets, by the names of their files."""


def check_race(candidates: CandidatesConfig, mixtures: Sequence[str], looks: str) -> None:
    """`ValueError` for a race that cannot be; `mixtures` are who races."""
    if not candidates.race:
        return
    if looks == "planned":
        raise ValueError(
            "candidates.race and verdict.looks: planned exclude each other: a race chooses who is compared, and looks "
            "add seeds to the same candidates"
        )
    if candidates.equal_compute:
        raise ValueError(
            "candidates.race and candidates.equal_compute exclude each other: a race may drop the mixture that a "
            "search has found"
        )
    if len(mixtures) <= FINALISTS:
        raise ValueError(f"candidates.race needs more than {FINALISTS} mixtures, as so many stay in any case")
    if candidates.seeds < SEEDS_OF_A_RACE:
        raise ValueError(
            f"candidates.race needs candidates.seeds of {SEEDS_OF_A_RACE} at least. With fewer, no two seeds are left "
            "for those who stay"
        )


class DownstreamConfig(Section):
    """The paper's five few-shot tasks, for the main models (fewshot.json in docs/formats.md)."""

    reaches: ClassVar[Reaches] = Reaches("fewshot")

    tasks: Annotated[Annotated[str, InputPath()] | None, Reaches()] = None
    """Folder with triviaqa.jsonl, nq_open.jsonl, webquestions.jsonl, squad_v2.jsonl and lambada.jsonl."""
    shots: int = Field(default=1, ge=0)
    """Solved examples before each question. The paper has 1."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many items of each task. Default is all."""
    generate: bool = False
    """Also generate answers and count exact matches, as in the paper. This needs the extra `eval`, and models large
    enough to answer anything. Without it, likelihoods of the answers and LAMBADA's last word are measured."""


class VerdictConfig(Section):
    """How the candidates are compared."""

    reaches: ClassVar[Reaches] = Reaches("verdict")

    target: Literal["uniform", "natural"] = "uniform"
    """Which average over domains decides, uniform (the paper's) or natural (by the data's own shares)."""
    margin: float = Field(default=0.005, ge=0, lt=1)
    """Differences smaller than this share of the loss are a tie."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence of claims and intervals."""
    looks: Literal["once", "planned"] = "once"
    """How often the run may be judged as seeds are added. `planned` is at 3, 5, 8 and 12 seeds, each at a stricter
    level. It is fixed with the first verdict. Any other look is marked exploratory and proves nothing."""
