"""Which trainings the study of recipes has: recipes, seeds, mixtures, domains, sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MIXTURES = ("natural", "uniform", "skewed")


@dataclass(frozen=True)
class Recipe:
    """How models are trained."""

    name: str
    settings: dict[str, Any]
    """Of `training`; the others are those of the recipe before."""
    init: float = 1.0
    """Spread of the first weights, as a multiple of the usual 0.02."""
    late: tuple[float, ...] = ()
    """Shares of the steps, at the end, over which a mean of the weights is judged beside the last ones."""


@dataclass(frozen=True)
class Case:
    """One training."""

    recipe: Recipe
    mixture: str
    order: int
    """Seed of the order of the text."""
    init: int
    """Seed of the first weights."""
    domains: str = "chosen"
    size: str = "0.3m"
    threads: int = 1
    shelves: bool = False
    """Whether mixtures meet the same sequences at the same step."""


TODAY = {"steps": 150, "batch_size": 16, "learning_rate": 0.003}


def linear(rate: float, **changes: Any) -> Recipe:
    """A linear schedule that ends at 0; changes of `training`, and `init` and `late` of the recipe."""
    own = {key: changes.pop(key) for key in ("init", "late") if key in changes}
    name = ", ".join([f"linear {rate:g}", *(f"{k} {v}" for k, v in {**own, **changes}.items())])
    settings = {**TODAY, "learning_rate": rate, "schedule": "linear", "final_learning_rate": 0.0, **changes}
    return Recipe(name, settings, **own)


def screen() -> list[Case]:
    """One training each: which recipes are good at all."""
    recipes = [
        Recipe("today", TODAY),
        *(linear(rate) for rate in (0.003, 0.006, 0.01, 0.016, 0.024)),
        linear(0.01, schedule="exponential", final_learning_rate=0.1),
        linear(0.01, schedule="cosine"),
        linear(0.01, final_learning_rate=0.1),
        linear(0.01, warmup=0.15),
        linear(0.01, warmup=0.3),
        linear(0.007, steps=300, batch_size=8),
        linear(0.014, steps=75, batch_size=32),
        linear(0.01, weight_decay=0.1),
        linear(0.01, beta2=0.95),
        linear(0.01, init=0.5),
        linear(0.01, init=2.0),
        linear(0.01, beta1=0.95),
        linear(0.01, gradient_clip=0.3),
        linear(0.01, final_learning_rate=1.0, late=(0.2, 0.4)),
    ]
    return [Case(recipe, "natural", 0, 0) for recipe in recipes]


def warm() -> list[Case]:
    """Four seeds each of recipes with a long warm-up."""
    recipes = [
        linear(0.01, warmup=0.3),
        linear(0.01, warmup=0.5),
        linear(0.016, warmup=0.3),
        linear(0.006, warmup=0.3),
        linear(0.007, steps=300, batch_size=8, warmup=0.3),
        linear(0.012, steps=300, batch_size=8, warmup=0.3),
        linear(0.01, warmup=0.3, init=2.0),
        linear(0.01, warmup=0.3, weight_decay=0.1),
        linear(0.01, warmup=0.3, beta1=0.8),
        linear(0.01, warmup=0.3, beta2=0.95),
        Recipe("today", TODAY),
    ]
    return [Case(recipe, "natural", seed, seed) for seed in range(4) for recipe in recipes]


SMALL = {"steps": 300, "batch_size": 8}


def small() -> list[Case]:
    """Three seeds each of recipes with small batches."""
    recipes = [
        linear(0.007, **SMALL, warmup=0.3),
        linear(0.007, **SMALL, warmup=0.3, init=2.0),
        linear(0.004, **SMALL, warmup=0.3, init=2.0),
        linear(0.007, **SMALL, warmup=0.5, init=2.0),
        linear(0.007, **SMALL, warmup=0.3, init=3.0),
        linear(0.007, **SMALL, warmup=0.3, init=2.0, weight_decay=0.1),
        linear(0.007, **SMALL, warmup=0.3, init=2.0, beta2=0.95),
        linear(0.007, **SMALL, warmup=0.3, init=2.0, beta1=0.8),
        linear(0.01, **SMALL, warmup=0.5, init=2.0),
    ]
    return [Case(recipe, "natural", seed, seed) for seed in range(3) for recipe in recipes]


BETAS = {"beta1": 0.8, "beta2": 0.95}


def mix() -> list[Case]:
    """Two seeds each of what helped, together."""
    recipes = [
        linear(0.007, **SMALL, **BETAS, warmup=0.3, init=2.0),
        linear(0.007, **SMALL, **BETAS, warmup=0.3, init=3.0),
        linear(0.007, **SMALL, **BETAS, warmup=0.3, init=5.0),
        linear(0.004, **SMALL, **BETAS, warmup=0.3, init=3.0),
        linear(0.007, **SMALL, **BETAS, warmup=0.5, init=3.0),
        linear(0.01, **SMALL, **BETAS, warmup=0.3, init=3.0),
        linear(0.007, **SMALL, **BETAS, warmup=0.3, init=3.0, weight_decay=0.1),
        linear(0.007, **SMALL, **BETAS, warmup=0.3, init=3.0, schedule="cosine"),
        linear(0.007, **SMALL, warmup=0.3, init=3.0, beta1=0.6, beta2=0.95),
    ]
    return [Case(recipe, "natural", seed, seed) for seed in range(2) for recipe in recipes]


LONGER = {"steps": 600, "batch_size": 8}


def warmer() -> list[Case]:
    """Two seeds each: how long a warm-up, and twice the tokens."""
    recipes = [
        linear(0.007, **SMALL, **BETAS, warmup=0.5, init=2.0),
        linear(0.01, **SMALL, **BETAS, warmup=0.5, init=2.0),
        linear(0.007, **LONGER, **BETAS, warmup=0.3, init=2.0),
        linear(0.01, **LONGER, **BETAS, warmup=0.3, init=2.0),
        linear(0.005, **LONGER, **BETAS, warmup=0.3, init=2.0),
    ]
    return [Case(recipe, "natural", seed, seed) for seed in range(2) for recipe in recipes]


def pairs(recipe: Recipe, seeds: int, **changes: Any) -> list[Case]:
    """All mixtures with each seed."""
    return [Case(recipe, mixture, seed, seed, **changes) for seed in range(seeds) for mixture in MIXTURES]


TWICE = linear(0.007, **LONGER, **BETAS, warmup=0.5, init=2.0, late=(0.1, 0.2))
ONCE = linear(0.01, **SMALL, **BETAS, warmup=0.5, init=2.0)
WIDER = linear(0.01, **LONGER, **BETAS, warmup=0.5, init=3.0, weight_decay=0.1)
NOW = Recipe("today", TODAY)


def best() -> list[Case]:
    """The best recipe at twice the tokens of the demo."""
    return pairs(TWICE, 12)


def today() -> list[Case]:
    """The recipe of the demo before."""
    return pairs(NOW, 12)


def once() -> list[Case]:
    """The best recipe at the tokens of the demo before."""
    return pairs(ONCE, 12)


def held() -> list[Case]:
    """On the domains that no recipe was chosen on."""
    both = zip(pairs(TWICE, 12, domains="held"), pairs(NOW, 12, domains="held"), strict=True)
    return [case for pair in both for case in pair]


def sources() -> list[Case]:
    """What differs between trainings on one mixture: the order, the first weights, two threads for one."""
    order = [Case(TWICE, "natural", order, 0) for order in range(1, 9)]
    first = [Case(TWICE, "natural", 0, init) for init in range(1, 9)]
    threads = [Case(TWICE, "natural", seed, seed, threads=2) for seed in range(4)]
    return [case for group in zip(order, first, strict=True) for case in group] + threads


def coupled() -> list[Case]:
    """The same sequences at the same step for all mixtures."""
    return pairs(TWICE, 8, shelves=True)


def wider() -> list[Case]:
    """A wider start, which slows learning and steadies it."""
    return pairs(WIDER, 8)


TOKENS_EACH = 1.85  # tokens a body parameter in the sweeps of rates, as TWICE has
BODIES = {"0.1m": 100_672, "0.3m": 332_448, "1m": 953_440, "3m": 3_213_568}
RATES = (0.00175, 0.0035, 0.007, 0.014, 0.028)


def rates(*sizes: str) -> list[Case]:
    """Five peak rates a size, at the same tokens a body parameter."""
    cases = []
    for size in sizes:
        steps = round(TOKENS_EACH * BODIES[size] / (8 * 128))
        cases += [
            Case(linear(rate, **{**LONGER, "steps": steps}, **BETAS, warmup=0.5, init=2.0), "natural", 0, 0, size=size)
            for rate in RATES
        ]
    return cases


STAGES: dict[str, Callable[[], list[Case]]] = {
    "screen": screen, "warm": warm, "small": small, "mix": mix, "warmer": warmer,
    "today_first": lambda: pairs(NOW, 6), "best": best, "today": today, "once": once, "held": held,
    "sources": sources, "coupled": coupled, "wider": wider,
    "rates_small": lambda: rates("0.1m", "0.3m"), "rates_1m": lambda: rates("1m"), "rates_3m": lambda: rates("3m"),
}  # fmt: skip
