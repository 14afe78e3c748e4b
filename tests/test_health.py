"""Every alarm rings on a run made sick in one way, and none on a healthy one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from doremi.diagnostics.health import (
    ABSENT,
    MEMORISED,
    MIN_STEPS,
    NAMED,
    RISEN,
    Alarm,
    few_documents,
    noisy_scores,
    plain_alarms,
    proxy_alarms,
    running_away,
)
from doremi.mixture.domains import DomainSet

NAMES = DomainSet(["web", "code", "books", "law"])
STEPS = 600


def healthy(steps: int = STEPS, k: int = 4) -> dict[str, np.ndarray]:
    """Scores that fall and differ, weights that soon move little around unequal levels."""
    rng = np.random.default_rng(0)
    level_K = np.linspace(1, 2, k)
    fall_T1 = np.exp(-8 * np.arange(steps) / max(steps, 1))[:, None]
    weight_TK = level_K * np.exp(0.02 * rng.normal(size=(steps, k)))
    reference_TK = 3 * level_K + 0.1 * rng.normal(size=(steps, k))
    gap_TK = 2 * fall_T1 + 0.1 * level_K - 0.15 + 0.02 * rng.normal(size=(steps, k))
    return {
        "step": np.arange(1, steps + 1),
        "weights": weight_TK / weight_TK.sum(axis=1, keepdims=True),
        "tokens": np.full((steps, k), 4096.0),
        "reference_loss": reference_TK,
        "loss": reference_TK + gap_TK,
        "scores": np.maximum(gap_TK, 0) + 0.2 * level_K,
        "score_error": np.full((steps, k), 0.02),
    }


def only(name: str, alarms: list[Alarm]) -> Alarm:
    """The one alarm there is; its texts are one line each and the reason has a number."""
    assert [alarm.name for alarm in alarms] == [name]
    assert "\n" not in alarms[0].reason + alarms[0].advice
    assert any(c.isdigit() for c in alarms[0].reason)
    assert alarms[0].advice
    return alarms[0]


def without(trace: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: value for name, value in trace.items() if name not in names}


def test_a_healthy_proxy_raises_none():
    trace = healthy()
    assert proxy_alarms(NAMES, trace) == []
    assert proxy_alarms(NAMES, without(trace, "reference_loss", "score_error")) == []
    assert proxy_alarms(NAMES, {name: value.astype(np.float32) for name, value in trace.items()}) == []


def test_weights_on_one_domain():
    trace = healthy()
    trace["weights"] = np.tile([0.03, 0.92, 0.03, 0.02], (STEPS, 1))
    alarm = only("near_one_domain", proxy_alarms(NAMES, trace))
    assert alarm.domains == ("code",)
    assert "code 0.920" in alarm.reason
    trace["weights"] = np.tile([0.04, 0.89, 0.04, 0.03], (STEPS, 1))
    assert proxy_alarms(NAMES, trace) == []


def test_single_steps_near_one_domain_are_normal():
    trace = healthy()
    trace["weights"] = np.eye(4)[np.random.default_rng(1).integers(0, 4, STEPS)]
    assert "near_one_domain" not in {alarm.name for alarm in proxy_alarms(NAMES, trace)}


def test_a_domain_that_stays_behind():
    trace = healthy()
    trace["loss"][:, 2] = trace["reference_loss"][:, 2] + 0.3
    trace["scores"][:, 2] = 0.35
    assert "books 0.300" in only("never_improves", proxy_alarms(NAMES, trace)).reason
    alarm = only("never_improves", proxy_alarms(NAMES, without(trace, "reference_loss")))
    assert alarm.domains == ("books",)
    assert "books 0.350" in alarm.reason


def test_behind_but_gaining_or_once_ahead_or_hardly_behind_is_no_alarm():
    for gap_T in (
        np.linspace(0.5, 0.4, STEPS),
        np.where(np.arange(STEPS) == STEPS - 5, -0.01, 0.3),
        np.full(STEPS, 0.019),
    ):
        trace = healthy()
        trace["loss"][:, 2] = trace["reference_loss"][:, 2] + gap_T
        assert proxy_alarms(NAMES, trace) == []


def test_a_proxy_better_than_the_reference():
    trace = healthy()
    trace["loss"] = np.where(np.arange(STEPS)[:, None] > STEPS / 4, trace["reference_loss"] - 0.1, trace["loss"])
    assert only("proxy_better", proxy_alarms(NAMES, trace)).domains == ("law", "books", "code", "web")
    trace["loss"][:, 3] = trace["reference_loss"][:, 3] + np.linspace(
        0.5, 0.1, STEPS
    )  # three of four is not nearly all
    assert proxy_alarms(NAMES, trace) == []


def test_scores_all_clipped():
    trace = without(healthy(), "reference_loss", "score_error")
    trace["scores"][STEPS // 2 :] = 0.0
    alarm = only("proxy_better", proxy_alarms(NAMES, trace))
    assert set(alarm.domains) == set(NAMES)
    assert "4 of 4" in alarm.reason


def test_scores_far_below_zero_are_of_another_kind_not_clipped():
    """The variant `easiest` scores minus the reference's loss."""
    trace = healthy()
    trace["scores"] = -trace["reference_loss"]
    assert proxy_alarms(NAMES, trace) == []


