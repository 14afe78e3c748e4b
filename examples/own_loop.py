"""Group DRO in a loop of your own: the ten lines are in `train_proxy`, the rest is a toy to run them on.

Domain 0 can be learned, domain 1 is noise, domain 2 is one token again and again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from doremi import GroupDRO

VOCAB = 32


def token_losses(model: nn.Module, tokens: Tensor) -> Tensor:
    """Loss of each next token in nats, `[B, T]`."""
    logits = model(tokens[:, :-1])
    return functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")


def make_model() -> nn.Module:
    return nn.Sequential(nn.Embedding(VOCAB, 32), nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, VOCAB))


def batch(size: int = 24, length: int = 16) -> tuple[Tensor, Tensor]:
    """Sequences `[B, T + 1]` and their domains `[B]`, uniform over domains."""
    domain = torch.arange(size) % 3
    start = torch.randint(0, 10, (size, 1))
    counting = (start + torch.arange(length + 1)) % 10
    noise = torch.randint(10, 30, (size, length + 1))
    same = torch.full((size, length + 1), 31)
    return torch.stack([counting, noise, same])[domain, torch.arange(size)], domain


def train_plain(steps: int) -> nn.Module:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(steps):
        tokens, _ = batch()
        optimizer.zero_grad()
        token_losses(model, tokens).mean().backward()
        optimizer.step()
    return model


def train_proxy(reference: nn.Module, steps: int) -> Tensor:
    """Algorithm 1; returns the averaged domain weights."""
    proxy = make_model()
    optimizer = torch.optim.Adam(proxy.parameters(), 2e-3)
    dro = GroupDRO(num_domains=3, eta=0.1)
    for _ in range(steps):
        tokens, domain_B = batch()
        loss_BT = token_losses(proxy, tokens)
        with torch.no_grad():
            reference_BT = token_losses(reference, tokens)
        loss = dro.step(loss_BT, reference_BT, torch.ones_like(loss_BT), domain_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return dro.average_weights


def main(steps: int = 120) -> dict[str, float]:
    torch.manual_seed(0)
    weights = train_proxy(train_plain(2 * steps), steps)
    return dict(zip(("counting", "noise", "same"), weights.tolist(), strict=True))


if __name__ == "__main__":
    print(main())
