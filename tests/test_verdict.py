"""The verdict on made-up runs with planted answers: outcomes, choice, steps to baseline, the file, the table."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doremi.corpus.value import Corpus
from doremi.errors import ConfigError, DamageError, DataError, RunError
from doremi.rundir.layout import RunDirectory
from doremi.verdict import Verdict, format_table, write_verdict
from make_run import MadeRun, make_run
from tolerances import FLOAT64
from verdicts import candidates, verdict_over

NAMES = ("doremi", "natural", "uniform")
FORMATS = Path(__file__).resolve().parents[1] / "docs" / "formats.md"


def run_of(folder: Path, **made: Any) -> RunDirectory:
    return RunDirectory(make_run(folder / "run", MadeRun(**{"seeds": (0, 1, 2, 3), **made})))


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The run with the defaults, for tests that only read."""
    return run_of(tmp_path_factory.mktemp("verdict"))


def verdict_of(run: RunDirectory, **options: Any) -> dict[str, Any]:
    """As it is written."""
    return verdict_over(run, **{"names": NAMES, **options}).values()


def table_of(verdict: dict[str, Any]) -> str:
    return format_table(Verdict.model_validate(verdict))


def found(verdict: dict[str, Any], candidate: str, opponent: str, target: str = "uniform") -> dict[str, Any]:
    wanted = (candidate, opponent, target)
    return next(c for c in verdict["comparisons"] if (c["candidate"], c["opponent"], c["target"]) == wanted)


def scale_documents(run: RunDirectory, name: str, factor: Callable[[bool], float]) -> None:
    """Multiply the nats of all runs of `name`: `factor(report)` for each document."""
    corpus = Corpus.read(run.corpus_folder)
    report = np.concatenate([corpus.validation_documents(domain)["report"] for domain in corpus.domains])
    for seed in (0, 1, 2, 3):
        path = run.main("tiny", name, seed).folder / "evaluation.documents.f64"
        (np.fromfile(path, "<f8") * np.where(report, factor(True), factor(False))).tofile(path)


# -- planted answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "noise", "expected"),
    [(-0.02, 1e-3, "win"), (0.02, 1e-3, "loss"), (0.0, 1e-4, "tie"), (-0.003, 0.01, "undecided")],
)
def test_the_planted_outcome_is_found(tmp_path: Path, effect: float, noise: float, expected: str):
    run = run_of(tmp_path, effect={"doremi": effect, "natural": 0.0, "uniform": 0.01}, noise=noise)
    verdict = verdict_of(run)
    for target in ("uniform", "natural"):
        one = found(verdict, "doremi", "natural", target)
        assert one["outcome"] == expected
        assert one["interval"][0] < one["difference"] < one["interval"][1]
        assert one["relative"] == pytest.approx(effect, abs=3 * noise)
    chosen = verdict["recommendation"]
    assert chosen["mixture"] == ("doremi" if expected == "win" else "natural")
    assert chosen["outcome"] == {"loss": "win"}.get(expected, expected)
    assert "doremi" in chosen["reason"]  # the rival of a plain one, even if another plain one comes between
    assert ("doremi" in chosen["tied_with"]) == (expected in ("tie", "undecided"))
    assert (chosen["seeds_to_decide"] is not None) == (expected == "undecided")


def test_a_domain_that_gets_worse_is_named_although_the_mean_wins(tmp_path: Path):
    run = run_of(tmp_path)
    corpus = Corpus.read(run.corpus_folder)
    start, end = np.cumsum([0, *corpus.count("validation", "documents")])[1:3]
    for seed in (0, 1, 2, 3):
        path = run.main("tiny", "doremi", seed).folder / "evaluation.documents.f64"
        nats = np.fromfile(path, "<f8")
        nats[start:end] *= 1.04  # two per cent better everywhere else
        nats.tofile(path)
    verdict = verdict_of(run)
    domains = {
        one["domain"]: one["outcome"]
        for one in verdict["domain_comparisons"]
        if (one["candidate"], one["opponent"]) == ("doremi", "natural")
    }
    assert domains == {"web": "win", "code": "loss", "Wikipedia (en)": "win"}
    doremi = verdict["candidates"][0]
    assert doremi["worst_regret"]["domain"] == "code"
    assert doremi["worst_regret"]["bits_per_byte"] == pytest.approx(0.02 * doremi["bits_per_byte"][1], rel=0.2)
    assert doremi["domains_better_than_reference"] == 2
    assert verdict["candidates"][1]["worst_regret"]["bits_per_byte"] == 0


