"""The graph of a run: which work there is, what needs what, what is the same, and what a setting changes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from doremi.errors import MixtureError, RunError
from doremi.rundir.known import Known
from doremi.rundir.specs import LossesSpec, TrainingSpec
from doremi.rundir.yardstick import remarks
from graphs import config, corpus, finish, finish_all, known, made

FOUND = {"web": 0.2, "code": 0.5, "law": 0.3}


def ids(nodes: object) -> list[str]:
    return [node.id for node in nodes]  # type: ignore[attr-defined]


def test_a_run_in_order() -> None:
    assert ids(made(config()).nodes) == [
        "prepare", "doremi/reference/seed-0", "doremi/proxy/seed-0", "doremi/mixture",
        "0.1m/doremi/seed-0", "0.1m/natural/seed-0", "0.1m/uniform/seed-0",
        "0.1m/doremi/seed-1", "0.1m/natural/seed-1", "0.1m/uniform/seed-1", "0.1m/validation", "verdict",
    ]  # fmt: skip


def test_every_need_is_a_node_before_it() -> None:
    asked = config(
        proxy={"seeds": 2}, rounds={"max": 3}, reference={"losses": "stored"}, downstream={"tasks": "tasks"},
        candidates={"mixtures": ["doremi", "doremi-per-seed", "natural"], "equal_compute": True},
    )  # fmt: skip
    nodes = made(asked).nodes
    assert len({node.id for node in nodes}) == len(nodes)
    for place, node in enumerate(nodes):
        assert set(node.needs) <= set(ids(nodes[:place])), node.id


def test_nothing_has_a_key_before_the_corpus_is_prepared() -> None:
    plan = made(config(), Known())
    assert [plan.key(node) for node in plan.nodes] == [None] * len(plan.nodes)
    assert [node.id for node in plan.nodes if plan.ready(node)] == ["prepare"]
    assert plan.node("0.1m/natural/seed-0").waits == "waits for prepare"


def test_what_is_trained_alike_is_one_piece_of_work() -> None:
    """The reference is natural's first seed; at a budget of one run UniMax is uniform."""
    asked = config(candidates={"mixtures": ["doremi", "natural", "uniform", "unimax"]})
    plan = made(asked)
    assert plan.node("0.1m/natural/seed-0").spec.key == plan.node("doremi/reference/seed-0").spec.key
    assert plan.twin(plan.node("0.1m/unimax/seed-1")) == plan.node("0.1m/uniform/seed-1")
    work = ids(plan.work())
    assert "0.1m/natural/seed-0" not in work
    assert "0.1m/unimax/seed-0" not in work
    assert "0.1m/natural/seed-1" in work


def test_two_names_of_one_mixture_that_is_not_found_yet_are_one_piece_of_work() -> None:
    asked = config(candidates={"mixtures": ["doremi", "doremi-per-seed", "natural"], "seeds": 1})
    plan = made(asked)
    assert plan.node("doremi-per-seed/mixture/seed-0").spec == plan.node("doremi/mixture").spec
    assert "0.1m/doremi-per-seed/seed-0" not in ids(plan.work())
    assert "0.1m/doremi-per-seed/seed-0" not in ids(finish_all(asked).work())


def test_a_main_model_depends_on_its_weights_and_not_on_who_found_them() -> None:
    asked = config()
    plan = finish_all(asked, {"web": 1 / 3, "code": 1 / 3, "law": 1 / 3})
    assert plan.node("0.1m/doremi/seed-1").spec.weights == (1 / 3, 1 / 3, 1 / 3)
    assert plan.node("0.1m/doremi/seed-1").spec.key == plan.node("0.1m/uniform/seed-1").spec.key


