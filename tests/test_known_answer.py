"""End-to-end truth: three generated domains whose right order of weights is known.

Learnable text takes the proxy long to learn, trivial text (one token) is learned at once, noise never. The reference
is good at the first, fair at the second, and as good as anyone at the third. DoReMi must then weigh
learnable > trivial > noise. The trivial domain is where the clip matters: the proxy soon beats the reference on it,
and an unclipped excess would drive its weight below the noise's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from doremi.objectives.dro import GroupDRO
from doremi.objectives.variants import Choices, VariantDRO

LEARNABLE, NOISE, TRIVIAL = range(3)
VOCAB, LENGTH, BATCH, LEARNABLE_TOKENS, NOISE_TOKENS = 32, 16, 24, 15, 16
ETA, REFERENCE_STEPS, PROXY_STEPS, RATE = 0.1, 200, 350, 3e-3
REFERENCE_MIXTURE = torch.tensor([0.47, 0.5, 0.03])
SEEDS = range(5)


class TinyModel(nn.Module):
    """Predicts a token from the one before it."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.embed, self.hidden, self.head = nn.Embedding(VOCAB, 24), nn.Linear(24, 64), nn.Linear(64, VOCAB)
        for parameter in self.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data = noise * 0.05 if parameter.ndim > 1 else torch.zeros(parameter.shape)

    def forward(self, tokens: Tensor) -> Tensor:
        logits = self.head(torch.tanh(self.hidden(self.embed(tokens[:, :-1]))))
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        return loss.view(len(tokens), LENGTH)


def draw(rules: Tensor, generator: torch.Generator, domain: Tensor) -> Tensor:
    """Fresh sequences `[B, T + 1]`: learnable follow `rules` but for 15 % of their tokens; noise is uniform."""
    shape = (len(domain), LENGTH + 1)
    free = torch.randint(0, LEARNABLE_TOKENS, shape, generator=generator)
    slips = torch.rand(shape, generator=generator) < 0.15
    learnable = free.clone()
    for t in range(1, shape[1]):
        learnable[:, t] = torch.where(slips[:, t], free[:, t], rules[learnable[:, t - 1]])
    noise = torch.randint(LEARNABLE_TOKENS, LEARNABLE_TOKENS + NOISE_TOKENS, shape, generator=generator)
    trivial = torch.full(shape, VOCAB - 1)
    return torch.stack([learnable, noise, trivial])[domain, torch.arange(len(domain))]


@cache
def reference(seed: int) -> tuple[TinyModel, Tensor]:
    """A trained reference and the rules of the learnable domain."""
    generator = torch.Generator().manual_seed(seed)
    rules = torch.randint(0, LEARNABLE_TOKENS, (LEARNABLE_TOKENS,), generator=generator)
    model = TinyModel(generator)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    for step in range(REFERENCE_STEPS):
        domain = torch.multinomial(REFERENCE_MIXTURE, BATCH, replacement=True, generator=generator)
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / REFERENCE_STEPS)
        optimizer.zero_grad()
        model(draw(rules, generator, domain)).mean().backward()
        optimizer.step()
    return model.requires_grad_(False), rules


def learned_weights(seed: int, dro: GroupDRO | VariantDRO) -> list[float]:
    """Averaged weights of a proxy trained on uniform batches."""
    frozen, rules = reference(seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    proxy = TinyModel(generator)
    optimizer = torch.optim.Adam(proxy.parameters(), RATE)
    domain = torch.arange(BATCH) % 3
    mask = torch.ones(BATCH, LENGTH, dtype=torch.bool)
    for _ in range(PROXY_STEPS):
        tokens = draw(rules, generator, domain)
        loss = dro.step(proxy(tokens), frozen(tokens), mask, domain)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return dro.average_weights.tolist()


def as_expected(weights: list[float]) -> bool:
    return weights[LEARNABLE] > weights[TRIVIAL] > weights[NOISE]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # the matrices are tiny


@pytest.mark.parametrize("seed", SEEDS)
def test_premise_losses_are_ordered_as_designed(seed: int) -> None:
    model, rules = reference(seed)
    generator = torch.Generator().manual_seed(2000 + seed)
    domain = torch.arange(300) % 3
    loss = model(draw(rules, generator, domain)).mean(dim=1)
    learnable, noise, trivial = (float(loss[domain == i].mean()) for i in range(3))
    assert trivial < learnable < noise
    uniform = torch.tensor(float(NOISE_TOKENS)).log().item()
    assert abs(noise - uniform) < 0.05  # nobody can predict the noise better than its entropy


@pytest.mark.parametrize("seed", SEEDS)
def test_learnable_over_trivial_over_noise(seed: int) -> None:
    assert as_expected(learned_weights(seed, GroupDRO(3, eta=ETA)))


def wrong_sign() -> VariantDRO:
    dro = VariantDRO(3)
    dro.eta = -ETA  # which the constructor refuses
    return dro


MUTANTS: dict[str, Callable[[], VariantDRO]] = {
    "wrong sign": wrong_sign,
    "no clip": lambda: VariantDRO(3, Choices(clip="none"), eta=ETA),
    "no reference": lambda: VariantDRO(3, Choices(excess="proxy"), eta=ETA),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_get_it_wrong(mutant: str) -> None:
    assert not all(as_expected(learned_weights(seed, MUTANTS[mutant]())) for seed in SEEDS)
