"""Algorithm 1: a brute-force oracle, hand-computed numbers, invariants, and mutants that must not pass."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import doremi.objectives.dro as dro_module
from doremi.objectives.dro import GroupDRO
from tolerances import FIXTURE, FLOAT32, FLOAT64

# The two-step fixture: rows are sequences of four tokens, domain 2 is absent from the second step.
# Hand check: lambda_1 = (1.0 + 1.2) / 8, 2.0 / 4, 1.4 / 2; lambda_2 = 0.5 / 8, 0.9 / 8.
FIXTURE_STEPS = [
    (
        [0, 0, 1, 2],
        [[3.0, 2.0, 2.5, 1.5], [2.8, 2.2, 2.0, 2.0], [4.0, 3.5, 3.0, 3.5], [5.0, 5.0, 9.0, 9.0]],
        [[2.5, 2.5, 2.0, 2.0], [2.0, 2.6, 2.0, 1.6], [3.0, 3.0, 3.4, 3.0], [4.0, 4.6, 1.0, 1.0]],
        [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]],
    ),
    (
        [0, 1, 1, 0],
        [[2.0, 2.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0], [3.2, 2.8, 3.0, 3.0], [1.8, 2.2, 2.0, 2.0]],
        [[1.8, 2.2, 1.9, 2.1], [2.6, 2.8, 3.2, 3.0], [3.0, 3.0, 2.9, 3.1], [2.0, 2.0, 2.0, 2.0]],
        [[1, 1, 1, 1]] * 4,
    ),
]


def fixture_batches(dtype: torch.dtype = torch.float64) -> list[tuple[torch.Tensor, ...]]:
    return [
        (torch.tensor(p, dtype=dtype), torch.tensor(r, dtype=dtype), torch.tensor(m), torch.tensor(d))
        for d, p, r, m in FIXTURE_STEPS
    ]


def oracle(batches: list, k: int, eta: float, c: float) -> dict:
    """Algorithm 1 in plain loops over Python floats, a token at a time."""
    alpha, total, result = [1 / k] * k, [0.0] * k, {"alpha": [], "loss": [], "lam": []}
    for loss, reference, mask, domain in batches:
        excess, plain, count = [0.0] * k, [0.0] * k, [0] * k
        for row, d in enumerate(domain.tolist()):
            for token in range(loss.shape[1]):
                if mask[row, token]:
                    excess[d] += max(float(loss[row, token]) - float(reference[row, token]), 0.0)
                    plain[d] += float(loss[row, token])
                    count[d] += 1
        present = [i for i in range(k) if count[i]]
        mean = sum(excess[i] / count[i] for i in present) / len(present) if present else 0.0
        lam = [excess[i] / count[i] if count[i] else mean for i in range(k)]
        top = max(math.log(a) + eta * s if a else -math.inf for a, s in zip(alpha, lam, strict=True))
        moved = [a * math.exp(eta * s + (-top)) if a else 0.0 for a, s in zip(alpha, lam, strict=True)]
        alpha = [(1 - c) * m / sum(moved) + c / k for m in moved]
        total = [t + a for t, a in zip(total, alpha, strict=True)]
        result["alpha"].append(alpha)
        result["lam"].append(lam)
        result["loss"].append(sum(alpha[i] * plain[i] / count[i] for i in present))
    result["average"] = [t / len(batches) for t in total]
    return result


@st.composite
def runs(draw: st.DrawFn) -> tuple[int, float, float, list]:
    """K, eta, c and a few batches, with masked tokens and absent domains."""
    k, rows, width = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 1.0, 10.0]))
    batches = []
    for _ in range(draw(st.integers(1, 4))):
        loss, reference = (scale * torch.rand(rows, width, generator=generator, dtype=torch.float64) for _ in "ab")
        mask = torch.rand(rows, width, generator=generator) < draw(st.sampled_from([0.3, 0.8, 1.1]))
        batches.append((loss, reference, mask, torch.randint(0, k, (rows,), generator=generator)))
    eta, smoothing = draw(st.sampled_from([0.0, 0.1, 1.0, 3.0])), draw(st.sampled_from([1e-4, 1e-3, 0.05, 1.0]))
    return k, eta, smoothing, batches


@settings(max_examples=150, deadline=None)
@given(runs())
def test_equals_the_plain_loops(case: tuple[int, float, float, list]) -> None:
    k, eta, smoothing, batches = case
    expected = oracle(batches, k, eta, smoothing)
    dro = GroupDRO(k, eta=eta, smoothing=smoothing)
    for step, batch in enumerate(batches):
        loss = dro.step(*batch)
        assert dro.state.alpha_K.tolist() == pytest.approx(expected["alpha"][step], abs=FLOAT64)
        assert dro.state.lam_K.tolist() == pytest.approx(expected["lam"][step], abs=FLOAT64)
        assert float(loss) == pytest.approx(expected["loss"][step], rel=FLOAT32, abs=FLOAT32)
    assert dro.average_weights.tolist() == pytest.approx(expected["average"], abs=FLOAT64)


def test_two_step_fixture_by_hand() -> None:
    dro = GroupDRO(3)
    first, second = fixture_batches()
    dro.step(*first)
    assert dro.state.lam_K.tolist() == pytest.approx([0.275, 0.5, 0.7], abs=FLOAT64)
    assert dro.state.alpha_K.tolist() == pytest.approx([0.264485, 0.331137, 0.404378], abs=FIXTURE)
    dro.step(*second)
    # the absent domain takes the mean of the scores present, (0.0625 + 0.1125) / 2
    assert dro.state.lam_K.tolist() == pytest.approx([0.0625, 0.1125, 0.0875], abs=FLOAT64)


@pytest.mark.parametrize(
    ("mutant", "alpha_2"),
    [
        ("positive tokens as denominator", [0.315036, 0.375177, 0.309787]),
        ("weights not carried over", [0.334371, 0.351497, 0.314132]),
    ],
)
def test_bugs_of_other_codes_are_not_ours(mutant: str, alpha_2: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows 4 and 6 of the fixture: the mutants reproduce the published numbers, and our code does not."""

    def run() -> list[float]:
        dro = GroupDRO(3)
        for loss, reference, mask, domain in fixture_batches():
            sums = dro.sums(loss, reference, mask, domain)
            if mutant.startswith("positive"):
                positive = torch.where(loss > reference, 1.0, 0.0)
                sums[1] = torch.stack([(positive * mask)[domain == i].sum() for i in range(3)])
            # both published rows score the absent domain 0
            lam = torch.where(sums[1] > 0, sums[0] / sums[1].clamp(min=1), 0.0)
            state = dro_module.initial_state(3) if mutant.startswith("weights") else dro.state
            dro.state = dro_module.update(state, lam, 1.0, 1e-3)
        return dro.state.alpha_K.tolist()

    assert run() == pytest.approx(alpha_2, abs=FIXTURE)
    ours = GroupDRO(3)
    for batch in fixture_batches():
        ours.step(*batch)
    assert max(abs(a - b) for a, b in zip(ours.state.alpha_K.tolist(), alpha_2, strict=True)) > 1e-2


