"""The verdict on made-up runs with planted answers: outcomes, choice, steps to baseline, the file, the table."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doremi.cli import result
from doremi.corpus.value import Corpus
from doremi.errors import ConfigError, DamageError, DataError, RunError
from doremi.rundir.layout import RunDirectory
from doremi.statistics.looks import Record
from doremi.statistics.values import Outcome
from doremi.verdict import Price, Verdict, format_table, ranking, read_looks, write_looks, write_verdict
from doremi.verdict.values import SizeComparison, SizeSummary
from graphs import config
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
    return format_table(Verdict.model_validate(verdict), Price("runs/demo", 60.0))


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
    [(-0.02, 1e-3, "win"), (0.02, 1e-3, "loss"), (0.0, 1e-4, "tie"), (-0.003, 0.02, "undecided")],
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
    assert chosen["proved"] == (expected == "win")
    assert [claim["held"] for claim in verdict["claims"]] == [expected == "win"] * 2
    regret = {one["candidate"]: one["expected"] for one in verdict["choices"]["uniform"]}
    assert chosen["mixture"] == min(regret, key=lambda name: regret[name])
    if expected in ("win", "loss"):
        assert chosen["mixture"] == ("doremi" if expected == "win" else "natural")
    assert (verdict["settle"] is None) == (expected != "undecided")
    assert verdict["noise"]["effect"] == 0.01


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
    (changes,) = [one for one in verdict["domain_changes"] if one["candidate"] == "doremi"]
    sure = {row["domain"]: np.sign(row["level_interval"]).tolist() for row in changes["domains"]}
    assert sure == {"web": [-1, -1], "code": [1, 1], "Wikipedia (en)": [-1, -1]}
    assert changes["words"].startswith("Against natural, doremi surely moves loss from")
    assert "to code. " in changes["words"]
    doremi = verdict["candidates"][0]
    assert doremi["worst_regret"]["domain"] == "code"
    assert doremi["worst_regret"]["bits_per_byte"] == pytest.approx(0.02 * doremi["bits_per_byte"][1], rel=0.2)
    assert doremi["domains_better_than_reference"] == 2
    assert verdict["candidates"][1]["worst_regret"]["bits_per_byte"] == 0


def test_one_seed_is_undecided(tmp_path: Path):
    verdict = verdict_of(run_of(tmp_path, seeds=(0,)))
    assert {c["outcome"] for c in verdict["comparisons"]} == {"undecided"}
    assert {str(c[key]) for c in verdict["comparisons"] for key in ("interval", "fixed")} == {"None"}
    assert not any(claim["held"] for claim in verdict["claims"])
    chosen = verdict["recommendation"]
    assert (chosen["mixture"], chosen["proved"]) == ("doremi", False)
    assert "One seed shows no noise." in chosen["reason"]
    assert (verdict["noise"], verdict["settle"]) == (None, None)
    assert "Train at least 3 seeds" in table_of(verdict)
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


def test_found_mixtures_stand_against_all_and_plain_ones_against_the_reference(tmp_path: Path):
    effect = {"doremi": 0.0, "unimax": 0.002, "natural": 0.01, "uniform": -0.01, "skewed": 0.02}
    run = run_of(tmp_path, effect=effect, seeds=(0, 1))
    verdict = verdict_of(run, names=list(effect), reference="skewed")
    for target, families in (("uniform", ("primary", "plain")), ("natural", ("average", "average"))):
        pairs = {(c["candidate"], c["opponent"]): c["family"] for c in verdict["comparisons"] if c["target"] == target}
        found_ones = {("doremi", name): families[0] for name in ("skewed", "unimax", "natural", "uniform")}
        assert pairs == found_ones | {(name, "skewed"): families[1] for name in ("unimax", "natural", "uniform")}
    assert verdict["baseline"] == "skewed"
    assert [one["candidate"] for one in verdict["domain_changes"]] == ["doremi", "unimax", "natural", "uniform"]
    assert verdict["claims"][1]["over"] == ["unimax", "natural", "uniform", "skewed"]


# -- all documents judge ---------------------------------------------------------------------------------------------


def test_every_document_judges_whichever_half_it_is_in(tmp_path: Path):
    """What is better on one half and worse on the other by as much differs in nothing."""
    run = run_of(tmp_path, effect={"doremi": 0.0, "natural": 0.0, "uniform": 0.05}, noise=1e-4)
    scale_documents(run, "doremi", lambda report: 1.03 if report else 0.97)
    halves = found(verdict_of(run), "doremi", "natural")
    assert abs(halves["relative"]) < 0.004
    scale_documents(run, "doremi", lambda report: 1.0 if report else 0.9)
    assert found(verdict_of(run), "doremi", "natural")["relative"] == pytest.approx(-0.05, abs=0.01)


def test_the_limits_and_the_methods_reference_seeds_are_told(tmp_path: Path):
    """Natural's models are the references of the search here, for every seed: nothing is left without them."""
    run = run_of(tmp_path, seeds=(0, 1, 2))
    assert candidates(run, NAMES)[1].lent == {0, 1, 2}
    (all_lent,) = verdict_of(run)["without_lent"]
    assert all_lent == {"candidate": "doremi", "seeds": [], "relative": None, "interval": None}
    doremi, natural, uniform = candidates(run, NAMES)
    held = verdict_of(run, candidates=[doremi, replace(natural, lent=frozenset({0})), uniform])
    (one,) = held["without_lent"]
    assert (one["candidate"], one["seeds"]) == ("doremi", [1, 2])
    assert f"Without their seeds it differs by {one['relative']:+.2%}." in " ".join(table_of(held).split())


