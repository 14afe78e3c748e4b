"""The projection against other solvers, its optimality conditions, and worked examples; refusals word by word."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from doremi.errors import MixtureError
from doremi.mixture.domains import DomainSet, Mixture
from doremi.mixture.limits import Constraints, Group, project
from doremi.mixture.plain import epochs, natural, uniform, unimax
from tolerances import FLOAT64, SOLVER

ABCD = DomainSet("abcd")
HALF = Mixture({"a": 0.5, "b": 0.3, "c": 0.2, "d": 0.0})
TOKENS = {"a": 100, "b": 50, "c": 20, "d": 10}
FOUR = {"max_epochs": dict.fromkeys("abcd", 4), "tokens": TOKENS}


def projected(mixture: Mixture = HALF, **constraints: Any) -> dict[str, float]:
    return dict(project(mixture, ABCD, Constraints(**constraints)).weights)


def divergence(q: Any, p: Any) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(q, p, strict=True) if a > 0)


@st.composite
def problems(draw: st.DrawFn, zeros: bool = False) -> tuple[Mixture, DomainSet, Constraints]:
    """A mixture and limits that some other mixture keeps; limits may be tight on it, and domains fixed."""
    count = draw(st.integers(1, 7))
    names = [f"domain {i}" for i in range(count)]
    weight, share = st.integers(0 if zeros else 1, 50), st.sampled_from([0.0, 0.3, 0.8, 1.0])
    wanted = draw(st.lists(weight, min_size=count, max_size=count).filter(any))
    inside = draw(st.lists(st.integers(0, 50), min_size=count, max_size=count).filter(any))
    x = {name: value / sum(inside) for name, value in zip(names, inside, strict=True)}
    low = {name: x[name] * draw(share) for name in names}
    high = {name: x[name] + (1 - x[name]) * draw(share) for name in names}
    groups = {}
    placed = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))  # 0: in no group
    for number in sorted({*placed} - {0}):
        members = tuple(name for name, at in zip(names, placed, strict=True) if at == number)
        total = min(1.0, math.fsum(x[name] for name in members))
        groups[f"g{number}"] = Group(members, total * draw(share), min(1.0, total + (1 - total) * draw(share)))
    mixture = Mixture(dict(zip(names, wanted, strict=True)))
    return mixture, DomainSet(names), Constraints(low, high, groups)


def arrays(domains: DomainSet, constraints: Constraints) -> tuple[np.ndarray, np.ndarray, list, list]:
    """Lower and upper limits `[K]`, the groups as rows `[G, K]`, and their (lower, upper)."""
    low = np.array([constraints.min_weight.get(name, 0.0) for name in domains])
    high = np.array([constraints.max_weight.get(name, 1.0) for name in domains])
    rows = [np.array([float(name in group.domains) for name in domains]) for group in constraints.groups.values()]
    return low, high, rows, [(group.lower, group.upper) for group in constraints.groups.values()]


def assert_allowed(q: np.ndarray, domains: DomainSet, constraints: Constraints) -> None:
    low, high, rows, ends = arrays(domains, constraints)
    assert np.all(low <= q)
    assert np.all(q <= high)
    assert math.fsum(q) == pytest.approx(1, abs=FLOAT64)
    for row, (least, most) in zip(rows, ends, strict=True):
        assert least - FLOAT64 <= row @ q <= most + FLOAT64


# Worked by hand.


def test_a_maximum_leaves_the_ratios_of_the_rest() -> None:
    assert projected(max_weight={"a": 0.4}) == pytest.approx({"a": 0.4, "b": 0.36, "c": 0.24, "d": 0}, abs=FLOAT64)


def test_what_one_maximum_frees_may_meet_the_next() -> None:
    expected = {"a": 0.4, "b": 0.31, "c": 0.29, "d": 0}
    assert projected(max_weight={"a": 0.4, "b": 0.31}) == pytest.approx(expected, abs=FLOAT64)


def test_minimum_and_fixed_domain() -> None:
    expected = {"a": 0.35, "b": 0.21, "c": 0.44, "d": 0}
    assert projected(min_weight={"c": 0.44}, max_weight={"c": 0.44}) == pytest.approx(expected, abs=FLOAT64)
    assert projected(min_weight={"c": 0.44}) == pytest.approx(expected, abs=FLOAT64)


def test_a_group_total_scales_its_members_alike() -> None:
    fixed = {"g": Group(["a", "b"], 0.4, 0.4)}
    assert projected(groups=fixed) == pytest.approx({"a": 0.25, "b": 0.15, "c": 0.6, "d": 0}, abs=FLOAT64)
    # b may have 0.1 only: the group's 0.4 then takes 0.3 of a
    expected = {"a": 0.3, "b": 0.1, "c": 0.6, "d": 0}
    assert projected(groups=fixed, max_weight={"b": 0.1}) == pytest.approx(expected, abs=FLOAT64)


def test_epochs_are_a_maximum() -> None:
    q = projected(uniform("abcd"), budget_tokens=400, **FOUR)  # c may have 0.2, d 0.1: a and b share the rest
    assert q == pytest.approx({"a": 0.35, "b": 0.35, "c": 0.2, "d": 0.1}, abs=FLOAT64)
    assert max(epochs(Mixture(q), TOKENS, 400).values()) == pytest.approx(4, rel=FLOAT64)


def test_a_zero_weight_gets_its_minimum_exactly() -> None:
    assert projected(min_weight={"d": 0.1}) == pytest.approx({"a": 0.45, "b": 0.27, "c": 0.18, "d": 0.1}, abs=FLOAT64)
    assert projected(min_weight={"d": 0.1})["d"] == 0.1


def test_zero_weights_take_by_their_room_what_the_others_cannot() -> None:
    two = Mixture({"a": 0.5, "b": 0.5, "c": 0, "d": 0})
    # a and b reach 0.5; c and d have room for 0.3 and 0.6 above their minimums of 0.1 and 0, which leave 0.4
    q = projected(two, max_weight={"a": 0.2, "b": 0.3, "c": 0.4, "d": 0.6}, min_weight={"c": 0.1})
    assert q == pytest.approx({"a": 0.2, "b": 0.3, "c": 0.1 + 0.4 / 3, "d": 0.8 / 3}, abs=FLOAT64)
    # only the group's total forces d up
    q = projected(two, groups={"g": Group(["a", "d"], 0.7)}, max_weight={"a": 0.4})
    assert q == pytest.approx({"a": 0.4, "b": 0.3, "c": 0, "d": 0.3}, abs=FLOAT64)


# Against other ways to solve it.


@given(problems())
@settings(max_examples=80, deadline=None)
def test_no_exchange_of_weight_brings_it_nearer(problem: tuple[Mixture, DomainSet, Constraints]) -> None:
    """Boxes and disjoint groups are a laminar family: the optimum is where no exchange between two domains helps."""
    mixture, domains, constraints = problem
    p, q = (np.array(m.aligned(domains)) for m in (mixture, project(mixture, domains, constraints)))
    assert_allowed(q, domains, constraints)
    low, high, rows, ends = arrays(domains, constraints)
    room = 1e-9  # less than that of a limit is at it
    for giver in np.flatnonzero(q > low + room):
        for taker in np.flatnonzero(q < high - room):
            apart = [(row, end) for row, end in zip(rows, ends, strict=True) if row[giver] != row[taker]]
            fits = all(row @ q > least + room if row[giver] else row @ q < most - room for row, (least, most) in apart)
            if fits:
                assert q[taker] / p[taker] >= q[giver] / p[giver] * (1 - 1e-6)


def solve(mixture: Mixture, domains: DomainSet, constraints: Constraints, *, reverse: bool = False) -> Any:
    """The same problem by SciPy's SLSQP; `reverse` minimises KL(p || q) instead. It can stop early and say nothing."""
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed; it is only an oracle here")
    p, tiny = np.array(mixture.aligned(domains)), 1e-12  # tiny keeps logarithms finite
    low, high, rows, ends = arrays(domains, constraints)
    rules = [{"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like}]
    for row, (least, most) in zip(rows, ends, strict=True):
        rules.append({"type": "ineq", "fun": lambda x, r=row, c=least: r @ x - c, "jac": lambda x, r=row: r})
        rules.append({"type": "ineq", "fun": lambda x, r=row, c=most: c - r @ x, "jac": lambda x, r=row: -r})
    cost = {False: lambda x: x @ np.log(x / p), True: lambda x: p @ np.log(p / x)}[reverse]
    slope = {False: lambda x: np.log(x / p) + 1, True: lambda x: -p / x}[reverse]
    return optimize.minimize(
        lambda x: float(cost(np.maximum(x, tiny))),
        np.clip(p, low, high),
        jac=lambda x: slope(np.maximum(x, tiny)),
        bounds=list(zip(low, high, strict=True)),
        constraints=rules,
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )


@given(problems())
@settings(max_examples=40, deadline=None)
def test_a_general_solver_finds_nothing_nearer(problem: tuple[Mixture, DomainSet, Constraints]) -> None:
    mixture, domains, constraints = problem
    solved = solve(mixture, domains, constraints)
    assume(solved.success)
    p, q = (mixture.aligned(domains), project(mixture, domains, constraints).aligned(domains))
    assert divergence(q, p) <= divergence(np.maximum(solved.x, 0), p) + SOLVER**2 * 100


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_general_solver_finds_the_same(seed: int, reverse: bool) -> None:
    """Both directions of the divergence: where no weight is 0 they have the same minimiser."""
    random = np.random.default_rng(seed)
    names = [f"domain {i}" for i in range(12)]
    mixture = Mixture(dict(zip(names, random.dirichlet(np.ones(12)).tolist(), strict=True)))
    groups = {"g": Group(names[:4], 0.45, 0.5), "h": Group(names[4:7], 0.1, 0.12)}
    limits = Constraints(dict.fromkeys(names, 0.02), dict.fromkeys(names, 0.2), groups)
    q = project(mixture, DomainSet(names), limits)
    solved = solve(mixture, DomainSet(names), limits, reverse=reverse)
    if not solved.success:
        pytest.skip(f"the general solver did not converge here: {solved.message}")
    assert q.distance(mixture) > 0.05
    assert list(q.weights.values()) == pytest.approx(solved.x.tolist(), abs=SOLVER)


@given(problems(zeros=True))
@settings(max_examples=40, deadline=None)
def test_zero_weights_get_as_little_as_possible(problem: tuple[Mixture, DomainSet, Constraints]) -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed; it is only an oracle here")
    mixture, domains, constraints = problem
    p, q = (np.array(m.aligned(domains)) for m in (mixture, project(mixture, domains, constraints)))
    assert_allowed(q, domains, constraints)
    low, high, rows, ends = arrays(domains, constraints)
    zero = (p == 0).astype(float)
    slack = 1e-9
    sides = [
        (sign * row, sign * end[k] + slack)
        for row, end in zip(rows, ends, strict=True)
        for k, sign in ((0, -1), (1, 1))
    ]
    least = optimize.linprog(
        zero,
        A_ub=np.array([row for row, _ in sides]) if sides else None,
        b_ub=[end for _, end in sides] if sides else None,
        A_eq=np.ones((1, len(p))),
        b_eq=[1.0],
        bounds=list(zip(low, np.minimum(1, high + slack), strict=True)),
    )
    assert least.status == 0
    assert zero @ q == pytest.approx(least.fun, abs=1e-7)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=8), st.floats(0.01, 1), st.sampled_from([1, 1.7, 4]))
