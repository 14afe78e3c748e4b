"""What can go wrong while a model trains: alarms, each with its reason in numbers and what to do.

Pure functions of what the training trace holds (`TrainingFolder.trace()` in runs.py), for the progress display, the
metrics and the report alike. An alarm is a hint, not a verdict: what was seen, and the usual remedy. Scores and losses
of a domain without tokens in a step are left out, whatever they hold.

    near_one_domain   proxy      the weights have gone to one domain
    absent            proxy      many steps without a token of a domain
    never_improves    proxy      a domain stays behind the reference
    proxy_better      proxy      the proxy beats the reference nearly everywhere
    noisy_scores      proxy      the scores differ by no more than their noise
    not_settled       proxy      at its end: the averaged weights would change with more steps
    overfit           reference  a repeated domain is memorised; also of main models

Shapes: T steps, K domains, E evaluations. Losses and scores are nats a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from doremi.diagnostics import settled
from doremi.mixture.domains import DomainSet

MIN_STEPS = 30  # fewer steps say nothing about a course; the first ones are warm-up
ONE_DOMAIN = 0.9  # mean weight over the recent half: nine tokens in ten; single steps may well be near one-hot
FALLEN = 0.95  # a gap that is still 95 % of what it was has not decreased
BEHIND = 0.02  # nats: a smaller gap to the reference is none
CLIPPED = 0.01  # nats: scores below this move a weight by 1 % a step at most (eta = 1)
NEARLY_ALL = 0.9  # of the domains
ABSENT = 0.1  # of the steps: one score in ten is borrowed from the other domains
NOISE_SHARE = 0.9  # of the squared differences between scores in one step
DETECTED = 2.0  # standard errors: differences of mean scores below this are not told from noise
REPEATED = (  # one training may serve as both
    "In a candidate, lower its weight or cap its epochs at the budget (limits.max_epochs). In a reference, train for "
    "fewer steps, or DoReMi gives it too much weight."
)
MEMORISED = 0.1  # nats: validation above training loss, about 3 % of a common loss
RISEN = 0.02  # nats: validation loss above its own best
FEW_DOCUMENTS = 10  # held out, of a domain: too few for an interval that resamples them
MANY_UNKNOWN = 0.01  # of a domain's tokens
NAMED = 4  # domains named in a reason; `Alarm.domains` has them all


def _first(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def few_documents(documents: Mapping[str, int]) -> str | None:
    """One line if a domain has fewer than `FEW_DOCUMENTS` of the documents that results are measured on."""
    few = [f"{name} ({number})" for name, number in documents.items() if number < FEW_DOCUMENTS]
    if not few:
        return None
    named = _first(few)
    return (
        f"Results are measured on fewer than {FEW_DOCUMENTS} held-out documents in {named}. "
        "Losses and intervals there, and means over domains, are unreliable. "
        "Raise data.validation_fraction or data.validation_max_tokens, or add documents."
    )


def unknown_share(unknown: int, tokens: int) -> float:
    """Share of a split's tokens that the tokenizer does not know; letters that it drops count too, so at most 1."""
    return min(1.0, unknown / max(1, tokens))


def unknown_tokens(shares: Mapping[str, float]) -> str | None:
    """One line if the tokenizer does not know over `MANY_UNKNOWN` of a domain's training tokens; shares by domain."""
    many = [f"{name} ({share:.1%})" for name, share in shares.items() if share > MANY_UNKNOWN]
    if not many:
        return None
    named = _first(many)
    return (
        f"The tokenizer does not know some of the text of {named}. Such text looks easy to predict, and its domain "
        "may get the wrong weight. Use a tokenizer made for this text."
    )


def running_away(rounds: Sequence[Mapping[str, Any]]) -> str | None:
    """One line if the last round (`rounds` of mixture.json) moved a weight further than the round before it did.

    The paper's rounds settle, in three (section 3.2); changes that grow say that these will not. A change within the
    spread between proxies, which ends the rounds, says nothing.
    """
    if len(rounds) < 2 or rounds[-1]["stopped"] or rounds[-1]["largest_change"] <= rounds[-2]["largest_change"]:
        return None
    before, last = rounds[-2:]
    return (
        f"The changes grow from round to round. Round {last['round']} moved {last['domain']} by "
        f"{last['largest_change']:.1%} of all tokens, round {before['round']} at most {before['largest_change']:.1%}. "
        "Do not trust the last mixture. Use the first round's (rounds.max: 1), or more proxies and steps."
    )


