"""nodes.json: what a run consists of, as it was last planned. Verdict, report and export read it and plan nothing.

It names every training by what it is for (role, mixture, size, seed) and says where it lies. In the folders themselves
stand no names: a training is addressed by the hash of what it depends on, and may serve several purposes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from doremi.errors import DamageError, RunError, one_line
from doremi.files import FORMAT, read_json, write_json

FILE = "nodes.json"

Kind = Literal[
    "prepare", "shard", "corpus", "training", "losses", "mixture", "fewshot", "validation", "evaluation", "verdict"
]  # fmt: skip
Role = Literal[
    "prepare", "shard", "corpus", "reference", "proxy", "losses", "mixture", "main", "longer", "own", "tune",
    "fewshot", "validation", "evaluation", "verdict",
]  # fmt: skip
CandidateRole = Literal["found", "per-seed", "plain"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeRecord(_Value):
    """One piece of work. `place` is its folder or file in the run directory, None where its key is not known yet."""

    id: str
    kind: Kind
    role: Role
    key: str | None
    place: str | None
    needs: tuple[str, ...] = ()
    method: str = ""
    """The search method that it belongs to, empty for the others."""
    mixture: str = ""
    """The candidate's name, of main models."""
    size: str = ""
    seed: int = 0
    round: int = 0
    """1 the first, where a search has several rounds, and of main models in the heats of a race."""


class CandidateRecord(_Value):
    """A mixture that main models are trained on and that the verdict compares."""

    name: str
    role: CandidateRole
    """`found`: a method's mixture. `per-seed`: each seed has a mixture of its own, so it tells about the method."""
    method: str = ""
    mixtures: dict[int, str | None]
    """By seed, the mixture's file in the run directory; None until it is found. All the same but for `per-seed`."""
    allowed: bool = True
    """Whether it keeps the limits. The reference mixture need not, and is then never recommended."""
    version: str = ""
    """What tells this mixture from earlier ones of the same name, for found ones."""


class Heat(_Value):
    """One heat of a race. `means`: by candidate, bits per byte over all heats so far; empty until all of it is trained.

    `dropped` are those who do not stay.
    """

    seed: int
    candidates: tuple[str, ...]
    means: dict[str, float] = {}
    dropped: tuple[str, ...] = ()


class Race(_Value):
    """The race of one size, by the average `target` over domains. `finalists` and `seeds` are None until it is over."""

    size: str
    target: str
    heats: tuple[Heat, ...]
    finalists: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None

    @property
    def dropped(self) -> tuple[str, ...]:
        """Who did not stay, over all heats."""
        return tuple(name for heat in self.heats for name in heat.dropped)

    def words(self) -> tuple[str, ...]:
        """What came of each heat, and who is left."""
        told = [line for number, _ in enumerate(self.heats, 1) for line in self._heat(number)]
        if self.finalists is None or self.seeds is None:
            return (*told, f"The race is in heat {len(self.heats)}, among {listed(self.heats[-1].candidates)}.")
        seeds = "seed" if len(self.seeds) == 1 else "seeds"
        final = f"The final is among {listed(self.finalists)}, with {seeds} {listed(map(str, self.seeds))}"
        return (*told, f"{final}, which no heat has seen.")

    def _heat(self, number: int) -> Iterator[str]:
        heat = self.heats[number - 1]
        seeds = [str(one.seed) for one in self.heats[:number]]
        for name in heat.dropped:
            yield (
                f"{name} dropped out in heat {number} of the race. On the {self.target} average it had "
                f"{heat.means[name]:.4f} bits per byte with {'seed' if number == 1 else 'seeds'} {listed(seeds)}. "
                f"The best had {min(heat.means.values()):.4f}."
            )


def listed(names: Iterable[str]) -> str:
    """Names as in a sentence."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


class Nodes(_Value):
    """What the run consists of."""

    format: int = FORMAT
    nodes: tuple[NodeRecord, ...]
    candidates: tuple[CandidateRecord, ...]
    reference_mixture: str
    """Name of the mixture that the data has as it is."""
    races: tuple[Race, ...] = ()
    """By size, where candidates race."""
    earlier: tuple[NodeRecord, ...] = ()
    """Finished trainings and mixtures of this run's earlier configurations, which no result needs now."""

    def find(self, role: Role, **wanted: str | int) -> list[NodeRecord]:
        """Nodes of a role that have all of the wanted values, in the order of the run."""
        mine = [node for node in self.nodes if node.role == role]
        return [node for node in mine if all(getattr(node, key) == value for key, value in wanted.items())]

    def candidate(self, name: str) -> CandidateRecord | None:
        return next((candidate for candidate in self.candidates if candidate.name == name), None)


def read_nodes(root: Path) -> Nodes:
    """`RunError` where nothing was planned yet, `DamageError` for a file that is not ours."""
    path = root / FILE
    if not path.exists():
        raise RunError(f"{root}: nothing is planned here yet; `doremi run` does it")
    try:
        return Nodes.model_validate(read_json(path, "list of nodes"))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise DamageError(one_line(f"{path}: {where}: {error.errors()[0]['msg']}; remove it and run again")) from None


def write_nodes(root: Path, nodes: Nodes) -> None:
    """Write it, atomically."""
    write_json(root / FILE, nodes.model_dump(mode="json"))