def test_models_on_a_found_mixture_wait_for_it() -> None:
    plan = made(config())
    waiting = plan.node("0.1m/doremi/seed-0")
    assert (waiting.spec, waiting.needs) == (None, ("doremi/mixture",))
    assert plan.unfinished(plan.node("doremi/mixture")) == ["doremi/proxy/seed-0"]
    assert plan.unfinished(plan.node("doremi/proxy/seed-0")) == ["doremi/reference/seed-0"]
    done = finish_all(config(), FOUND)
    assert done.node("0.1m/doremi/seed-0").spec.weights == (0.2, 0.5, 0.3)
    assert all(done.done(node) for node in done.nodes if node.kind != "verdict")


def test_another_proxy_makes_another_version_and_leaves_the_rest() -> None:
    one, two = made(config()), made(config(proxy={"seeds": 2}))
    assert one.node("doremi/proxy/seed-0").spec.key == two.node("doremi/proxy/seed-0").spec.key
    assert one.node("doremi/mixture").place != two.node("doremi/mixture").place


def test_kept_losses_are_a_node_of_their_own() -> None:
    plan = made(config(reference={"losses": "stored"}))
    store = plan.node("doremi/losses/seed-0")
    assert isinstance(store.spec, LossesSpec)
    assert store.spec.reference == plan.node("doremi/reference/seed-0").spec.key
    assert plan.node("doremi/proxy/seed-0").needs == ("doremi/reference/seed-0", "doremi/losses/seed-0")
    # 100 steps x 8 x 16 tokens are fewer than the corpus has, a thousand steps are more
    assert "doremi/losses/seed-0" not in ids(made(config()).nodes)
    assert "doremi/losses/seed-0" in ids(made(config(training={"steps": 1000})).nodes)


# -- the reference mixture --------------------------------------------------------------------------------------------


def test_the_reference_mixture_is_trained_whoever_is_asked_for() -> None:
    asked = config(candidates={"mixtures": ["doremi", "uniform"]})
    plan = made(asked)
    assert [one.name for one in plan.candidates] == ["doremi", "uniform", "natural"]
    assert plan.node("0.1m/natural/seed-0").spec == plan.node("doremi/reference/seed-0").spec
    assert "0.1m/natural/seed-1" in ids(plan.work())
    assert remarks(asked, plan) == [
        "natural is trained as a candidate too. It is the reference mixture, which others are compared with."
    ]
    for named in (["doremi", "reference"], ["doremi", "natural"]):
        again = config(candidates={"mixtures": named})
        assert [one.name for one in made(again).candidates] == ["doremi", "natural"]
        assert remarks(again, made(again)) == []


def test_a_reference_mixture_that_breaks_the_limits_is_left_as_it_is() -> None:
    """Natural has 0.6 of web: it is a yardstick, in whatever training, and the others keep the limits."""
    asked = config(
        limits={"max_weight": 0.5}, candidates={"mixtures": ["doremi", "temperature"], "equal_compute": True}
    )
    plan = finish_all(asked)
    weights = {name: plan.node(f"0.1m/{name}/seed-1").spec.weights for name in ("doremi", "natural", "temperature")}
    assert weights["natural"] == (0.6, 0.3, 0.1)
    assert max(weights["doremi"]) <= 0.5
    assert max(weights["temperature"]) <= 0.5
    assert plan.node("0.1m/natural+doremi-search/seed-0").spec.weights == (0.6, 0.3, 0.1)
    assert {one.name: one.allowed for one in plan.candidates} == {
        "doremi": True, "temperature": True, "natural": False,
    }  # fmt: skip
    assert "is never recommended" in " ".join(remarks(asked, plan))
    assert all(one.allowed for one in made(config()).candidates)


def test_a_run_that_could_recommend_nothing_is_refused_before_any_work() -> None:
    limits = {"max_weight": 0.5}
    for mixtures in (["natural"], ["doremi-per-seed"]):
        asked = config(limits=limits, candidates={"mixtures": mixtures, "seeds": 1})
        with pytest.raises(MixtureError, match="limits: the reference mixture natural breaks them, and no other"):
            made(asked)
        made(asked, Known())  # before the corpus is there nobody can know