@settings(max_examples=60, deadline=None)
@given(runs())
def test_simplex_and_floor(case: tuple[int, float, float, list]) -> None:
    k, eta, smoothing, batches = case
    dro = GroupDRO(k, eta=eta, smoothing=smoothing)
    for batch in batches:
        dro.step(*batch)
        assert float(dro.state.alpha_K.sum()) == pytest.approx(1, abs=FLOAT64)
        assert float(dro.state.alpha_K.min()) >= smoothing / k - FLOAT64
        assert float(dro.average_weights.sum()) == pytest.approx(1, abs=FLOAT64)


@settings(max_examples=40, deadline=None)
@given(runs(), st.randoms())
def test_permuting_domains_permutes_the_weights(case: tuple[int, float, float, list], random) -> None:
    k, eta, smoothing, batches = case
    order = list(range(k))
    random.shuffle(order)
    permutation = torch.tensor(order)
    one, two = (GroupDRO(k, eta=eta, smoothing=smoothing) for _ in "ab")
    for loss, reference, mask, domain in batches:
        one.step(loss, reference, mask, domain)
        two.step(loss, reference, mask, permutation[domain])
    assert two.average_weights[permutation].tolist() == pytest.approx(one.average_weights.tolist(), abs=FLOAT64)


def test_equal_scores_leave_the_weights_where_they_are() -> None:
    dro = GroupDRO(3, smoothing=0.0)
    dro.update(torch.tensor([[1.0, 2.0, 0.1], [10.0, 10.0, 10.0]], dtype=torch.float64))
    before = dro.state.alpha_K
    dro.update(torch.tensor([[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]], dtype=torch.float64))
    assert dro.state.alpha_K.tolist() == pytest.approx(before.tolist(), abs=FLOAT64)