@dataclass(frozen=True)
class Alarm:
    """One thing that looks wrong: its name (table above), the domains it concerns, and one line each of text."""

    name: str
    domains: tuple[str, ...]
    reason: str
    advice: str


def proxy_alarms(domains: DomainSet, trace: Mapping[str, np.ndarray]) -> list[Alarm]:
    """Alarms of a proxy from its trace so far: `weights`, `scores`, `tokens`, `loss`, `[T, K]` each.

    Optional: `reference_loss` `[T, K]`, the reference's mean loss on the same tokens (else the scores stand in for the
    gap), and `score_error` `[T, K]`. No steps or one domain: no alarms; before `MIN_STEPS` steps only `not_settled`.
    """
    weights_TK, tokens_TK = np.asarray(trace["weights"], np.float64), np.asarray(trace["tokens"], np.float64)
    if len(weights_TK) == 0 or len(domains) == 1:
        return []
    if len(weights_TK) < MIN_STEPS:
        return not_settled(domains, weights_TK)
    present_TK = tokens_TK > 0
    score_TK = np.where(present_TK, trace["scores"], np.nan)
    behind = "reference_loss" in trace
    gap_TK = np.where(present_TK, trace["loss"] - trace["reference_loss"], np.nan) if behind else None
    found = [*absent(domains, tokens_TK), *never_improves(domains, score_TK, gap_TK)]
    found += proxy_better(domains, score_TK, gap_TK)
    if "score_error" in trace:
        found += noisy_scores(domains, score_TK, np.where(present_TK, trace["score_error"], np.nan))
    return [*near_one_domain(domains, weights_TK), *found, *not_settled(domains, weights_TK)]


def plain_alarms(
    domains: DomainSet,
    train_loss_EK: np.ndarray,
    validation_loss_EK: np.ndarray,
    epochs_EK: np.ndarray,
) -> list[Alarm]:
    """`overfit`: a domain in its second pass whose validation loss has left its training loss, or has risen again.

    All `[E, K]`, at the evaluations so far: losses (training: mean since the evaluation before, NaN where nothing was
    seen) and passes over the training tokens. Left: by `MEMORISED` more than ever in the first pass (held-out text may
    be harder to begin with). Risen: by `RISEN` above its best. No evaluations, no alarms.
    """
    if not len(epochs_EK):
        return []
    gap_EK = validation_loss_EK - train_loss_EK
    usual_K = np.where((epochs_EK <= 1) & (gap_EK > 0), gap_EK, 0.0).max(axis=0)
    left_K, risen_K = gap_EK[-1] - usual_K, validation_loss_EK[-1] - np.fmin.reduce(validation_loss_EK, axis=0)
    bad_K = (epochs_EK[-1] > 1) & ((left_K > MEMORISED) | (risen_K > RISEN))
    most = epochs_EK[-1][bad_K].max(initial=0)
    reason = f"validation loss is above training loss or its own best after up to {most:.1f} epochs, in nats: {{}}"
    return _alarm("overfit", domains, bad_K, np.fmax(left_K, risen_K), reason, REPEATED)


# -- one function an alarm of the proxy ------------------------------------------------------------------------------


def near_one_domain(domains: DomainSet, weights_TK: np.ndarray) -> list[Alarm]:
    """The recent half's mean weight of one domain is above `ONE_DOMAIN`."""
    mean_K = _recent(weights_TK).mean(axis=0)
    advice = "Use a larger batch or a smaller eta (0.1). A reference that has seen little of it may be the cause."
    return _alarm("near_one_domain", domains, mean_K > ONE_DOMAIN, mean_K, "mean weight over the last half: {}", advice)


def never_improves(domains: DomainSet, score_TK: np.ndarray, gap_TK: np.ndarray | None) -> list[Alarm]:
    """Always behind the reference in the recent half, and by no less in the last third of the steps than in the first.

    `gap_TK` is the proxy's loss less the reference's; where it is None the scores are taken: only their course counts.
    """
    course_TK = score_TK if gap_TK is None else gap_TK
    third = len(course_TK) // 3
    first_K, last_K = _mean(course_TK[:third]), _mean(course_TK[-third:])
    behind_K = ~(_recent(course_TK) <= 0).any(axis=0)
    stuck_K = behind_K & (last_K > BEHIND) & (last_K >= FALLEN * first_K)
    advice = (
        "Look at its text for noise, boilerplate or another language. Set its weight by hand, split it or leave it out."
    )
    reason = "never improves over the reference, and in the last third of the steps is behind by these nats: {}"
    return _alarm("never_improves", domains, stuck_K, last_K, reason, advice)