def test_one_seed_is_undecided(tmp_path: Path):
    verdict = verdict_of(run_of(tmp_path, seeds=(0,)))
    assert {c["outcome"] for c in verdict["comparisons"] + verdict["domain_comparisons"]} == {"undecided"}
    assert {str(c[key]) for c in verdict["comparisons"] for key in ("interval", "p_value", "p_adjusted")} == {"None"}
    chosen = verdict["recommendation"]
    assert (chosen["mixture"], chosen["outcome"], chosen["seeds_to_decide"]) == ("natural", "undecided", None)
    assert chosen["tied_with"] == ["doremi", "uniform"]
    assert "at least 3 seeds" in chosen["reason"]
    json.dumps(verdict, allow_nan=False)


def test_swapping_names_flips_outcomes_and_never_helps_a_name(tmp_path: Path):
    run = run_of(tmp_path, effect={"doremi": -0.02, "natural": 0.0, "uniform": 0.01})
    before = verdict_of(run)
    doremi, natural, uniform = candidates(run, NAMES)
    turned = [
        replace(doremi, trainings=uniform.trainings, records=uniform.records),
        natural,
        replace(uniform, trainings=doremi.trainings, records=doremi.records),
    ]
    after = verdict_of(run, candidates=turned)
    first, second = found(before, "doremi", "uniform"), found(after, "doremi", "uniform")
    assert (first["outcome"], second["outcome"]) == ("win", "loss")
    assert second["difference"] == pytest.approx(-first["difference"])
    assert (before["recommendation"]["mixture"], after["recommendation"]["mixture"]) == ("doremi", "uniform")


def test_every_pair_is_compared_once_with_the_opponents_behind(tmp_path: Path):
    effect = {"doremi": 0.0, "unimax": 0.002, "natural": 0.01, "uniform": -0.01, "skewed": 0.02}
    run = run_of(tmp_path, effect=effect, seeds=(0, 1))
    verdict = verdict_of(run, names=list(effect), reference="skewed")
    pairs = [(c["candidate"], c["opponent"]) for c in verdict["comparisons"] if c["target"] == "natural"]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 10
    assert {p for p in pairs if "natural" in p} == {(n, "natural") for n in effect if n != "natural"}
    assert {("doremi", "skewed"), ("unimax", "skewed"), ("uniform", "skewed")} <= set(pairs)
    assert {("doremi", "uniform"), ("unimax", "uniform"), ("doremi", "unimax")} <= set(pairs)
    assert len(verdict["domain_comparisons"]) == 10 * 3


# -- select chooses, report shows ------------------------------------------------------------------------------------


def test_the_choice_follows_select_where_report_disagrees(tmp_path: Path):
    run = run_of(tmp_path, effect={"doremi": 0.0, "natural": 0.0, "uniform": 0.05}, noise=1e-4)
    scale_documents(run, "doremi", lambda report: 1.03 if report else 0.97)
    verdict = verdict_of(run)
    assert found(verdict, "doremi", "natural")["outcome"] == "loss"
    chosen = verdict["recommendation"]
    assert (chosen["mixture"], chosen["outcome"]) == ("doremi", "win")
    assert "more bits per byte (loss)" in chosen["reason"]
    scale_documents(run, "doremi", lambda report: 0.9 if report else 1.1)
    verdict = verdict_of(run)
    assert found(verdict, "doremi", "natural")["outcome"] == "win"
    assert verdict["recommendation"]["mixture"] == "natural"