def test_uniform_under_a_cap_on_epochs_is_unimax(counts: list[int], part: float, cap: float) -> None:
    tokens = {f"domain {i}": count for i, count in enumerate(counts)}
    budget = part * cap * sum(counts)
    constraints = Constraints(max_epochs=dict.fromkeys(tokens, cap), tokens=tokens, budget_tokens=budget * (1 - 1e-12))
    q = project(uniform(tokens), DomainSet(tokens), constraints)
    assert q.weights == pytest.approx(dict(unimax(tokens, budget * (1 - 1e-12), cap).weights), rel=1e-9, abs=FLOAT64)


# What holds to the last bit.


def test_an_allowed_mixture_is_returned_as_it_is() -> None:
    assert project(HALF, ABCD, Constraints()) is HALF
    tight = Constraints(min_weight=HALF.weights, max_weight=HALF.weights, groups={"g": Group(["a", "b"], 0.8, 0.8)})
    assert project(HALF, ABCD, tight) is HALF
    full = natural(TOKENS)
    assert project(full, ABCD, Constraints(budget_tokens=720, **FOUR)) is full


@given(problems(zeros=True))
@settings(max_examples=60, deadline=None)
def test_projecting_again_changes_nothing_and_order_has_no_meaning(
    problem: tuple[Mixture, DomainSet, Constraints],
) -> None:
    mixture, domains, constraints = problem
    once = project(mixture, domains, constraints)
    assert project(once, domains, constraints) is once
    backwards = DomainSet(reversed(domains.names))
    other = Constraints(constraints.min_weight, constraints.max_weight, dict(reversed([*constraints.groups.items()])))
    assert dict(project(mixture, backwards, other).weights) == dict(once.weights)
    assert math.fsum(once.weights.values()) == pytest.approx(1, abs=len(domains) * 2**-52)