# -- numbers of a candidate ------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_evaluation(default_run: RunDirectory):
    verdict = verdict_of(default_run)
    weights = np.array(verdict["natural_weights"])
    assert weights == pytest.approx(
        np.array(default_run.corpus().count("train", "tokens")) / sum(default_run.corpus().count("train", "tokens"))
    )
    for entry in verdict["candidates"]:
        saved = [default_run.main("tiny", entry["name"], seed).evaluation() for seed in (0, 1, 2, 3)]
        nats, tokens, size = (
            np.array([[split[key] for split in (e["select"], e["report"])] for e in saved], float)
            for key in ("loss", "tokens", "bytes")
        )
        total = (nats * tokens).sum(axis=1)
        loss = (total / tokens.sum(axis=1)).mean(axis=0)
        bits = (total / size.sum(axis=1) / math.log(2)).mean(axis=0)
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
    assert uniform == {"step": None, "earliest": None, "latest": None, "of": 40, "speedup": None}
    assert doremi["earliest"] < doremi["step"] < doremi["latest"]


# -- baseline, reference, errors -------------------------------------------------------------------------------------


def test_the_reference_mixture_stands_in_for_natural(default_run: RunDirectory):
    verdict = verdict_of(default_run, names=["doremi", "uniform"], reference="uniform")
    assert [(c["candidate"], c["opponent"]) for c in verdict["comparisons"]] == [("doremi", "uniform")] * 2
    assert verdict["candidates"][1]["worst_regret"]["bits_per_byte"] == 0
    assert verdict["candidates"][1]["steps_to_baseline"]["speedup"] == 1
    with pytest.raises(RunError, match=r"the reference mixture is not among the candidates \(doremi, uniform\)"):
        verdict_of(default_run, names=["doremi", "uniform"], reference="skewed")


def test_plain_mixtures_alone(tmp_path: Path):
    effect = {"skewed": 0.03, "natural": 0.0, "uniform": 0.01}
    chosen = verdict_of(run_of(tmp_path, effect=effect), names=list(effect))["recommendation"]
    assert (chosen["mixture"], chosen["proved"]) == ("natural", False)  # nothing was found that could prove anything
    assert "It has the smallest expected regret" in chosen["reason"]


def test_one_candidate_alone(default_run: RunDirectory):
    alone = verdict_of(default_run, names=["natural"])
    assert (alone["comparisons"], alone["domain_changes"], alone["claims"]) == ([], [], [])
    assert alone["recommendation"]["mixture"] == "natural"
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