def test_report_documents_change_nothing_that_is_chosen(tmp_path: Path):
    run = run_of(tmp_path, effect={"doremi": 0.0, "natural": 0.001, "uniform": 0.0}, noise=0.01)
    before = verdict_of(run)
    for name, factor in (("doremi", 0.8), ("uniform", 1.3)):
        scale_documents(run, name, lambda report, factor=factor: factor if report else 1.0)
    after = verdict_of(run)
    assert after["comparisons"] != before["comparisons"]
    for verdict in (before, after):
        verdict["recommendation"]["reason"] = verdict["recommendation"]["reason"].split("On the report")[0]
    assert after["recommendation"] == before["recommendation"]


def test_the_best_plain_mixture_is_chosen_on_select_and_on_the_target(tmp_path: Path):
    run = run_of(tmp_path, effect={"doremi": 0.1, "natural": 0.0, "uniform": 0.0}, noise=1e-4)
    scale_documents(run, "uniform", lambda report: 1.02 if report else 0.98)
    verdict = verdict_of(run)
    assert verdict["recommendation"]["mixture"] == "uniform"
    assert found(verdict, "uniform", "natural")["outcome"] == "loss"


# -- numbers of a candidate ------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_evaluation_on_report(default_run: RunDirectory):
    verdict = verdict_of(default_run)
    weights = np.array(verdict["natural_weights"])
    assert weights == pytest.approx(
        np.array(default_run.corpus().count("train", "tokens")) / sum(default_run.corpus().count("train", "tokens"))
    )
    for entry in verdict["candidates"]:
        saved = [default_run.main("tiny", entry["name"], seed).evaluation()["report"] for seed in (0, 1, 2, 3)]
        loss = np.mean([s["loss"] for s in saved], axis=0)
        bits = np.mean([s["bits_per_byte"] for s in saved], axis=0)
        assert entry["loss"] == pytest.approx(loss)
        assert entry["bits_per_byte"] == pytest.approx(bits)
        assert entry["perplexity"] == pytest.approx(np.exp(loss))
        assert entry["mean"]["uniform"] == pytest.approx({"bits_per_byte": bits.mean(), "loss": loss.mean()})
        assert entry["mean"]["natural"] == pytest.approx({"bits_per_byte": bits @ weights, "loss": loss @ weights})
        worst = int(np.argmax(bits))
        expected = {"domain": verdict["domains"][worst], "bits_per_byte": bits[worst], "loss": loss[worst]}
        assert entry["worst"] == {key: pytest.approx(value) for key, value in expected.items()}
    difference = found(verdict, "doremi", "natural")["difference"]
    means = [c["mean"]["uniform"]["bits_per_byte"] for c in verdict["candidates"]]
    assert difference == pytest.approx(means[0] - means[1], rel=1e-6)


def test_weights_and_epochs(default_run: RunDirectory):
    verdict = verdict_of(default_run)
    consumed = np.array(default_run.main("tiny", "uniform", 0).stage()["consumed_tokens"])
    uniform = verdict["candidates"][2]
    assert uniform["weights"] == pytest.approx([1 / 3] * 3)
    assert uniform["epochs"] == pytest.approx(consumed / default_run.corpus().count("train", "tokens"))
    assert verdict["tokens"] == default_run.main("tiny", "uniform", 0).stage()["tokens"]


def test_natural_shares_count_the_passes_of_the_configuration(tmp_path: Path):
    run = run_of(tmp_path)
    with (run.root / "config.yaml").open("a") as file:
        file.write("data: {domains: {web: {train: [w]}, code: {train: [c], epochs: 2.5}}}\n")
    tokens = np.array(run.corpus().count("train", "tokens")) * [1, 2.5, 1]
    assert verdict_of(run)["natural_weights"] == pytest.approx(tokens / tokens.sum())


# -- steps to baseline -----------------------------------------------------------------------------------------------


