"""Variants against the numbers recorded from the authors' code, and against the fixture's rows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from doremi.objectives.dro import GroupDRO
from doremi.objectives.variants import Choices, VariantDRO, official
from test_dro import fixture_batches
from tolerances import FIXTURE, FLOAT32, FLOAT64, OFFICIAL

VECTORS = json.loads((Path(__file__).parent / "assets" / "official_update_vectors.json").read_text())
UPDATE_CASES = {case["name"]: case for case in VECTORS["update_cases"]}
STEP_CASES = {case["name"]: case for case in VECTORS["training_step_cases"]}


def tensors(step: dict) -> tuple[torch.Tensor, ...]:
    """Losses of proxy and reference, mask, domains; the authors' code works in float32."""
    names = ("proxy_token_losses", "reference_token_losses", "token_mask")
    return (*(torch.tensor(step[name], dtype=torch.float32) for name in names), torch.tensor(step["domain_ids"]))


@pytest.mark.parametrize("name", UPDATE_CASES)
def test_official_update_cases(name: str) -> None:
    case = UPDATE_CASES[name]
    choices = official(case["num_domains"], vocab_size=case["vocab_size"], start=case["initial_weights_unnormalised"])
    dro = VariantDRO(case["num_domains"], choices, eta=case["eta"], smoothing=case["smoothing"])
    paper_sum = torch.zeros(case["num_domains"], dtype=torch.float64)
    for number, step in enumerate(case["steps"], start=1):
        paper_sum += dro.update(dro.sums(*tensors(step)))
        expected = step["expected"]
        assert dro.state.lam_K.tolist() == pytest.approx(expected["scores"], abs=OFFICIAL)
        assert dro.state.alpha_K.tolist() == pytest.approx(expected["weights"], abs=OFFICIAL)
        assert dro.average_weights.tolist() == pytest.approx(expected["avg_weights"], abs=OFFICIAL)
        assert (paper_sum / number).tolist() == pytest.approx(expected["avg_weights_paper"], abs=OFFICIAL)
        assert dro.state.step + 1 == expected["update_counter"]


@pytest.mark.parametrize("name", UPDATE_CASES)
def test_official_with_the_papers_average(name: str) -> None:
    case = UPDATE_CASES[name]
    choices = Choices(
        absent="last",
        unseen_score=math.log(case["vocab_size"]),
        start=case["initial_weights_unnormalised"],
    )
    dro = VariantDRO(case["num_domains"], choices, eta=case["eta"], smoothing=case["smoothing"])
    for step in case["steps"]:
        dro.step(*tensors(step))
        assert dro.average_weights.tolist() == pytest.approx(step["expected"]["avg_weights_paper"], abs=OFFICIAL)


@pytest.mark.parametrize("name", STEP_CASES)
def test_official_token_weights_without_staleness(name: str) -> None:
    case = STEP_CASES[name]
    vocab_size = VECTORS["update_cases"][0]["vocab_size"]
    choices = official(
        case["num_domains"], vocab_size=vocab_size, start=case["initial_weights"], sampling=case["sampling_weights"]
    )
    dro = VariantDRO(case["num_domains"], choices)
    strict = VariantDRO(case["num_domains"], Choices(absent="last", start=case["initial_weights"]))
    for step in case["steps"]:
        loss, *rest = tensors(step)
        loss.requires_grad_()
        returned = dro.step(loss, *rest)
        returned.backward()
        expected = step["independent_formulas"]
        fresh = expected["token_weights_if_all_ranks_and_microbatches_used_new_weights"]
        assert loss.grad.flatten().tolist() == pytest.approx(sum(fresh, []), abs=OFFICIAL)
        assert float(returned.detach()) == pytest.approx(
            step["official"]["returned_loss_by_rank_and_microbatch"][0][0], rel=OFFICIAL
        )
        assert dro.state.alpha_K.tolist() == pytest.approx(
            step["official"]["domain_weights_after_step_by_rank"][0], abs=OFFICIAL
        )
        other = loss.detach().clone().requires_grad_()
        strict.step(other, *rest).backward()
        assert other.grad.flatten().tolist() == pytest.approx(
            sum(expected["token_weights_strict_algorithm1"], []), abs=OFFICIAL
        )


def test_fully_masked_domain_is_absent_not_nan() -> None:
    case = VECTORS["fully_masked_case"]
    choices = official(case["num_domains"], vocab_size=100)
    masked, absent = (
        VariantDRO(case["num_domains"], choices, eta=case["eta"], smoothing=case["smoothing"]) for _ in "ab"
    )
    masked.update(masked.sums(*tensors(case)))
    assert bool(torch.isfinite(masked.state.alpha_K).all())
    loss, reference, mask, domain = tensors(case)
    present = mask.any(dim=1)
    absent.update(absent.sums(loss[present], reference[present], mask[present], domain[present]))
    assert torch.equal(masked.state.alpha_K, absent.state.alpha_K)


