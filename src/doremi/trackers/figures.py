"""What trackers call the figures of a training: names that stay, so that runs can be laid over each other.

    loss, learning_rate, gradient_norm
    domain_loss/<domain>, weight/<domain>, average_weight/<domain>, score/<domain>
    validation/<split>/loss/<domain>, validation/<split>/bits_per_byte/<domain>

The last three of the second line are of proxies only. Losses are nats a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from doremi.events.event import Began, Evaluated, Event, Measured

ID_DIGITS = 16
"""Of a training's key: a training that goes on finds its run of a tracker again."""


def figures(event: Event, domains: Sequence[str]) -> dict[str, float]:
    """The figures of an event by name; none of one that has none."""
    if isinstance(event, Measured):
        found = {"loss": event.loss, "learning_rate": event.learning_rate, "gradient_norm": event.gradient_norm}
        for name, values in (
            ("domain_loss", event.domain_loss),
            ("weight", event.weights),
            ("average_weight", event.average_weights),
            ("score", event.scores),
        ):
            found.update(_by_domain(name, domains, values))
        return found
    if isinstance(event, Evaluated):
        found = {}
        for split, losses in event.splits.items():
            found.update(_by_domain(f"validation/{split}/loss", domains, losses.loss))
            found.update(_by_domain(f"validation/{split}/bits_per_byte", domains, losses.bits_per_byte))
        return found
    return {}


def _by_domain(name: str, domains: Sequence[str], values: Sequence[float | None] | None) -> Iterator[tuple[str, float]]:
    for domain, value in zip(domains, values or [], strict=False):
        if value is not None:
            yield f"{name}/{domain}", value


def safe_name(job: str) -> str:
    """The name of a node as one part of a path."""
    return job.replace("/", ".")


def run_id(event: Began) -> str:
    """The same for the same training, in whatever process it goes on."""
    return event.key[:ID_DIGITS]


def description(event: Began) -> dict[str, object]:
    """What a tracker shows beside the curves."""
    return {
        "job": event.job,
        "key": event.key,
        "objective": event.objective,
        "steps": event.steps,
        "tokens_per_step": event.tokens_per_step,
        "domains": list(event.domains),
    }