def test_absent_domains_are_named_and_their_numbers_are_not_used():
    trace = healthy()
    gone_T = np.arange(STEPS) % 9 == 0
    trace["tokens"][gone_T, 1] = 0
    trace["tokens"][:, 3] = 0
    for name in ("loss", "scores", "score_error", "reference_loss"):
        trace[name][trace["tokens"] == 0] = np.nan
    alarm = only("absent", proxy_alarms(NAMES, trace))
    assert alarm.domains == ("law", "code")
    assert "law 1.000" in alarm.reason
    borrowed = {name: np.nan_to_num(value, nan=77.0) for name, value in trace.items()}
    assert proxy_alarms(NAMES, borrowed) == [alarm]


def test_rarely_absent_is_no_alarm():
    trace = healthy()
    trace["tokens"][: int(ABSENT * STEPS), 1] = 0
    assert proxy_alarms(NAMES, trace) == []


def noisy(seed: int, error: float, apart: float) -> dict[str, np.ndarray]:
    """Scores that are noise of the stated error around levels `apart` from one another."""
    noise_TK = error * np.random.default_rng(seed).normal(size=(STEPS, 4))
    return healthy() | {
        "scores": 1 + np.linspace(2, 0, STEPS)[:, None] + apart * np.arange(4) + noise_TK,
        "score_error": np.full((STEPS, 4), error),
    }


@pytest.mark.parametrize("seed", range(5))
def test_scores_drowned_in_noise(seed: int):
    alarm = only("noisy_scores", proxy_alarms(NAMES, noisy(seed, 0.2, 0.0)))
    assert alarm.domains == NAMES.names


@pytest.mark.parametrize("seed", range(5))
def test_noise_above_a_steady_difference_is_no_alarm(seed: int):
    """Each step is nine tenths noise, yet the difference adds up over the steps: the weights follow it."""
    assert proxy_alarms(NAMES, noisy(seed, 0.2, 0.05)) == []


def test_scores_that_move_more_than_their_noise_are_no_alarm():
    trace = noisy(0, 0.2, 0.0)
    assert proxy_alarms(NAMES, trace | {"score_error": np.full((STEPS, 4), 0.1)}) == []
    assert proxy_alarms(NAMES, without(trace, "score_error")) == []


def test_noise_is_given_in_numbers():
    score_TK = np.tile([[1.0, 3.0], [3.0, 1.0]], (10, 1))  # 1 from the mean over domains, whose means are equal
    error_TK = np.full((20, 2), math.sqrt(2))  # 1 of it is left when the mean over domains is taken out
    reason = only("noisy_scores", noisy_scores(DomainSet(["a", "b"]), score_TK, error_TK)).reason
    assert "differ by 1 nats (root mean square), where noise alone gives 1." in reason
    assert "means over 10 steps differ by 0, where noise alone gives 0.32" in reason


def test_an_average_that_has_not_settled():
    trace = healthy()
    trace["weights"] = np.linspace([0.4, 0.2, 0.2, 0.2], [0.2, 0.4, 0.2, 0.2], STEPS)
    assert "autocorrelation times" in only("not_settled", proxy_alarms(NAMES, trace)).reason


def test_many_bad_domains_are_counted_not_listed():
    names = DomainSet(f"d{i}" for i in range(30))
    trace = healthy(k=30)
    trace["tokens"][:, 5:] = 0
    alarm = proxy_alarms(names, trace)[0]
    assert (alarm.name, len(alarm.domains)) == ("absent", 25)
    assert alarm.reason.endswith(f"and {25 - NAMED} more")