@pytest.mark.parametrize(
    ("choices", "alpha_2", "average"),
    [
        (Choices(absent="zero"), [0.266557, 0.350736, 0.382707], [0.265521, 0.340936, 0.393543]),
        (Choices(absent="last"), [0.192134, 0.252781, 0.555085], [0.228310, 0.291959, 0.479731]),
        (
            Choices(absent="zero", average_from=0),
            [0.266557, 0.350736, 0.382707],
            [0.288125, 0.338402, 0.373473],
        ),
        (Choices(absent="zero", clip="domain"), [0.235973, 0.334601, 0.429427], [0.237880, 0.329082, 0.433038]),
    ],
    ids=["row 1: absent scores 0", "row 2: last score", "row 3: with alpha_0", "row 5: clip the mean"],
)
def test_rows_of_the_two_step_fixture(choices: Choices, alpha_2: list[float], average: list[float]) -> None:
    dro = VariantDRO(3, choices)
    for batch in fixture_batches():
        dro.step(*batch)
    assert dro.state.alpha_K.tolist() == pytest.approx(alpha_2, abs=FIXTURE)
    assert dro.average_weights.tolist() == pytest.approx(average, abs=FIXTURE)


def test_default_choices_are_algorithm_1() -> None:
    one, two = GroupDRO(3), VariantDRO(3)
    for batch in fixture_batches():
        assert torch.equal(one.step(*batch), two.step(*batch))
    assert torch.equal(one.average_weights, two.average_weights)


@pytest.mark.parametrize(("excess", "sign"), [("proxy", 1.0), ("minus_reference", -1.0)])
def test_ablations_score_one_loss_only(excess: str, sign: float) -> None:
    loss, reference, mask, domain = fixture_batches()[1]
    dro = VariantDRO(3, Choices(excess=excess, clip="none"))  # type: ignore[arg-type]
    dro.update(dro.sums(loss, reference, mask, domain))
    scored = loss if excess == "proxy" else reference
    expected = [sign * float(scored[domain == i].mean()) for i in (0, 1)]
    assert dro.state.lam_K[:2].tolist() == pytest.approx(expected, abs=FLOAT64)


def test_smoothing_target_and_start() -> None:
    dro = VariantDRO(2, Choices(start=[3, 1], smoothing_target=[1, 3]), smoothing=1.0)
    assert dro.state.alpha_K.tolist() == [0.75, 0.25]
    dro.step(torch.ones(1, 1), torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([0]))
    assert dro.state.alpha_K.tolist() == pytest.approx([0.25, 0.75], abs=FLOAT32)


def test_average_can_leave_out_early_steps() -> None:
    dro = VariantDRO(2, Choices(average_from=3))
    seen = []
    for score in (5.0, 4.0, 1.0, 0.5):
        seen.append(dro.update(torch.tensor([[score, 0.0], [1.0, 1.0]], dtype=torch.float64)))
    assert dro.average_weights.tolist() == pytest.approx(((seen[2] + seen[3]) / 2).tolist(), abs=FLOAT64)


def test_state_dict_resumes_exactly() -> None:
    batches = fixture_batches()
    straight, first, second = (VariantDRO(3, official(3, vocab_size=100)) for _ in range(3))
    for batch in batches * 2:
        straight.step(*batch)
    for batch in batches:
        first.step(*batch)
    second.load_state_dict(first.state_dict())
    for batch in batches:
        second.step(*batch)
    assert torch.equal(second.average_weights, straight.average_weights)


@pytest.mark.parametrize("bad", [{"clip": "sometimes"}, {"absent": None}, {"average_from": -1}])
def test_choices_that_do_not_exist_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Choices(**bad)


@pytest.mark.parametrize("bad", [[1.0], [0.0, 0.0, 0.0], [1.0, -1.0, 1.0], [1.0, math.inf, 1.0]])
def test_weights_that_are_none_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        VariantDRO(3, Choices(start=bad))


def test_constants_stay_on_the_device_once_they_are_there() -> None:
    """Moved at every step they would make the host wait; the meta device stands for one."""
    dro = VariantDRO(3, official(3, vocab_size=50))
    dro.update(torch.ones(2, 3, dtype=torch.float64, device="meta"))
    dro.token_weights(torch.ones(3, dtype=torch.float64, device="meta"))
    assert dro.sampling_K is not None
    assert {t.device.type for t in (dro.target_K, dro.sampling_K, dro.state.alpha_K, dro.state.alpha_sum_K)} == {"meta"}