def test_absent_domain_keeps_its_relative_weight_among_equal_scores() -> None:
    dro = GroupDRO(3, smoothing=0.0)
    dro.update(torch.tensor([[5.0, 5.0, 0.0], [10.0, 10.0, 0.0]], dtype=torch.float64))
    assert dro.state.alpha_K.tolist() == pytest.approx([1 / 3] * 3, abs=FLOAT64)


@pytest.mark.parametrize("value", [1e4, 1e30, 3e38])
def test_huge_losses_do_not_make_nan(value: float) -> None:
    dro = GroupDRO(3)
    batch = fixture_batches(torch.float32)[0]
    dro.step(torch.full((4, 4), value), *batch[1:])
    for step_batch in fixture_batches(torch.float32):
        loss = dro.step(*step_batch)
        assert math.isfinite(float(loss))
    assert bool(torch.isfinite(dro.state.alpha_K).all())
    assert float(dro.state.alpha_K.sum()) == pytest.approx(1, abs=FLOAT64)


def test_fully_masked_batch_changes_nothing_but_smoothing_and_count() -> None:
    dro = GroupDRO(2, smoothing=0.0)
    loss = dro.step(torch.full((2, 3), math.nan), torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 1]))
    assert float(loss) == 0.0
    assert dro.state.alpha_K.tolist() == [0.5, 0.5]
    assert dro.state.step == 1


def test_masked_values_are_never_read() -> None:
    results = []
    for filler in (0.0, math.nan, math.inf):
        dro = GroupDRO(3)
        loss, reference, mask, domain = fixture_batches()[0]
        loss = torch.where(mask.bool(), loss, filler).requires_grad_()
        objective = dro.step(loss, torch.where(mask.bool(), reference, filler), mask, domain)
        objective.backward()
        results.append((objective.item(), dro.state.alpha_K.tolist(), loss.grad.tolist()))
    assert results[0] == results[1] == results[2]


def test_gradient_is_the_unclipped_weighted_loss() -> None:
    """Each token's gradient is alpha_t[i] / n_i, also where the proxy already beats the reference."""
    dro = GroupDRO(3)
    loss, reference, mask, domain = fixture_batches()[0]
    loss.requires_grad_()
    dro.step(loss, reference, mask, domain).backward()
    alpha, count = dro.state.alpha_K, torch.tensor([8.0, 4.0, 2.0], dtype=torch.float64)
    expected = (alpha / count)[domain][:, None] * mask
    assert loss.grad.flatten().tolist() == pytest.approx(expected.flatten().tolist(), abs=FLOAT32)
    assert not alpha.requires_grad


def test_sums_of_micro_batches_add_up() -> None:
    whole, parts = GroupDRO(3), GroupDRO(3)
    loss, reference, mask, domain = fixture_batches()[0]
    whole.step(loss, reference, mask, domain)
    parts.update(sum(parts.sums(loss[i], reference[i], mask[i], domain[i]) for i in (slice(0, 3), slice(3, 4))))
    assert parts.state.alpha_K.tolist() == whole.state.alpha_K.tolist()


def test_float32_input_agrees_with_float64() -> None:
    one, two = GroupDRO(3), GroupDRO(3)
    for a, b in zip(fixture_batches(torch.float32), fixture_batches(torch.float64), strict=True):
        one.step(*a)
        two.step(*b)
    assert one.average_weights.tolist() == pytest.approx(two.average_weights.tolist(), abs=FLOAT32)


def test_a_mask_may_be_of_any_type() -> None:
    mask_BT, domain_B = torch.tensor([[1, 1, 0, 1, 0]] * 4), torch.tensor([0, 1, 2, 0])
    loss_BT = torch.rand(4, 5)
    first, *others = [
        GroupDRO(3).step(loss_BT, loss_BT / 2, mask_BT.to(kind), domain_B)
        for kind in (torch.bool, torch.int64, torch.float32)
    ]
    assert all(torch.equal(first, other) for other in others)


def test_the_file_stays_readable_beside_the_paper() -> None:
    """At most 150 lines; torch, dataclasses and typing only; nothing but the algorithm."""
    source = Path(dro_module.__file__).read_text()
    imports = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert source.count("\n") <= 150
    assert imports == {"__future__", "dataclasses", "typing", "torch"}
