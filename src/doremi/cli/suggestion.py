"""What `doremi init` suggests: the largest model that reaches the usual tokens a parameter with this text and time."""

from __future__ import annotations

from dataclasses import dataclass

from doremi.diagnostics.few_tokens import USUAL, in_digits
from doremi.events.words import duration
from doremi.model.presets import PRESETS, body_parameters
from doremi.rundir.machine import CPU_FLOPS_PER_CORE

HOURS = 6.0  # that the whole run may take here: a night
TRAININGS = 16.3  # of the written configuration: five mixtures with three seeds each, and a proxy, which costs 4/3
VOCABULARY = 8192  # of the tokenizer that the written configuration trains
LENGTH = 256  # tokens of a sequence there
FEWEST_STEPS = 100
# Repeated text is worth about as much as new text up to 4 passes, and hardly anything beyond 16 (Muennighoff et al.
# 2023, Scaling Data-Constrained Language Models). A larger model must not need more than the first.
PASSES, MOST_PASSES = 4, 16


@dataclass(frozen=True)
class Suggestion:
    """`passes` are over all of the text, of one training."""

    preset: str
    body: int
    parameters: int
    steps: int
    batch_size: int
    passes: float
    hours: float
    cores: int

    @property
    def tokens(self) -> int:
        return self.steps * self.batch_size * LENGTH

    def words(self) -> str:
        """What is suggested, and why not more."""
        each, cores = self.tokens / self.body, "this core" if self.cores == 1 else f"these {self.cores} cores"
        lines = [
            f"model {self.preset}: {self.body:,} body parameters, {self.parameters:,} with embeddings",
            f"each training: {self.steps:,} steps, {self.tokens:,} tokens. These are {in_digits(each)} a body "
            f"parameter and {self.passes:.1f} passes over the text.",
            f"the whole run: at most about {duration(3600 * self.hours)} on {cores}. `doremi plan` measures it.",
        ]
        if each < 0.95 * USUAL:
            short = "time" if self.hours > 0.95 * HOURS else "text"
            lines.insert(2, f"There is too little {short} for the usual {USUAL:.0f} tokens a body parameter.")
        return "\n".join(lines)


@dataclass(frozen=True)
class Given:
    """What is there: tokens of text in all domains, cores, and entries of the vocabulary."""

    text_tokens: int
    cores: int
    vocabulary: int = VOCABULARY


def suggest(domains: int, given: Given) -> Suggestion:
    """For so many domains."""
    batch_size = max(32, 8 * -(-domains // 8))
    small = [name for name, one in PRESETS.items() if one["architecture"] == "llama"]
    fitting = [made for name in small if (made := _of(name, batch_size, given)) is not None]
    return fitting[-1] if fitting else _smallest(small[0], batch_size, given)


def _of(preset: str, batch_size: int, given: Given) -> Suggestion | None:
    """With the usual tokens; None where they take too long or repeat the text too often."""
    steps = -(-round(USUAL * body_parameters(preset)) // (batch_size * LENGTH))
    made = _made(preset, steps, batch_size, given)
    return made if made.hours <= HOURS and made.passes <= PASSES else None


def _smallest(preset: str, batch_size: int, given: Given) -> Suggestion:
    """As near to the usual tokens as text and time allow."""
    usual = -(-round(USUAL * body_parameters(preset)) // (batch_size * LENGTH))
    whole = _made(preset, usual, batch_size, given)
    share = min(1.0, HOURS / whole.hours, MOST_PASSES / whole.passes)
    return _made(preset, max(FEWEST_STEPS, round(share * usual)), batch_size, given)


def _made(preset: str, steps: int, batch_size: int, given: Given) -> Suggestion:
    body, tokens = body_parameters(preset), steps * batch_size * LENGTH
    parameters = body + given.vocabulary * PRESETS[preset]["hidden_size"]
    operations = 6 * parameters * tokens * TRAININGS
    hours = operations / (CPU_FLOPS_PER_CORE * given.cores) / 3600
    passes = tokens / max(1, given.text_tokens)
    return Suggestion(preset, body, parameters, steps, batch_size, passes, hours, given.cores)