@pytest.mark.parametrize("count", [3, 7, 10, 22, 49])
def test_where_every_domain_is_at_its_limit_it_has_that_limit(count: int) -> None:
    names = [f"domain {i}" for i in range(count)]
    mixture = Mixture({name: i + 1.0 for i, name in enumerate(names)})
    even = dict.fromkeys(names, 1 / count)  # sums to 1 to rounding only, above or below
    fixed = Constraints(min_weight=even, max_weight=even)
    assert dict(project(mixture, DomainSet(names), fixed).weights) == even


def test_decimals_are_taken_as_written() -> None:
    # in binary 0.1 + 0.2 + 0.7 is below 1, and 1.7 x 10 below 17
    tenths = {"a": 0.1, "b": 0.2, "c": 0.7, "d": 0.0}
    assert projected(max_weight=tenths) == tenths
    with pytest.raises(MixtureError, match="largest feasible budget is 17 tokens"):
        projected(max_epochs={"a": 1.7}, tokens={"a": 10}, budget_tokens=18, min_weight={"a": 1})


def test_limits_that_cross_by_rounding_only_are_kept() -> None:
    seven = {"tokens": {"a": 5, "d": 5}, "budget_tokens": 7}  # 5 / 7 as a float is above five sevenths
    assert projected(min_weight={"a": 5 / 7}, max_epochs={"a": 1}, **seven)["a"] == 5 / 7
    assert projected(min_weight={"d": 5 / 7}, max_epochs={"d": 1}, **seven)["d"] == 5 / 7
    assert (
        projected(max_epochs={"a": 1}, groups={"g": Group(["a", "d"], 5 / 7)}, max_weight={"d": 0}, **seven)["a"]
        == 5 / 7
    )