def test_steps_of_a_run_are_against_naturals_final_mean(tmp_path: Path):
    run = run_of(tmp_path, effect={"doremi": -0.1, "natural": 0.0, "uniform": 0.1}, noise=0.0)
    doremi, natural, uniform = (c["steps_to_baseline"] for c in verdict_of(run)["candidates"])
    assert (natural["step"], natural["speedup"], natural["of"]) == (40, 1.0, 40)
    # final x (1 + 2 e^(-4 t / 40) - 2 e^-4) at 20 and 30, on the line between them where 0.9 of it is 1
    high, low = (0.9 * (1 + 2 * math.exp(-t / 10) - 2 * math.exp(-4)) for t in (20, 30))
    assert doremi["step"] == pytest.approx(20 + 10 * (high - 1) / (high - low))
    assert doremi["speedup"] == pytest.approx(40 / doremi["step"])
    assert uniform == {"reached": False, "step": None, "of": 40, "speedup": None}


# -- baseline, reference, errors -------------------------------------------------------------------------------------


def test_the_reference_mixture_stands_in_for_natural(default_run: RunDirectory):
    verdict = verdict_of(default_run, names=["doremi", "uniform"], reference="uniform")
    assert [(c["candidate"], c["opponent"]) for c in verdict["comparisons"]] == [("doremi", "uniform")] * 2
    assert verdict["candidates"][1]["worst_regret"]["bits_per_byte"] == 0
    assert verdict["candidates"][1]["steps_to_baseline"]["speedup"] == 1
    with pytest.raises(RunError, match=r"neither 'natural' nor the reference mixture is among the candidates"):
        verdict_of(default_run, names=["doremi", "uniform"], reference="skewed")


def test_a_reference_that_is_no_candidate_is_not_counted_against(default_run: RunDirectory):
    verdict = verdict_of(default_run, reference="skewed")
    assert [c["domains_better_than_reference"] for c in verdict["candidates"]] == [None] * 3
    assert verdict["reference_mixture"] == "skewed"
    table_of(verdict)


def test_plain_mixtures_alone(tmp_path: Path):
    effect = {"skewed": 0.03, "natural": 0.0, "uniform": 0.01}
    chosen = verdict_of(run_of(tmp_path, effect=effect), names=list(effect))["recommendation"]
    assert (chosen["mixture"], chosen["outcome"]) == ("natural", "win")
    assert "beats uniform" in chosen["reason"]  # the second best, not the worst


def test_one_candidate_alone(default_run: RunDirectory):
    alone = verdict_of(default_run, names=["natural"])
    assert (alone["comparisons"], alone["domain_comparisons"]) == ([], [])
    assert (alone["recommendation"]["mixture"], alone["recommendation"]["outcome"]) == ("natural", "undecided")
    assert "nothing to compare" in table_of(alone)


def test_a_missing_candidate_is_named_with_the_command(tmp_path: Path):
    run = run_of(tmp_path)
    (run.root / "main/tiny/uniform/seed-2/stage.json").unlink()
    with pytest.raises(RunError, match=r"uniform.seed-2: mixture 'uniform'.* doremi run .*run$"):
        verdict_of(run)
    verdict_of(run, seeds=[0, 1, 3])


def test_unequal_lengths_are_not_compared(tmp_path: Path):
    run = run_of(tmp_path)
    path = run.root / "main/tiny/doremi/seed-3/stage.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokens": 1}))
    with pytest.raises(RunError, match=r"doremi.seed-3: was trained on 1 tokens"):
        verdict_of(run)


@pytest.mark.parametrize("harm", ["nan", "short", "long", "gone"])
def test_damaged_losses_are_named(tmp_path: Path, harm: str):
    run = run_of(tmp_path)
    path = run.root / "main/tiny/uniform/seed-1/evaluation.documents.f64"
    nats = np.fromfile(path, "<f8")
    path.unlink()
    if harm != "gone":
        {"nan": np.append(nats[1:], math.nan), "short": nats[:-1], "long": np.append(nats, 1.0)}[harm].tofile(path)
    with pytest.raises(DamageError, match=r"uniform.seed-1.evaluation\.documents\.f64.*run again") as error:
        verdict_of(run)
    assert "\n" not in str(error.value)