def test_a_domain_without_text_is_named(tmp_path: Path):
    run = run_of(tmp_path)
    path = run.corpus_folder / "code" / "validation.documents"
    records = np.fromfile(path, "<u4").reshape(-1, 2)
    records[:, 0] = 0
    records.tofile(path)
    with pytest.raises(DataError, match=r"'code' has no validation text"):
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


# -- ranks -------------------------------------------------------------------------------------------------------------


def test_equal_candidates_share_a_rank(tmp_path: Path):
    run = run_of(tmp_path, noise=0.0, effect=dict.fromkeys(NAMES, 0.0))
    for seed in (0, 1, 2, 3):
        source = run.main("tiny", "natural", seed).folder / "evaluation.documents.f64"
        for name in ("doremi", "uniform"):
            shutil.copyfile(source, run.main("tiny", name, seed).folder / source.name)
    verdict = verdict_of(run)
    assert [c["rank"]["uniform"] for c in verdict["candidates"]] == [1, 1, 1]
    assert verdict["same"] == [["doremi", "natural"], ["uniform", "natural"]]
    assert "doremi has the trainings of natural, so they are one candidate." in table_of(verdict)


# -- sizes -----------------------------------------------------------------------------------------------------------


def one_size(size: str, candidate: str, opponent: str, outcome: Outcome) -> SizeSummary:
    pair = SizeComparison(
        candidate=candidate, opponent=opponent, difference=0.0, relative=0.0, interval=None, outcome=outcome
    )
    return SizeSummary(
        size=size, parameters=1, tokens=1, bits_per_byte={}, order=(), recommended="a", trainings={},
        comparisons=(pair,),
    )  # fmt: skip


def test_a_ranking_holds_or_turns_whichever_way_round_a_pair_stands():
    small = one_size("1m", "a", "b", "win")
    assert ranking([small, one_size("3m", "b", "a", "loss")]).holds is True
    turned = ranking([small, one_size("3m", "b", "a", "win")])
    assert (turned.holds, turned.reason) == (False, "a beats b at 1m, loses to b at 3m.")
    assert ranking([small, one_size("3m", "a", "b", "undecided")]).holds is None


# -- looks -----------------------------------------------------------------------------------------------------------


def test_seeds_added_after_a_look_prove_nothing(tmp_path: Path):
    run = run_of(tmp_path)
    first = verdict_of(run, seeds=[0, 1, 2])
    assert (first["level"], first["claims"][0]["held"]) == (0.05, True)
    record = Record("once").with_look((0, 1, 2))
    added = verdict_of(run, record=record)
    assert not any(claim["tested"] for claim in added["claims"])
    assert "Seeds that are added after a look" in added["exploratory"]
    assert added["exploratory"] in added["recommendation"]["reason"]
    assert verdict_of(run, seeds=[0, 1, 2], record=record) == first


def test_planned_looks_are_wider(tmp_path: Path):
    run = run_of(tmp_path)
    once, planned = (verdict_of(run, seeds=[0, 1, 2], looks=looks) for looks in ("once", "planned"))
    assert planned["level"] == 0.0175
    (low, high), (lower, higher) = (found(one, "doremi", "natural")["interval"] for one in (once, planned))
    assert lower < low < high < higher
    assert "98.25 % intervals" in table_of(planned)