def test_numpy_and_great_integers_are_numbers() -> None:
    limits: dict[str, Any] = {"a": np.float64(0.4)}
    assert projected(max_weight=limits)["a"] == 0.4
    q = projected(max_epochs={"a": 1}, tokens={"a": np.int64(4 * 10**17)}, budget_tokens=10**18)
    assert q["a"] == 0.4


# The largest feasible budget.


@pytest.mark.parametrize(
    ("limits", "budget"),
    [
        ({}, 720),
        ({"max_weight": {"a": 0.4}}, 533),  # b, c, d: 320 tokens are 0.6 of it
        ({"min_weight": {"d": 0.06}}, 666),  # d: 40 tokens are 0.06 of it
        ({"min_weight": {"b": 0.3}, "max_weight": {"b": 0.3}}, 666),  # b fixed: 200 tokens are 0.3 of it
        ({"groups": {"g": Group(["c", "d"], 0.25)}}, 480),  # c and d: 120 tokens are 0.25 of it
        ({"groups": {"g": Group(["a", "b"], 0, 0.75)}}, 480),  # the same from the other side
        ({"groups": {"g": Group(["a", "b"], 0, 0.75), "h": Group(["c", "d"], 0.0, 0.3)}}, 480),
        ({"max_epochs": {"b": 4, "c": 4, "d": 4}, "max_weight": {"a": 0.2}}, 400),  # a has no cap
        ({"max_epochs": {"b": 4, "c": 4, "d": 4}, "groups": {"g": Group(["a", "b"], 0, 0.8)}}, 600),  # a fills g
    ],
)
def test_the_largest_feasible_budget_by_hand(limits: dict[str, Any], budget: int) -> None:
    with pytest.raises(MixtureError, match=f"largest feasible budget is {budget} tokens. Lower") as error:
        projected(**{**FOUR, **limits}, budget_tokens=10**6)
    assert "a budget of 1000000 tokens is too large: " in str(error.value)
    projected(**{**FOUR, **limits}, budget_tokens=budget)
    with pytest.raises(MixtureError, match=f"largest feasible budget is {budget} tokens"):
        projected(**{**FOUR, **limits}, budget_tokens=budget + 1)