def test_a_domain_without_report_documents_is_named(tmp_path: Path):
    run = run_of(tmp_path)
    path = run.corpus_folder / "code" / "validation.documents"
    records = np.fromfile(path, "<u4").reshape(-1, 2)
    records[:, 1] = 0
    records.tofile(path)
    with pytest.raises(DataError, match=r"'code' has no validation text in its 'report' half"):
        verdict_of(run)


def test_corpus_and_losses_must_agree_on_documents(tmp_path: Path):
    run = run_of(tmp_path)
    path = run.corpus_folder / "code" / "validation.documents"
    np.fromfile(path, "<u4")[:-2].tofile(path)
    with pytest.raises(DamageError, match=r"code.validation\.documents"):
        verdict_of(run)


def test_runs_without_a_common_evaluation_are_damaged(tmp_path: Path):
    run = run_of(tmp_path)
    path = run.root / "main/tiny/doremi/seed-0/metrics.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if '"evaluation"' not in line))
    with pytest.raises(DamageError, match=r"metrics\.jsonl"):
        verdict_of(run)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, "no seed"),
        ({"seeds": [1, 0, 1]}, "seed 1 is named twice"),
        ({"names": ["natural", "natural"]}, "mixture 'natural' is named twice"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": math.nan}, "confidence"),
        ({"margin": -0.1}, "margin"),
        ({"margin": math.nan}, "margin"),
        ({"target": "worst"}, "target is 'worst'"),
    ],
)
def test_impossible_arguments(default_run: RunDirectory, options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        verdict_of(default_run, **options)


# -- worst domains and ranks -----------------------------------------------------------------------------------------


def worst_of(verdict: dict[str, Any], candidate: str, opponent: str) -> dict[str, Any]:
    wanted = (candidate, opponent)
    return next(c for c in verdict["worst_comparisons"] if (c["candidate"], c["opponent"]) == wanted)


def test_worst_domains_are_compared_with_intervals(default_run: RunDirectory):
    verdict = verdict_of(default_run)
    bits = {c["name"]: np.array(c["bits_per_byte"]) for c in verdict["candidates"]}
    held = worst_of(verdict, "doremi", "natural")
    assert held["loss"]["difference"] == pytest.approx(bits["doremi"].max() - bits["natural"].max())
    low, high = held["loss"]["interval"]
    assert low < held["loss"]["difference"] < high
    assert held["loss"]["outcome"] == ("win" if high < 0 else "loss" if low > 0 else "undecided")
    regret = bits["doremi"] - bits["natural"]
    assert held["regret"]["difference"] == pytest.approx(regret.max())
    assert held["regret"]["domain"] == verdict["domains"][int(regret.argmax())]
    assert held["regret"]["interval"][0] < regret.max() < held["regret"]["interval"][1]
    same = next(e for e in verdict["candidates"] if e["name"] == "doremi")["worst_regret"]
    assert same["bits_per_byte"] == pytest.approx(regret.max())


def test_a_planted_difference_decides_the_worst_domain(tmp_path: Path):
    run = run_of(tmp_path, effect={"doremi": -0.1, "natural": 0.0, "uniform": 0.1}, noise=0.001)
    verdict = verdict_of(run)
    assert worst_of(verdict, "doremi", "natural")["loss"]["outcome"] == "win"
    assert worst_of(verdict, "uniform", "natural")["loss"]["outcome"] == "loss"
    assert worst_of(verdict_of(run, margin=0.5), "doremi", "natural")["loss"]["outcome"] == "tie"
    assert worst_of(verdict_of(run, seeds=[0]), "doremi", "natural")["loss"]["interval"] is None
    assert [c["rank"] for c in verdict["candidates"]] == [
        {w: n for w in ("uniform", "natural", "worst")} for n in (1, 2, 3)
    ]


def test_equal_candidates_share_a_rank(tmp_path: Path):
    run = run_of(tmp_path, noise=0.0, effect=dict.fromkeys(NAMES, 0.0))
    for seed in (0, 1, 2, 3):
        source = run.main("tiny", "natural", seed).folder / "evaluation.documents.f64"
        for name in ("doremi", "uniform"):
            shutil.copyfile(source, run.main("tiny", name, seed).folder / source.name)
    assert [c["rank"]["uniform"] for c in verdict_of(run)["candidates"]] == [1, 1, 1]


# -- the file and the table ------------------------------------------------------------------------------------------


def shape(value: Any) -> Any:
    """Keys and their order, of a list's first entry only."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    return [shape(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def test_the_file_has_the_documented_form_and_the_same_bytes_twice(tmp_path: Path):
    run = run_of(tmp_path, seeds=(0, 1, 2))
    write_verdict(run.root, verdict_over(run, NAMES))
    first = (run.root / "verdict.json").read_bytes()
    copy = RunDirectory(Path(shutil.copytree(run.root, tmp_path / "elsewhere")))
    (copy.root / "verdict.json").unlink()
    write_verdict(copy.root, verdict_over(copy, NAMES))
    assert (copy.root / "verdict.json").read_bytes() == first
    example = re.search(r"## verdict\.json\s+```json\n(.*?)```", FORMATS.read_text(encoding="utf-8"), re.S)
    assert example is not None
    documented = json.loads(example[1])
    for part in ("downstream", "sizes", "ranking", "equal_compute"):  # only where they were asked for
        documented.pop(part)
    assert shape(json.loads(first)) == shape(documented)


def test_the_table_is_plain_narrow_and_complete(tmp_path: Path):
    domains = ("web", "a domain with quite a long name, indeed one that goes on and on", "\u00e9tudes")
    effect = {"doremi": -0.02, "natural": 0.0, "uniform": 0.01, "a-mixture-with-a-very-long-name-too": 0.003}
    run = run_of(tmp_path, domains=domains, effect=effect)
    scale_documents(run, "uniform", lambda report: 1.3)
    table = table_of(verdict_of(run, names=list(effect)))
    assert table.isascii()
    assert max(map(len, table.splitlines())) <= 110
    for words in (
        r"doremi +1 +\d\.\d{4} +\d\.\d{4} +\d\.\d{4} \S.* 3 of 3 +\d+ of 40 \(1\.\d\dx\)",
        r"uniform .* 0 of 3 +not reached",
        r"doremi vs natural +win +-[12]\.\d\d% +\[-\d\.\d\d%, -\d\.\d\d%\]",
        r"a-mixture-with-a-v\.\. vs natural",
        "Use doremi. doremi beats natural",
    ):
        assert re.search(words, table), words


def test_the_table_says_what_was_not_told_apart(tmp_path: Path):
    table = table_of(verdict_of(run_of(tmp_path, seeds=(0,))))
    assert re.search(r"doremi vs natural +undecided +-\d\.\d\d% +no interval", table)
    assert "No significant difference from it: doremi, uniform." in table


def test_undecided_says_how_many_seeds_would_do(tmp_path: Path):
    run = run_of(tmp_path, effect={"doremi": -0.01, "natural": 0.0, "uniform": 0.05}, noise=0.003, seeds=(0, 1, 2))
    chosen = verdict_of(run)["recommendation"]
    assert chosen["outcome"] == "undecided"
    assert 3 < chosen["seeds_to_decide"] < 100
    assert f"About {chosen['seeds_to_decide']} seeds would decide it" in chosen["reason"]
    wide = verdict_of(run, margin=0.03)["recommendation"]  # for those who mind only 3 %, fewer will do
    assert wide["outcome"] == "undecided"
    assert wide["seeds_to_decide"] < chosen["seeds_to_decide"]


@pytest.mark.parametrize("budget", [200_000, None])
def test_epochs_at_the_budget_stand_beside_those_of_the_run(tmp_path: Path, budget: int | None) -> None:
    run = run_of(tmp_path)
    path = run.root / "config.yaml"
    path.write_text(path.read_text().replace("budget_tokens: 100000", f"budget_tokens: {budget or 'null'}"))
    tokens = run.corpus().count("train", "tokens")
    for one in verdict_of(run)["candidates"]:
        expected = [w * budget / t for w, t in zip(one["weights"], tokens, strict=True)] if budget else None
        assert one["epochs_at_budget"] == (expected if expected is None else pytest.approx(expected, rel=FLOAT64))
