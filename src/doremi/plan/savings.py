"""What would make a run cheaper: single changes of the configuration, counted by the same rules as the run itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from doremi.config import RunConfig
from doremi.model.presets import PRESETS
from doremi.plan.plan import Plan
from doremi.plan.stages import stages
from doremi.plan.whole import with_other_settings

FEWEST_SEEDS = 3  # fewer give no verdict
USUAL = ("natural", "uniform")  # a verdict should not do without them, nor without the found and the reference mixture
WORTH_SAYING = 0.01  # of the operations: what saves less is no advice


@dataclass(frozen=True)
class Variant:
    """A changed configuration."""

    change: str
    """The words to `--set`."""
    what: str
    """What they mean."""
    config: RunConfig
    timed: bool = True
    """Whether what was measured holds for it too."""


@dataclass(frozen=True)
class Saving:
    """The shares that a change saves of the operations that are left, and of their time (None: not known)."""

    change: str
    what: str
    operations: float
    seconds: float | None


def savings(plan: Plan) -> list[Saving]:
    """All that save a hundredth at least of what is left, the largest first."""
    if not plan.rest().operations:
        return []
    found = [_saving(plan, variant) for variant in _variants(plan)]
    return sorted((s for s in found if s.operations >= WORTH_SAYING), key=lambda s: -s.operations)


def _saving(plan: Plan, variant: Variant) -> Saving:
    graph = with_other_settings(variant.config, plan.graph.known)
    other = replace(plan, config=variant.config, graph=graph, stages=stages(variant.config, graph))
    rest, left = plan.rest(), other.rest()  # a change may make other trainings of those that are done
    before, after = rest.total_seconds(), left.total_seconds() if variant.timed else None
    seconds = 1 - after / before if before and after is not None else None
    return Saving(variant.change, variant.what, 1 - left.operations / rest.operations, seconds)


def _one(config: RunConfig, key: str, value: Any, what: str, *, timed: bool = True) -> Variant:
    section, name = key.split(".")
    changed = getattr(config, section).model_copy(update={name: value})
    shown = f"[{','.join(value)}]" if isinstance(value, list) else value
    return Variant(f"{key}={shown}", what, config.model_copy(update={section: changed}), timed)


def _variants(plan: Plan) -> Iterator[Variant]:
    config, steps = plan.config, plan.settings.steps
    yield from _of_the_search(plan)
    yield from _of_the_candidates(plan)
    if steps > 2:
        yield _one(config, "training.evaluate_every", steps // 2, "evaluations in the middle and at the end")


def _of_the_search(plan: Plan) -> Iterator[Variant]:
    config, per_seed = plan.config, [c.name for c in plan.graph.candidates if c.role == "per-seed"]
    yield _one(config, "reference.losses", "stored", "the reference's losses once, kept on disk", timed=False)
    yield _one(config, "reference.losses", "live", "the reference's losses only where they are needed", timed=False)
    if config.proxy.update == "exact" and config.training.accumulation not in (1, "auto"):
        yield _one(config, "proxy.update", "lagged", "no forward pass to score a batch first", timed=False)
    if per_seed and config.proxy.seeds > config.candidates.seeds:
        yield _one(config, "proxy.seeds", config.candidates.seeds, f"the fewest that {per_seed[0]} can have")
    elif not per_seed and config.proxy.seeds > 1:
        yield _one(config, "proxy.seeds", 1, "the weights then have no interval")
    if config.rounds.max > 1:
        yield _one(config, "rounds.max", 1, "DoReMi without repetition")
    yield from _smaller_proxy(config)


def _smaller_proxy(config: RunConfig) -> Iterator[Variant]:
    """The next smaller preset of the same family for reference and proxy; main models stay as they are."""
    preset, names = config.model.preset, list(PRESETS)
    if preset is None or config.model.options or names.index(preset) == 0:
        return
    smaller, sizes = names[names.index(preset) - 1], config.size_names()
    if PRESETS[smaller]["architecture"] != PRESETS[preset]["architecture"]:
        return
    model = config.model.model_copy(update={"preset": smaller})
    candidates = config.candidates.model_copy(update={"sizes": sizes})
    words = f"model.preset={smaller} candidates.sizes=[{','.join(sizes)}]"
    what = "a smaller proxy, with the same main models"
    yield Variant(words, what, config.model_copy(update={"model": model, "candidates": candidates}), timed=False)


def _of_the_candidates(plan: Plan) -> Iterator[Variant]:
    config = plan.config
    if config.candidates.seeds > FEWEST_SEEDS:
        yield _one(config, "candidates.seeds", FEWEST_SEEDS, "the fewest that detect large differences")
    fewer = [name for name in config.candidate_mixtures() if name in {*USUAL, *_made(plan), config.reference.mixture}]
    if 1 < len(fewer) < len(config.candidate_mixtures()):
        yield _one(config, "candidates.mixtures", fewer, "the mixtures that matter most")
    if len(config.candidates.sizes) > 1:
        smallest = min(config.size_names(), key=plan.parameters)
        yield _one(
            config, "candidates.sizes", [smallest], "then it is not known whether the ranking holds as size grows"
        )


def _made(plan: Plan) -> list[str]:
    """Candidates that a search is for: one mixture each, or one a seed where there are no others."""
    by_role = {role: [c.name for c in plan.graph.candidates if c.role == role] for role in ("found", "per-seed")}
    return by_role["found"] or by_role["per-seed"]