@given(problems(), st.data())
@settings(max_examples=50, deadline=None)
def test_the_largest_feasible_budget(problem: tuple[Mixture, DomainSet, Constraints], data: st.DataObject) -> None:
    mixture, domains, free = problem
    capped = data.draw(st.lists(st.sampled_from(domains.names), min_size=1, unique=True))
    tokens = {name: data.draw(st.integers(10, 10**6)) for name in domains}
    caps = {name: data.draw(st.sampled_from([0.5, 1, 1.7, 4])) for name in capped}

    def at(budget: float) -> Mixture:
        limits = Constraints(free.min_weight, free.max_weight, free.groups, caps, tokens, budget)
        q = project(mixture, domains, limits)
        assert_allowed(np.array(q.aligned(domains)), domains, free)
        assert all(q[name] <= cap * tokens[name] / budget * (1 + FLOAT64) for name, cap in caps.items())
        return q

    try:
        at(1e12)
    except MixtureError as error:
        stated = re.search(r"largest feasible budget is (\d+) tokens", str(error))
    else:
        return  # these domains can be left out
    assert stated is not None
    largest = int(stated[1])
    if largest:
        at(largest)
    with pytest.raises(MixtureError, match=f"largest feasible budget is {largest} tokens"):
        at(largest + 2)  # not + 1: this problem's own limits are rounded
    rate = smallest_rate(domains, free, {name: cap * tokens[name] for name, cap in caps.items()})
    assert 1 / rate == pytest.approx(largest, rel=1e-6, abs=1.001)


def smallest_rate(domains: DomainSet, free: Constraints, supply: dict[str, float]) -> float:
    """The smallest 1 / budget by linear programming, over (weights, rate)."""
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed; it is only an oracle here")
    low, high, rows, ends = arrays(domains, free)
    scale = max(supply.values())  # the rate in units that are near 1
    upper = [([*np.eye(len(low))[domains.index(n)], -s / scale], 0.0) for n, s in supply.items()]
    for row, (least, most) in zip(rows, ends, strict=True):
        upper += [([*row, 0.0], most), ([*-row, 0.0], -least)]
    bounds = [*zip(low, high, strict=True), (0, None)]
    whole = [[1.0] * len(low) + [0.0]]
    cost, sides = [0.0] * len(low) + [1.0], [side + 1e-12 for _, side in upper]
    solved = optimize.linprog(cost, [row for row, _ in upper], sides, whole, [1.0], bounds)
    assume(solved.status == 0)
    return solved.fun / scale


def test_a_budget_below_one_token() -> None:
    with pytest.raises(MixtureError, match="largest feasible budget is 0 tokens"):
        projected(max_epochs={"a": 0.5}, tokens={"a": 1}, budget_tokens=1, min_weight={"a": 0.6})


# Refusals.


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (
            {"min_weight": {"a": 0.6, "b": 0.6}},
            "the mixture can have 1 but its domains need 1.2: domain 'a' at least 0.6, domain 'b' at least 0.6",
        ),
        (
            {"max_weight": dict.fromkeys("abc", 0.2) | {"d": 0.1}},
            "the mixture needs 1 but its domains reach 0.7: "
            "domain 'a' at most 0.2, domain 'b' at most 0.2, domain 'c' at most 0.2, domain 'd' at most 0.1",
        ),
        ({"min_weight": {"a": 0.6}, "max_weight": {"a": 0.5}}, "domain 'a' needs 0.6 but can have at most 0.5"),
        ({"groups": {"g": Group(["a", "b"], 0.5, 0.4)}}, "group 'g' needs 0.5 but can have at most 0.4"),
        (
            {"groups": {"g": Group(["a", "b"], 0.5)}, "max_weight": {"a": 0.1, "b": 0.1}},
            "group 'g' needs 0.5 but its domains reach 0.2: domain 'a' at most 0.1, domain 'b' at most 0.1",
        ),
        (
            {"groups": {"g": Group(["a", "b"], 0, 0.3)}, "min_weight": {"a": 0.2, "b": 0.2}},
            "group 'g' can have 0.3 but its domains need 0.4: domain 'a' at least 0.2, domain 'b' at least 0.2",
        ),
        (
            {"groups": {"g": Group(["a", "b"], 0, 0.3)}, "max_weight": {"c": 0.2, "d": 0.2}},
            "the mixture needs 1 but its domains reach 0.7: "
            "group 'g' at most 0.3, domain 'c' at most 0.2, domain 'd' at most 0.2",
        ),
        (
            {"groups": {"g": Group(["a", "b"], 0.8)}, "min_weight": {"c": 0.3}},
            "the mixture can have 1 but its domains need 1.1: group 'g' at least 0.8, domain 'c' at least 0.3",
        ),
    ],
)
def test_limits_in_conflict_are_named(limits: dict[str, Any], says: str) -> None:
    with pytest.raises(MixtureError) as error:
        projected(**limits)
    assert str(error.value) == f"no mixture keeps all limits: {says}. Loosen one of these"
    with pytest.raises(MixtureError) as error:  # no budget is stated where none would help
        projected(**{**FOUR, **limits}, budget_tokens=10**6)
    assert str(error.value) == f"no mixture keeps all limits: {says}. Loosen one of these"


