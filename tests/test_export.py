"""What all exports have in common: rounding, which mixture, where it is written, what is refused; and plain JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.errors import ExportError, MixtureError, RunError
from doremi.export import TARGETS, export
from doremi.export.read import read_blend
from doremi.export.rounding import DECIMALS, decimal_text, round_to_one
from doremi.mixture.files import read_mixture
from doremi.rundir.layout import RunDirectory
from doremi.verdict import write_verdict
from make_run import MadeRun, make_run
from read_exports import (
    AWKWARD,
    edit_manifest,
    weights_file,
)
from verdicts import verdict_over

WITH_FILES = ("megatron", "olmo", "nanotron")  # targets that point at token files


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(make_run(tmp_path / "demo", MadeRun(domains=AWKWARD, seeds=(0,))))


# -- rounding --------------------------------------------------------------------------------------------------------

WEIGHTS = st.lists(st.floats(min_value=0, max_value=1e6, allow_subnormal=False), min_size=1, max_size=60).filter(any)


@settings(deadline=None)  # a busy machine is no bug
@given(WEIGHTS)
def test_rounded_weights_sum_to_exactly_one(weights: list[float]) -> None:
    rounded = round_to_one(weights)
    assert sum(Decimal(decimal_text(w)) for w in rounded) == 1
    assert {len(decimal_text(w).partition(".")[2]) for w in rounded} == {DECIMALS}


@given(WEIGHTS)
def test_rounding_moves_by_less_than_a_place_but_for_lifted_ones(weights: list[float]) -> None:
    rounded = round_to_one(weights)
    total = sum(map(Fraction, weights))
    place = Fraction(1, 10**DECIMALS)
    lifted = sum(0 < Fraction(w) / total < place for w in weights)
    moved = sorted(abs(Fraction(r) - Fraction(w) / total) for w, r in zip(weights, rounded, strict=True))
    assert all(m < place for m in moved[:-1])
    assert moved[-1] < place * (1 + lifted)


@given(WEIGHTS)
def test_zero_stays_zero_and_positive_stays_positive(weights: list[float]) -> None:
    assert [w > 0 for w in weights] == [r > 0 for r in round_to_one(weights)]


def test_ties_go_to_the_first() -> None:
    assert [decimal_text(w) for w in round_to_one([1, 1, 1])] == ["0.333333333334", "0.333333333333", "0.333333333333"]


# -- which mixture ---------------------------------------------------------------------------------------------------


NAMES = ("doremi", "natural", "uniform")


def test_recommended_mixture_or_the_found_one_without_a_verdict(run: RunDirectory) -> None:
    assert read_blend(run).mixture == "doremi"
    write_verdict(run.root, verdict_over(run, [name for name in NAMES if name != "doremi"]))
    blend = read_blend(run)
    assert blend.mixture == "natural"
    assert [decimal_text(d.weight) for d in blend.domains] == [
        "0.500000000000",
        "0.166666666667",
        "0.166666666667",
        "0.166666666666",
    ]
    assert read_blend(run, "doremi").mixture == "doremi"


def test_mixture_by_name_or_by_file_in_corpus_order(run: RunDirectory, tmp_path: Path) -> None:
    assert {d.weight for d in read_blend(run, "uniform").domains} == {Decimal("0.25")}
    names = list(reversed(AWKWARD))
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({name: i + 1 for i, name in enumerate(names)}))
    for given_as in (path, str(path)):
        blend = read_blend(run, given_as)
        assert [(d.name, decimal_text(d.weight)[:3]) for d in blend.domains] == list(
            zip(AWKWARD, ["0.4", "0.3", "0.2", "0.1"], strict=True)
        )


def test_unknown_mixture_names_those_there_are(run: RunDirectory) -> None:
    with pytest.raises(MixtureError, match=r"has no mixture 'unifrom' \(there are doremi, natural, uniform\)"):
        export(run, "json", mixture="unifrom")


def test_a_run_without_a_mixture_says_what_makes_one(run: RunDirectory) -> None:
    run.mixture_path("doremi").unlink()
    (run.root / "verdict.json").unlink(missing_ok=True)
    with pytest.raises(
        MixtureError, match=r"^[^ ]*: has no verdict, and no search has found a mixture yet. `doremi run` makes"
    ):
        export(run, "json")


def test_budget_from_the_file_then_the_run_then_one_pass(run: RunDirectory, tmp_path: Path) -> None:
    even = dict.fromkeys(AWKWARD, 1.0)
    assert read_blend(run, weights_file(tmp_path / "a.json", even, budget_tokens=7_000)).budget_tokens == 7_000
    assert read_blend(run, weights_file(tmp_path / "b.json", even)).budget_tokens == 100_000
    (run.root / "mixture.json").unlink()
    blend = read_blend(run, tmp_path / "b.json")
    assert blend.budget_tokens == sum(run.corpus().count("train", "tokens"))
    assert "no budget" in blend.notes[0]


def test_another_tokenizer_is_noted(run: RunDirectory, tmp_path: Path) -> None:
    path = weights_file(tmp_path / "a.json", dict.fromkeys(AWKWARD, 1.0), tokenizer={"sha256": "cd" * 32})
    assert read_blend(run).notes == ()
    export(run, "json", mixture=path)
    assert "another tokenizer" in (run.root / "export/json/README.txt").read_text()


def reweigh(run: RunDirectory, place: str, domain: str) -> None:
    held = json.loads((run.root / place).read_text())
    (run.root / place).write_text(json.dumps({**held, "weights": {**held["weights"], domain: 0.25}}))


def test_a_verdict_of_other_models_recommends_nothing(run: RunDirectory) -> None:
    write_verdict(run.root, verdict_over(run, NAMES))
    reweigh(run, "mixture.json", "web")
    with pytest.raises(
        RunError, match=r"The weights of doremi have changed since\. Compare again with: doremi run .*demo"
    ):
        export(run, "json")
    assert not (run.root / "export").exists()
    export(run, "json", mixture="natural")


def test_weights_that_no_model_was_trained_on_are_told(run: RunDirectory, tmp_path: Path) -> None:
    words = "no model of this run was trained on these weights"
    result = CliRunner().invoke(app, ["export", str(run.root), "--to", "json", "--mixture", "doremi"])
    assert (result.exit_code, words in result.stderr) == (0, False)
    assert words not in (run.root / "export/json/README.txt").read_text()
    reweigh(run, "mixture.json", "web")
    result = CliRunner().invoke(app, ["export", str(run.root), "--to", "json", "--mixture", "doremi"])
    assert result.exit_code == 0
    assert f"note: {words}" in result.stderr
    assert words in (run.root / "export/json/README.txt").read_text()
    proxys = weights_file(tmp_path / "proxy.json", dict.fromkeys(AWKWARD, 1.0))
    assert read_blend(run, proxys).notes == ()  # uniform is a candidate
    for path in run.root.glob("main/*/uniform/*/stage.json"):
        path.unlink()
    assert words in read_blend(run, proxys).notes[0]  # what a proxy was sampled with is not what it was trained on


def test_of_several_searches_the_first_is_meant(tmp_path: Path) -> None:
    made = MadeRun(seeds=(0,), effect={"natural": 0.0, "law": 0.0, "swarm": 0.0}, found={"law": "f", "swarm": "s"})
    run = RunDirectory(make_run(tmp_path / "run", made))
    assert read_blend(run).mixture == "law"
    (run.root / "mixtures/law.json").unlink()
    assert read_blend(run).mixture == "swarm"
    assert read_blend(run, "natural").budget_tokens == 100_000


def test_weight_without_tokens_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    domains = json.loads((run.corpus_folder / "manifest.json").read_text())["domains"]
    domains["web"]["train"] |= {"tokens": 0, "documents": 0}
    edit_manifest(run, domains=domains)
    with pytest.raises(ExportError, match=r"'web' has weight .* no training tokens"):
        export(run, "json")
    weights = {**dict.fromkeys(AWKWARD, 1.0), "web": 0.0}
    assert read_blend(run, weights_file(tmp_path / "a.json", weights)).domains[0].epochs == 0


# -- all targets -----------------------------------------------------------------------------------------------------


def test_unknown_target_lists_all_by_family(run: RunDirectory) -> None:
    with pytest.raises(ExportError) as caught:
        export(run, "fairseq")
    text = str(caught.value)
    assert text.startswith(
        "there is no target 'fairseq'. There are: plain: json, csv, yaml; Megatron files: megatron, nemo"
    )
    assert sorted(re.findall(r"[\w-]+(?=[,;]|$)", text.partition("are: ")[2])) == sorted(TARGETS)


@pytest.mark.parametrize("place", [".", "corpus", "corpus/web", "proxy/seed-0"])
def test_out_among_the_files_of_a_run_is_refused(run: RunDirectory, place: str) -> None:
    with pytest.raises(ExportError, match=r"lies inside .* a (run|corpus)"):
        export(run, "nanotron", out=run.root / place)
    other = RunDirectory(make_run(run.root.parent / "other", MadeRun(domains=AWKWARD, seeds=(0,))))
    with pytest.raises(ExportError, match=r"lies inside .* a (run|corpus)"):
        export(other, "json", out=run.root / place)
    with pytest.raises(ExportError, match=r"lies inside .* a corpus"):
        export(other, "json", out=run.whole_corpus().folder / "out")


def test_a_run_inside_a_run_exports_to_itself(run: RunDirectory) -> None:
    inner = RunDirectory(make_run(run.root / "rounds" / "2", MadeRun(domains=AWKWARD, seeds=(0,))))
    assert export(inner, "json")[0] == inner.root / "export/json/mixture.json"


def test_a_file_in_the_place_of_a_link_is_kept(run: RunDirectory, tmp_path: Path) -> None:
    precious = tmp_path / "out" / "web" / "train.ds"
    precious.parent.mkdir(parents=True)
    precious.write_text("tokens of mine")
    with pytest.raises(ExportError, match=r"train\.ds: is a file of its own"):
        export(run, "nanotron", out=tmp_path / "out")
    assert precious.read_text() == "tokens of mine"


def test_unwritable_folder_is_one_line(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        export(run, "json", out=tmp_path / "file" / "out")


@pytest.mark.parametrize("target", WITH_FILES)
def test_missing_or_cut_token_files_are_named(run: RunDirectory, target: str) -> None:
    path = run.whole_corpus().path(AWKWARD[1], "train.bin")
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ExportError, match=r"train\.bin: has 100 bytes where the manifest says"):
        export(run, target)
    path.unlink()
    with pytest.raises(ExportError, match=r"train\.bin: missing"):
        export(run, target)


@pytest.mark.parametrize(("target", "sign"), [("megatron", " "), ("olmo", "*"), ("nanotron", "["), ("nanotron", "|")])
def test_paths_that_the_trainer_would_misread_are_refused(tmp_path: Path, target: str, sign: str) -> None:
    run = RunDirectory(make_run(tmp_path / f"my{sign}runs" / "one", MadeRun(seeds=(0,))))
    with pytest.raises(ExportError, match="cannot read a path with"):
        export(run, target)


def test_export_never_imports_torch() -> None:
    code = "import sys, doremi.export; sys.exit('torch' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- json ------------------------------------------------------------------------------------------------------------


def test_json_is_a_mixture_of_ours_with_everything(run: RunDirectory) -> None:
    export(run, "json")
    path = run.root / "export/json/mixture.json"
    recorded, value = json.loads((run.root / "mixture.json").read_text()), json.loads(path.read_text())
    own = read_mixture(run.root / "mixture.json")
    assert read_mixture(path).distance(own) < 1e-8
    assert set(value) == set(recorded)
    for key in ("method", "source", "options", "seeds", "per_seed", "tokenizer", "budget_tokens"):
        assert value[key] == recorded[key]
    for name, entry in value["domains"].items():
        assert entry == pytest.approx(recorded["domains"][name], rel=1e-8)


def test_json_of_a_bare_file_can_be_exported_again(run: RunDirectory, tmp_path: Path) -> None:
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps({name: i + 1 for i, name in enumerate(AWKWARD)}))
    first = export(run, "json", mixture=bare, out=tmp_path / "one")
    value = json.loads(first[0].read_text(encoding="utf-8"))
    assert (value["method"], value["budget_tokens"]) == ("given", 100_000)
    again = export(run, "json", mixture=first[0], out=tmp_path / "two")
    assert first[0].read_bytes() == again[0].read_bytes()


def test_official_doremi_form(run: RunDirectory) -> None:
    export(run, "json")
    value = json.loads((run.root / "export/json/doremi.json").read_text(encoding="utf-8"), parse_float=Decimal)
    assert list(value) == ["train_domain_weights", "eval_domain_weights"]
    for weights in value.values():
        assert list(weights) == sorted(AWKWARD)
        assert sum(weights.values()) == 1
    assert value["train_domain_weights"]["web"] == Decimal("0.1")