# -- rounds -----------------------------------------------------------------------------------------------------------


def test_later_rounds_wait_and_may_not_be_needed() -> None:
    plan = made(config(rounds={"max": 3}))
    second = plan.node("doremi/round-2/reference/seed-0")
    assert (second.optional, second.spec, second.waits) == (True, None, "waits for doremi/round-1/mixture")
    assert not plan.node("doremi/round-1/reference/seed-0").optional


def test_rounds_end_when_the_mixture_stays() -> None:
    """Every round finds the same weights: the second changes nothing, so there is no third."""
    plan = finish_all(config(rounds={"max": 3}), FOUND)
    assert [n.round for n in plan.nodes if n.role == "proxy"] == [1, 2]
    assert plan.node("doremi/round-2/reference/seed-0").spec.weights == (0.2, 0.5, 0.3)
    assert plan.node("0.1m/doremi/seed-0").needs == ("doremi/round-2/mixture",)


def test_the_first_of_several_rounds_is_the_only_one_of_before() -> None:
    one, several = made(config()), made(config(rounds={"max": 3}))
    for role in ("reference", "proxy"):
        assert one.node(f"doremi/{role}/seed-0").spec == several.node(f"doremi/round-1/{role}/seed-0").spec
    assert one.node("doremi/mixture").spec == several.node("doremi/round-1/mixture").spec


# -- equal compute ----------------------------------------------------------------------------------------------------


def test_equal_compute_is_known_when_the_search_is_done() -> None:
    asked = config(candidates={"equal_compute": True})
    before = made(asked).node("0.1m/natural+doremi-search/seed-0")
    assert (before.spec, before.waits) == (None, "it is not known yet what the search costs")
    after = finish_all(asked).node("0.1m/natural+doremi-search/seed-0")
    # a reference of 100 steps, and a proxy of 100 steps that cost a third more
    assert after.spec.settings.steps == 100 + math.ceil(100 + 100 * 4 / 3)
    assert after.spec.weights == finish_all(asked).node("0.1m/natural/seed-0").spec.weights


def test_a_search_that_stopped_early_costs_less() -> None:
    asked = config(candidates={"equal_compute": True}, proxy={"stop": "auto"})
    plan = made(asked)
    so_far = finish(plan, plan.node("doremi/reference/seed-0"), plan.node("doremi/proxy/seed-0"))
    key = plan.node("doremi/proxy/seed-0").spec.key
    short = dict(so_far.trained) | {key: type(so_far.trained[key])(60, 60 * 8)}
    longer = made(asked, Known(**{**vars(so_far), "trained": short})).node("0.1m/uniform+doremi-search/seed-1")
    assert longer.spec.settings.steps == 100 + math.ceil(100 + 60 * 4 / 3)


# -- how many held-out documents --------------------------------------------------------------------------------------


def test_the_first_two_seeds_of_the_first_two_candidates_say_how_many_documents_count() -> None:
    asked = config(candidates={"mixtures": ["doremi", "uniform", "natural"], "seeds": 3})
    judge = made(asked).node("0.1m/validation")
    four = tuple(f"0.1m/{name}/seed-{seed}" for name in ("doremi", "uniform") for seed in (0, 1))
    assert (judge.spec, judge.needs, judge.waits) == (None, four, "waits for 0.1m/doremi/seed-0")
    done = finish_all(asked)
    assert done.node("0.1m/validation").spec.trainings == tuple(done.key(done.node(name)) for name in four)
    assert "0.1m/validation" in done.node("verdict").needs
    assert not [node for node in done.nodes if node.kind == "evaluation"]  # the first documents were enough


def test_two_names_of_one_mixture_do_not_say_how_many_documents_count() -> None:
    """UniMax is uniform here. The two differ in nothing, so that they would show no noise."""
    done = finish_all(config(candidates={"mixtures": ["uniform", "unimax", "natural"]}))
    four = tuple(f"0.1m/{name}/seed-{seed}" for name in ("uniform", "natural") for seed in (0, 1))
    assert done.node("0.1m/validation").needs == four
    alike = finish_all(
        config(candidates={"mixtures": ["uniform", "unimax"], "seeds": 2}, reference={"mixture": "uniform"})
    )
    assert not [node for node in alike.nodes if node.kind == "validation"]