def test_the_record_of_looks_is_a_file(tmp_path: Path):
    assert read_looks(tmp_path) == {}
    records = {"1m": Record("planned").with_look((0, 1, 2)).with_look((0, 1, 2, 3, 4))}
    write_looks(tmp_path, records)
    assert read_looks(tmp_path) == records
    stamp = (tmp_path / "looks.json").stat().st_mtime_ns
    write_looks(tmp_path, records)
    assert (tmp_path / "looks.json").stat().st_mtime_ns == stamp
    (tmp_path / "looks.json").write_text('{"format": 1, "sizes": {"1m": {"looks": "often"}}}')
    with pytest.raises(DamageError, match=r"looks\.json: this record is damaged"):
        read_looks(tmp_path)


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
        r"doremi +1 +\d\.\d{4} +\d\.\d{4} +\d\.\d{4} \S.* 3 of 3 +\d+ of 40 \(\d+ to \d+\)",
        r"uniform .* 0 of 3 +not reached",
        r"doremi vs natural +win +-[12]\.\d\d% +\[-\d\.\d\d%, -\d\.\d\d%\]",
        r"a-mixture-with-a-v\.\. vs natural",
        r"doremi is better than natural +proved +by at least [12]\.\d\d%",
        r"doremi +0\.00% expected +at most 0\.00%",
        r"Use doremi\.\nBy the uniform average it has [12]\.\d\d% fewer bits per byte than natural, your data",
        r"fewer \(\d\.\d\d%\s+to\s+\d\.\d\d%\s+fewer\),\s+and\s+the\s+choice\s+is\s+the\s+same\.",
        r"\nNothing is left to prove\.",
        r"doremi is proved better than natural and than every plain mixture\.",
    ):
        assert re.search(words, table), words


def test_sentences_are_folded_to_a_narrow_terminal_and_rows_are_not(
    default_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal would break them in the middle of words."""
    place, asked = Price("runs/demo", 60.0), config().model_copy(update={"runs": str(default_run.root.parent)})
    verdict = Verdict.model_validate(verdict_of(default_run))
    wide, narrow = format_table(verdict, place), format_table(verdict, place, 60)
    assert narrow.split() == wide.split()
    rows = [line for line in wide.splitlines() if "  " in line]
    assert [line for line in narrow.splitlines() if "  " in line] == rows
    assert max(len(line) for line in narrow.splitlines() if "  " not in line) <= 60 < max(map(len, wide.splitlines()))
    monkeypatch.setattr(result, "price", lambda *_: place)
    assert result.verdict_text(asked, verdict) == wide
    monkeypatch.setenv("COLUMNS", "61")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert result.verdict_text(asked, verdict) == narrow


def test_the_table_says_where_there_is_no_interval(tmp_path: Path):
    verdict = verdict_of(run_of(tmp_path, seeds=(0,)))
    table, place = table_of(verdict), "/home/somebody/experiments/second/runs/demo"
    assert re.search(r"doremi vs natural +undecided +-\d\.\d\d% +no interval", table)
    assert "One seed gives no range." in " ".join(table.split())
    assert "There are no intervals, as one seed shows no noise." in " ".join(table.split())
    assert re.search(r"doremi is better than natural +not proved\n", table)  # and no p-value of 1
    longer = format_table(Verdict.model_validate(verdict), Price(place, 60.0))
    assert f"\n`doremi run {place} --set candidates.seeds=3`" in longer  # whole, to be copied


def test_undecided_says_how_many_seeds_would_do(tmp_path: Path):
    effect = {"doremi": -0.01, "natural": 0.0, "uniform": 0.05}
    verdict = verdict_of(run_of(tmp_path, effect=effect, noise=0.02, seeds=(0, 1, 2)))
    assert not verdict["claims"][0]["held"]
    assert verdict["settle"]["seeds"] <= (verdict["settle"]["at_most"] or 1000)
    assert f"takes about {verdict['settle']['seeds']} seeds" in table_of(verdict)


@pytest.mark.parametrize("budget", [200_000, None])
def test_epochs_at_the_budget_stand_beside_those_of_the_run(tmp_path: Path, budget: int | None) -> None:
    run = run_of(tmp_path)
    path = run.root / "config.yaml"
    path.write_text(path.read_text().replace("budget_tokens: 100000", f"budget_tokens: {budget or 'null'}"))
    tokens = run.corpus().count("train", "tokens")
    for one in verdict_of(run)["candidates"]:
        expected = [w * budget / t for w, t in zip(one["weights"], tokens, strict=True)] if budget else None
        assert one["epochs_at_budget"] == (expected if expected is None else pytest.approx(expected, rel=FLOAT64))