def test_a_budget_that_is_too_large_is_one_line() -> None:
    with pytest.raises(MixtureError) as error:
        projected(budget_tokens=800, **FOUR)
    assert str(error.value) == (
        "a budget of 800 tokens is too large: the mixture needs 1 but its domains reach 0.9: domain 'a' at most 0.5 "
        "(4 epochs of 100 tokens), domain 'b' at most 0.25 (4 epochs of 50 tokens), domain 'c' at most 0.1 (4 epochs "
        "of 20 tokens), domain 'd' at most 0.05 (4 epochs of 10 tokens). The largest feasible budget is 720 tokens. "
        "Lower the budget, allow more epochs or loosen one of these"
    )
    with pytest.raises(
        MixtureError, match=r"domain 'd' needs 0\.1 but can have at most 0\.05 \(4 epochs of 10 tokens\)\."
    ):
        projected(budget_tokens=800, min_weight={"d": 0.1}, **FOUR)


def test_a_long_list_is_cut() -> None:
    names = [f"n{i}" for i in range(22)]
    with pytest.raises(MixtureError, match=r"domain 'n3' at most 0\.01 and 18 more\."):
        project(uniform(names), DomainSet(names), Constraints(max_weight=dict.fromkeys(names, 0.01)))


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, "much", True, None])
def test_a_weight_out_of_range_is_named(value: Any) -> None:
    says = "between 0 and 1|not a number"
    with pytest.raises(MixtureError, match=f"min_weight of domain 'a' is .*({says})"):
        Constraints(min_weight={"a": value})
    with pytest.raises(MixtureError, match=f"max_weight of domain 'a' is .*({says})"):
        Constraints(max_weight={"a": value})
    with pytest.raises(MixtureError, match=f"the lower total of group 'g' is .*({says})"):
        Constraints(groups={"g": Group(["a"], lower=value)})
    with pytest.raises(MixtureError, match=f"the upper total of group 'g' is .*({says})"):
        Constraints(groups={"g": Group(["a"], upper=value)})


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "many", False])
def test_a_count_out_of_range_is_named(value: Any) -> None:
    says = "finite and above 0|not a number"
    with pytest.raises(MixtureError, match=f"max_epochs of domain 'a' is .*({says})"):
        Constraints(max_epochs={"a": value}, tokens={"a": 1}, budget_tokens=1)
    with pytest.raises(MixtureError, match=f"tokens of domain 'a' is .*({says})"):
        Constraints(tokens={"a": value})
    with pytest.raises(MixtureError, match=f"budget_tokens is .*({says})"):
        Constraints(budget_tokens=value)


def test_what_epochs_and_groups_need() -> None:
    with pytest.raises(MixtureError, match="max_epochs needs budget_tokens"):
        Constraints(max_epochs={"a": 4}, tokens={"a": 1})
    with pytest.raises(MixtureError, match="max_epochs of domain 'a' needs its token count"):
        Constraints(max_epochs={"a": 4}, tokens={"b": 1}, budget_tokens=1)
    with pytest.raises(MixtureError, match="domain 'b' is in group 'g' and again in 'h'"):
        Constraints(groups={"g": Group(["a", "b"]), "h": Group(["b"])})
    with pytest.raises(MixtureError, match="group 'g' has no domains"):
        Constraints(groups={"g": Group([])})


@pytest.mark.parametrize("key", ["min_weight", "max_weight", "max_epochs", "tokens", "groups"])
def test_unknown_domains_are_named(key: str) -> None:
    limits: dict[str, Any] = {"tokens": {"z": 1}, "budget_tokens": 1} if key == "max_epochs" else {}
    limits[key] = {"g": Group(["a", "z"])} if key == "groups" else {"z": 1}
    with pytest.raises(MixtureError, match="names 'z', which is not a domain here: use a, b, c, d"):
        projected(**limits)
    with pytest.raises(MixtureError, match="no weight for domain 'd'"):
        project(Mixture({"a": 1, "b": 1, "c": 1}), ABCD, Constraints())
