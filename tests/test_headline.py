"""The three lines: what to use, how much better it is and by which average, and what would settle the rest."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from doremi.rundir.layout import RunDirectory
from doremi.statistics.needed import Needed
from doremi.verdict import Price, Verdict
from doremi.verdict.headline import _between, headline, noise
from make_run import MadeRun, make_run
from verdicts import verdict_over

EFFECT = {"doremi": -0.02, "natural": 0.0, "uniform": 0.01}
PRICE = Price("runs/demo", 600.0)


@pytest.fixture(scope="module")
def won(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """doremi is better than both plain mixtures on both averages, with three seeds."""
    root = make_run(tmp_path_factory.mktemp("headline") / "demo", MadeRun(effect=EFFECT, seeds=(0, 1, 2)))
    return verdict_over(RunDirectory(root), list(EFFECT))


def failed(verdict: Verdict, relative: float = -0.01, settle: Needed | None = None, **changes: object) -> Verdict:
    """The same with its first claim not proved."""
    first = replace(verdict.claims[0], held=False, relative=relative)
    claims = (first, replace(verdict.claims[1], tested=False, held=False))
    return verdict.model_copy(update={"claims": claims, "settle": settle, **changes})


def recommending(verdict: Verdict, mixture: str, other: str) -> Verdict:
    chosen = replace(verdict.recommendation, mixture=mixture, other_mixture=other)
    return verdict.model_copy(update={"recommendation": chosen})


def test_what_is_proved_leaves_nothing_to_settle(won: Verdict) -> None:
    use, better, settle = headline(won, PRICE)
    assert use == "Use doremi."
    assert better.startswith("By the uniform average it has ")
    assert re.search(
        r" fewer bits per byte than natural, your data as it is\. The range is [\d.]+% to [\d.]+% fewer \(", better
    )
    assert better.endswith(", and the choice is the same.")
    assert settle == "Nothing is left to prove."


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((-0.1243, -0.0788), "7.88% to 12.43% fewer"),
        ((0.001, 0.02), "0.10% to 2.00% more"),
        ((-0.004, 0.0612), "0.40% fewer to 6.12% more"),
    ],
)
def test_a_range_needs_no_signs(ends: tuple[float, float], said: str) -> None:
    assert _between(*ends) == said


def test_which_average_decides_and_what_the_other_says(won: Verdict) -> None:
    _, better, settle = headline(recommending(won, "doremi", "natural"), PRICE)
    assert "By the natural average it has " in better
    assert better.endswith(" fewer), and the choice would be natural.")
    assert settle.endswith("Which average counts is yours to say.")
    _, better, _ = headline(recommending(won, "natural", "natural"), PRICE)
    assert better.startswith("It is your data as it is. By the uniform average doremi has ")
    named = won.model_copy(update={"baseline": "uniform"})
    assert "bits per byte than uniform, the reference." in headline(named, PRICE)[1]


def test_more_seeds_after_one_look_are_a_run_of_their_own(won: Verdict) -> None:
    """Seeds that are added to a verdict of one look prove nothing, so they are not what is advised."""
    settle = headline(failed(won, settle=Needed(0.01, 6, 10, None)), PRICE)[2]
    assert settle == (
        "Not proved: doremi is better than natural. "
        "With these steps, to prove 1 % takes about 6 seeds (80 %: at most 10). A run of its own can do it, "
        "60 min and its search: `doremi run runs/demo --set name=NEW --set seed=3 --set candidates.seeds=6`."
    )
    no_time = headline(failed(won, settle=Needed(0.01, 6, 10, None)), Price("runs/demo"))[2]
    assert "A run of its own can do it and its search" not in no_time
    assert "A run of its own can do it: `doremi run" in no_time


def test_a_plan_goes_on_to_its_next_look(won: Verdict) -> None:
    planned = {"looks": "planned"}
    settle = headline(failed(won, settle=Needed(0.01, 4, 6, None), **planned), PRICE)[2]
    assert settle.endswith("The plan's look at 5 can do it, 20 min: `doremi run runs/demo --until decided`.")
    settle = headline(failed(won, settle=Needed(0.01, 7, 9, None), **planned), PRICE)[2]
    assert "The plan's look at 8 can do it, 50 min" in settle
    settle = headline(failed(won, settle=Needed(0.01, 40, 60, None), **planned), PRICE)[2]
    assert "--until decided`. The plan ends at 12, which may not be enough." in settle
    settle = headline(failed(won, settle=Needed(0.01, 40, 60, None), seeds=tuple(range(12)), **planned), PRICE)[2]
    assert settle.endswith("The plan of 12 seeds is at its end.")


def test_where_seeds_settle_nothing_the_reason_is_told(won: Verdict) -> None:
    assert headline(failed(won, relative=0.03), PRICE)[2].startswith("doremi does not look better than natural.")
    assert "by less than 0.50%, which nobody needs to prove" in headline(failed(won, relative=-0.001), PRICE)[2]
    settle = headline(failed(won, settle=Needed(0.01, None, None, 4.0)), PRICE)[2]
    assert settle == (
        "Not proved: doremi is better than natural. "
        "Seeds alone do not prove 1 %. That takes about 4 times as many validation documents."
    )
    assert "doremi run" not in headline(failed(won, settle=Needed(0.01, None, None, None)), PRICE)[2]
    nobody = won.model_copy(update={"claims": ()})
    assert headline(nobody, PRICE)[2] == "No found mixture is compared, so nothing is to prove."


def test_one_seed_asks_for_more(won: Verdict) -> None:
    rows = tuple(replace(one, interval=None) for one in won.comparisons)
    alone = won.model_copy(update={"seeds": (0,), "comparisons": rows, "noise": None, "settle": None})
    _, better, settle = headline(alone, PRICE)
    assert "One seed gives no range." in better
    assert settle == ("Train at least 3 seeds to know more, 20 min: `doremi run runs/demo --set candidates.seeds=3`.")
    assert noise(alone, PRICE) == ""


def test_the_noise_is_told_with_its_time_and_what_is_not_known(won: Verdict) -> None:
    told = noise(won.model_copy(update={"noise": Needed(0.01, 6, 10, None)}), PRICE)
    assert told.startswith("With these steps, to prove 1 % takes about 6 seeds (80 %: at most 10), 30 min more. ")
    assert told.endswith("What longer training would take is not known: too few trainings show it.")
    enough = noise(won.model_copy(update={"noise": Needed(0.01, 2, 3, None)}), PRICE)
    assert "takes about 2 seeds (80 %: at most 3). There are 3. " in enough