def proxy_better(domains: DomainSet, score_TK: np.ndarray, gap_TK: np.ndarray | None) -> list[Alarm]:
    """In `NEARLY_ALL` of the domains the proxy's recent mean loss is below the reference's, or the scores are clipped.

    Then no domain has anything left to learn from the reference, and noise alone moves the weights. Far below 0 is no
    sign of it: a variant scores minus the reference's loss.
    """
    score_K = _mean(_recent(score_TK))
    better_K = (np.abs(score_K) < CLIPPED) | (False if gap_TK is None else _mean(_recent(gap_TK)) < 0)
    seen = int(np.isfinite(score_K).sum())
    if better_K.sum() < NEARLY_ALL * seen:
        return []
    advice = "Train the reference longer or make it as large as the proxy. Or stop the proxy earlier."
    reason = (
        f"the proxy beats the reference in {better_K.sum()} of {seen} domains, with these recent scores in nats: {{}}"
    )
    return _alarm("proxy_better", domains, better_K, score_K, reason, advice)


def absent(domains: DomainSet, tokens_TK: np.ndarray) -> list[Alarm]:
    """More than `ABSENT` of all steps had no token of a domain."""
    share_K = (tokens_TK == 0).mean(axis=0)
    advice = "Use a larger batch, with a sequence of each domain in every step. Or merge small domains."
    return _alarm("absent", domains, share_K > ABSENT, share_K, "share of the steps without a token of it: {}", advice)


def noisy_scores(domains: DomainSet, score_TK: np.ndarray, error_TK: np.ndarray) -> list[Alarm]:
    """What separates the domains is noise: within a step and in the mean over the recent half.

    Only differences from the mean over domains move the weights. Within a step their square is compared with the
    squared standard error; over many steps a small steady difference adds up, so the mean differences must drown too.
    """
    score_TK, variance_TK = _recent(score_TK), _recent(error_TK) ** 2
    centred = 1 - 1 / len(domains)  # of the noise's variance is left when the mean over domains is taken out
    apart_TK = score_TK - _mean(score_TK, axis=1)[:, None]
    apart, noise = _root_mean(apart_TK**2), _root_mean(centred * variance_TK)
    steps_K = np.maximum(np.isfinite(variance_TK).sum(axis=0), 1)
    mean_apart, mean_noise = _root_mean(_mean(apart_TK) ** 2), _root_mean(centred * _mean(variance_TK) / steps_K)
    if noise == 0 or noise**2 <= NOISE_SHARE * apart**2 or mean_apart >= DETECTED * mean_noise:
        return []
    reason = (
        f"the scores of a step differ by {apart:.3g} nats (root mean square), where noise alone gives {noise:.3g}. "
        f"Their means over {len(score_TK)} steps differ by {mean_apart:.2g}, where noise alone gives {mean_noise:.2g}"
    )
    return [Alarm("noisy_scores", domains.names, reason, "Use a larger batch, longer sequences or a smaller eta.")]


def not_settled(domains: DomainSet, weights_TK: np.ndarray) -> list[Alarm]:
    """`settled.judge` says no."""
    judged = settled.judge(weights_TK)
    advice = "More steps may change this mixture. A larger batch or a smaller eta may help too."
    return [] if judged.settled else [Alarm("not_settled", domains.names, judged.reason, advice)]


# -- parts -----------------------------------------------------------------------------------------------------------


def _alarm(
    name: str, domains: DomainSet, bad_K: np.ndarray, value_K: np.ndarray, reason: str, advice: str
) -> list[Alarm]:
    """One alarm for all bad domains, largest value first, or none; `reason` holds a place for names and values."""
    order = [i for i in np.argsort(-value_K, kind="stable") if bad_K[i]]
    named = ", ".join(f"{domains.names[i]} {value_K[i]:.3f}" for i in order[:NAMED])
    more = f" and {len(order) - NAMED} more" if len(order) > NAMED else ""
    return [Alarm(name, tuple(domains.names[i] for i in order), reason.format(named + more), advice)] if order else []


def _recent(rows: np.ndarray) -> np.ndarray:
    """The recent half of the steps."""
    return rows[len(rows) // 2 :]


def _mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean of what is a number; NaN where nothing is."""
    count = np.isfinite(values).sum(axis=axis)
    return np.where(count > 0, np.nansum(values, axis=axis) / np.maximum(count, 1), np.nan)


def _root_mean(squares: np.ndarray) -> float:
    """Root of the mean of what is a number, 0 where nothing is."""
    return float(np.sqrt(np.nan_to_num(_mean(squares.ravel()))))