def test_no_steps_one_step_and_a_start():
    assert proxy_alarms(NAMES, healthy(0)) == []
    for steps in (1, MIN_STEPS - 1):
        trace = healthy(steps)
        trace["tokens"][:] = 0
        trace["scores"][:] = np.nan
        assert f"only {steps} steps" in only("not_settled", proxy_alarms(NAMES, trace)).reason
    assert [alarm.name for alarm in proxy_alarms(NAMES, healthy(MIN_STEPS))] == ["not_settled"]


@pytest.mark.parametrize("steps", [0, 1, MIN_STEPS, STEPS])
def test_one_domain_has_nothing_to_weigh(steps: int):
    assert proxy_alarms(DomainSet(["all"]), healthy(steps, 1)) == []


def test_nothing_but_absent_domains():
    trace = healthy()
    trace["tokens"][:] = 0
    assert only("absent", proxy_alarms(NAMES, trace)).domains == NAMES.names


# -- the reference ---------------------------------------------------------------------------------------------------


def evaluations(gap: list[float], validation: list[float] | None = None) -> dict[str, Any]:
    """Two domains, evaluated once an epoch of the first from half an epoch on; the second, large one is healthy."""
    epochs = 0.5 + np.arange(len(gap))
    well = np.linspace(4, 3, len(gap))
    valid = well if validation is None else np.array(validation)
    return {
        "train_loss_EK": np.stack([valid - gap, well], axis=1),
        "validation_loss_EK": np.stack([valid, well + 0.05], axis=1),
        "epochs_EK": np.stack([epochs, epochs / 100], axis=1),
    }


TWO = DomainSet(["small", "large"])


def test_a_reference_that_memorises_a_repeated_domain():
    alarm = only("overfit", plain_alarms(TWO, **evaluations([0.0, 0.05, 0.2])))
    assert alarm.domains == ("small",)
    assert "2.5 epochs, in nats: small 0.200" in alarm.reason


def test_a_validation_loss_that_rises_again():
    rising = [3.0, 2.9, 2.9 + RISEN + 0.01]
    assert "small 0.030" in only("overfit", plain_alarms(TWO, **evaluations([0.0, 0.0, 0.0], rising))).reason
    unseen = evaluations([0.0, 0.0, math.nan], rising)
    assert only("overfit", plain_alarms(TWO, **unseen)).domains == ("small",)
    assert plain_alarms(TWO, **evaluations([0.0, 0.0, 0.0], [3.0, 2.9, 2.9 + RISEN - 0.01])) == []


@pytest.mark.parametrize("gap", [[], [0.5], [-0.8, 0.0, 0.09], [0.5, 0.5, 0.5 + MEMORISED - 0.01], [math.nan] * 3])
def test_no_second_pass_or_no_new_gap_is_no_alarm(gap: list[float]):
    """Held-out text that was harder from the start is not memorised; an early training mean lags and counts as 0."""
    assert plain_alarms(TWO, **evaluations(gap)) == []


def test_one_evaluation_after_many_epochs_is_judged_by_the_gap():
    late = evaluations([0.3])
    late["epochs_EK"] = late["epochs_EK"] * 20
    assert only("overfit", plain_alarms(TWO, **late)).domains == ("small",)


def test_few_documents() -> None:
    assert few_documents({}) is None
    assert few_documents({"a": 10, "b": 11}) is None
    assert "documents in b (9), c (0). Losses" in str(few_documents({"a": 10, "b": 9, "c": 0}))
    many = str(few_documents({f"d{i}": 1 for i in range(7)}))
    assert "d3 (1) and 3 more. Losses" in many
    assert "d4" not in many


def test_rounds_run_away_when_changes_grow() -> None:
    first, second, third = (
        {"round": n, "domain": "law", "largest_change": change, "stopped": None}
        for n, change in ((1, 0.1), (2, 0.3), (3, 0.2))
    )
    assert running_away([first]) is None
    assert running_away([first, second, third]) is None
    assert running_away([first, {**second, "stopped": "the change is within the spread between proxies"}]) is None
    expected = "Round 2 moved law by 30.0% of all tokens, round 1 at most 10.0%"
    assert expected in str(running_away([first, second]))