def test_more_documents_evaluate_every_model_again_and_train_none() -> None:
    asked = config(candidates={"equal_compute": True})
    more = (20, 64, 30)
    before, after = finish_all(asked), finish_all(asked, part=more)
    asked_again = [node for node in after.nodes if node.kind == "evaluation"]
    judged = [node.id for node in after.nodes if node.role in ("main", "longer")]
    assert [node.id for node in asked_again] == [f"evaluation/{name}" for name in judged]
    assert {node.spec.documents for node in asked_again} == {more}
    assert set(ids(asked_again)) <= set(after.node("verdict").needs)
    trainings = [{after.key(n) for n in plan.nodes if n.kind == "training"} for plan in (before, after)]
    assert trainings[0] == trainings[1]
    assert len({node.place for node in asked_again}) == len({after.node(name).place for name in judged})


def test_without_two_candidates_of_two_seeds_nothing_judges() -> None:
    for candidates in ({"seeds": 1}, {"mixtures": ["natural"], "seeds": 3}):
        plan = finish_all(config(candidates=candidates))
        assert not [node for node in plan.nodes if node.kind in ("validation", "evaluation")]


def test_old_trainings_that_were_evaluated_on_all_documents_are_enough() -> None:
    """What they were evaluated on counts for the rest too, which is evaluated on as much, and never trained again."""
    asked = config(candidates={"mixtures": ["doremi"], "seeds": 1})
    done = finish_all(asked)
    entries = corpus().entries
    hundred = replace(entries["web"].validation, documents=100)
    pool = replace(corpus(), entries={name: replace(one, validation=hundred) for name, one in entries.items()})
    old = {key: replace(one, documents=()) for key, one in done.known.trained.items()}
    assert not [n for n in made(asked, replace(done.known, corpus=pool, trained=old)).nodes if n.kind == "evaluation"]
    key = done.key(done.node("0.1m/natural/seed-0"))
    mixed = old | {key: replace(old[key], documents=(64, 64, 64))}
    left = [n for n in made(asked, replace(done.known, corpus=pool, trained=mixed)).nodes if n.kind == "evaluation"]
    assert [(n.id, n.spec.documents) for n in left] == [("evaluation/0.1m/natural/seed-0", (100, 100, 100))]


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_limits_that_no_mixture_keeps() -> None:
    with pytest.raises(MixtureError):
        made(config(limits={"min_weight": 0.5}))


def test_a_mixture_file_that_is_not_there_is_waited_for() -> None:
    node = made(config(candidates={"mixtures": ["natural", "mine.json"]})).node("0.1m/mine/seed-0")
    assert (node.spec, node.waits) == (None, "mine.json is not there yet")


def test_an_unknown_id_is_told() -> None:
    with pytest.raises(RunError, match=r"no job '0.1m/nature/seed-0'; `doremi jobs` lists them"):
        made(config()).node("0.1m/nature/seed-0")


def test_costs_are_counted_where_models_are() -> None:
    plan = made(config())
    reference = plan.node("doremi/reference/seed-0")
    assert isinstance(reference.spec, TrainingSpec)
    evaluated = 2 * 512  # two evaluations of 189 windows, in a batch of 512 rows
    assert reference.cost.operations == 100 * 8 * 3000 + evaluated * 1000
    proxy = plan.node("doremi/proxy/seed-0")
    assert proxy.cost.operations == 100 * 8 * (3000 + 1000) + evaluated * 1000
    assert plan.node("0.1m/doremi/seed-0").cost == reference.cost  # though its weights are not known
    assert made(config(), known(config(), counts={})).node("doremi/reference/seed-0").cost is None
