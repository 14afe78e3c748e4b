"""The report: that it says what the files hold, and copes with whatever they hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from doremi.errors import DamageError, RunError
from doremi.report import write_report
from doremi.report.facts import read_facts
from doremi.report.svg import printable
from doremi.report.tables import domain_tables
from doremi.report.trainings import Training, curve
from doremi.report.words import ABSENT, count, duration, factor, fixed, flattened, listed, percent, shortened, signed
from doremi.rundir.layout import RunDirectory, TrainingFolder
from make_run import MadeRun
from report_run import NOT_DRAWN, Element, Page, a_report, read, words

HOSTILE = '<script>alert(1)</script> & $x^2$ "q" \'</style>\u202e\x00'


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_report(tmp_path_factory.getbasetemp())


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "demo"))


@pytest.fixture(scope="module")
def page(finished: Path) -> Page:
    return Page(finished / "report.html")


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doremi.report.page.pictures", lambda facts: NOT_DRAWN)


# -- what it says ----------------------------------------------------------------------------------------------------


def test_the_answer_comes_first_and_in_words(page: Page) -> None:
    main = page.root.all("main")[0]
    first = next(e for e in main.all("p") if e.attributes.get("class") == "answer")
    assert words(first) == "Use doremi. proved"
    answer = words(page.by_id("answer"))
    assert "By the uniform average it has 1.11% fewer bits per byte than natural, your data as it is." in answer
    assert "The seeds show no noise, which gives no range. By the natural average it has 0.21% fewer" in answer
    assert "0.21% fewer (0.90% fewer to 0.63% more)" in answer
    assert "doremi is proved better than natural by a hair." in answer
    assert "Not proved: doremi is better than every plain mixture." in answer
    assert (
        "With these steps, to prove 1.1 % takes about 7 seeds (80 %: at most 12). A run of its own can do it" in answer
    )
    assert words(page.by_id("answer").all("code")[0]).startswith("doremi run demo --set name=NEW")
    assert "doremi run demo --set name=NEW --set seed=2 --set candidates.seeds=7" in answer
    assert "With these steps, to prove 1 % takes about 6 seeds (80 %: at most 10)" in answer
    assert "Against natural, doremi surely moves loss from web to Wikipedia (en)." in words(page.by_id("by-domain"))
    assert "Short training. Models of size tiny train on 2.2 tokens a body parameter, and 20 are usual." in answer
    assert "3 domains, 3 mixtures compared, models of size tiny on 5,120 tokens each, 2 seeds." in answer


def test_the_mixture_table_has_the_numbers_of_the_files(page: Page, finished: Path) -> None:
    mixture, natural = read(finished, "mixture.json"), read(finished, "mixtures/natural.json")["weights"]
    rows = page.table("mixture")
    assert list(rows) == sorted(mixture["weights"], key=lambda d: -mixture["weights"][d])
    for domain, row in rows.items():
        weight = mixture["weights"][domain]
        assert list(row.values()) == [
            f"{100 * natural[domain]:.2f} %",
            f"{100 * weight:.2f} %",
            f"\N{MULTIPLICATION SIGN}{weight / natural[domain]:.2f}",
            f"{mixture['domains'][domain]['epochs']:.2f}",
        ]
    assert [float(e.attributes["style"].split(":")[1][:-1]) for e in _bars(page, "found")][:2] == [83.3, 55.6]  # pyright: ignore


def _bars(page: Page, tone: str) -> list[Element]:
    return [e for e in page.by_id("mixture").all("span") if e.attributes.get("class") == tone]


@pytest.mark.usefixtures("without_pictures")
def test_a_reference_of_its_own_and_another_recommendation_get_their_columns(copied: Path) -> None:
    for path in copied.glob("reference/*/stage.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "mixture": {d: 1 / 3 for d in MadeRun().domains}}))
    verdict = read(copied, "verdict.json")
    other = {**verdict["candidates"][0], "name": "mine", "weights": [0.125, 0.25, 0.625]}
    verdict |= {"reference_mixture": "thirds", "candidates": [*verdict["candidates"], other]}
    verdict["recommendation"]["mixture"] = "mine"
    (copied / "verdict.json").write_text(json.dumps(verdict))
    nodes = read(copied, "nodes.json")
    (copied / "nodes.json").write_text(json.dumps(nodes | {"reference_mixture": "thirds"}))
    row = Page(write_report(RunDirectory(copied))).table("mixture")["code"]
    assert row["Natural share"] == "20.00 %"
    assert row["Reference mixture (thirds)"] == "33.33 %"
    assert row["Recommended (mine)"] == "25.00 %"
    tokens = read(copied, "corpus/manifest.json")["domains"]["code"]["train"]["tokens"]
    assert row["Epochs of mine at 100 k tokens"] == f"{0.25 * 100_000 / tokens:.2f}"


def test_the_candidates_are_those_of_the_verdict(page: Page, finished: Path) -> None:
    rows = page.table("candidates")
    candidates = read(finished, "verdict.json")["candidates"]
    best = min(c["mean"]["uniform"]["bits_per_byte"] for c in candidates)
    least = min(c["worst"]["bits_per_byte"] for c in candidates)
    for candidate in candidates:
        row = list(rows[candidate["name"]].values())
        mean = candidate["mean"]["uniform"]["bits_per_byte"]
        assert row[0].startswith(f"{mean:.4f}")
        assert ("(best)" in row[0]) == (mean == best)
        assert row[2].startswith(f"{candidate['worst']['bits_per_byte']:.4f}")
        assert candidate["worst"]["domain"] in row[2]
        assert ("(best)" in row[2]) == (candidate["worst"]["bits_per_byte"] == least)
        assert row[6] == f"{max(candidate['epochs']):.2f} 8.50 at 100 k tokens: web"
    assert rows["doremi"]["Steps to the final loss of natural"] == "31 of 40 29 to ?"
    assert rows["uniform"]["Steps to the final loss of natural"] == "not reached in 40"
    assert rows["doremi"]["Domains better than reference"] == "3 of 3"


def test_every_outcome_is_a_word_with_its_interval(page: Page) -> None:
    rows, minus = page.table("comparisons"), "\N{MINUS SIGN}"
    assert rows["doremi against natural"] == {
        "Change, uniform average": f"{minus}1.11 %",
        "95 % interval, uniform average": "the seeds show no noise",
        "Outcome, uniform average": "win",
        "Change, natural average": f"{minus}0.21 %",
        "95 % interval, natural average": f"{minus}0.90 % to +0.63 %",
        "Outcome, natural average": "loss",
    }
    assert rows["uniform against natural"]["Outcome, uniform average"] == "tie"
    assert rows["uniform against natural"]["Outcome, natural average"] == "undecided"


def test_domains_stand_with_their_weights_and_what_is_not_known_with_its_reason(page: Page) -> None:
    row, minus = page.table("profile-0-table")["web"], "\N{MINUS SIGN}"
    assert list(row.values()) == [
        "\N{MULTIPLICATION SIGN}1.50", f"{minus}3.00 %", "noise is as large as the loss",
        f"{minus}2.00 %", f"{minus}3.00 % to {minus}1.00 %",
    ]  # fmt: skip
    figure = next(f for f in page.root.all("figure") if f.attributes["aria-labelledby"] == "profile-0-heading")
    assert [t.text() for t in figure.all("text")].count("\N{MULTIPLICATION SIGN}1.50") == 2 * len(MadeRun().domains)


def test_domains_show_bits_nats_and_the_best_not_by_color_alone(page: Page, finished: Path) -> None:
    rows, nats = page.table("domains"), page.table("nats")
    candidates = read(finished, "verdict.json")["candidates"]
    for i, domain in enumerate(MadeRun().domains):
        best = min(c["bits_per_byte"][i] for c in candidates)
        for c in candidates:
            text = rows[domain][c["name"]]
            assert text.startswith(f"{c['bits_per_byte'][i]:.4f}")
            assert ("(best)" in text) == (c["bits_per_byte"][i] == best)
            assert nats[domain][c["name"]].split()[0] == f"{c['loss'][i]:.4f}"
    minus = "\N{MINUS SIGN}"
    change = f"{minus}3.00 % {minus}2.00 %"
    assert rows["web"]["doremi"].endswith(f"{change} ({minus}3.00 % to {minus}1.00 %)")
    assert rows["web"]["uniform"].endswith(change), "one seed has no interval"
    doremi = [row[1].outcome for row in domain_tables(read_facts(RunDirectory(finished)))[0].rows]
    assert sorted(doremi) == ["", "loss", "win"]  # by the range of the profile: below, about and above 0


def test_what_is_proved_and_what_choosing_costs(page: Page) -> None:
    claims, regret = page.table("claims"), page.table("regret")
    assert claims["doremi is better than natural"]["Result"] == "proved"
    assert claims["doremi is better than natural"]["By at least"] == "0.44 %"
    assert claims["doremi is better than natural and uniform"]["Result"] == "not proved"
    assert list(regret["uniform"].values()) == ["0.20 %", "0.60 %"] * 2
    assert "Nothing is claimed by the natural average." in words(page.by_id("comparisons"))


def test_how_it_was_made_is_told(page: Page) -> None:
    models = page.table("models")
    assert models["reference on natural"]["Seeds"] == "0 and 1"
    assert models["proxy"]["Body parameters"] == "2,345"
    assert models["proxy"]["With embeddings"] == "12.3 k"
    assert page.table("times")["proxy"] == {
        "Time": "3.0 min", "Tokens": "10.2 k", "Tokens a second": "57", "Peak memory": ABSENT,
    }  # fmt: skip
    assert page.table("configuration")["verdict.margin"] == {"Value": "0.005"}
    assert page.table("versions")["versions.torch"] == {"Value": "2.13.0"}
    text = words(page.root)
    assert "The uniform average counts every domain alike. It therefore favours the uniform mixture." in text
    for term in ("Nats a token", "Bits per byte", "Epochs", "Natural", "Uniform", "arXiv:2305.10429"):
        assert term in text


def test_curves_are_plain_means_over_domains_of_the_report_split(tmp_path: Path) -> None:
    splits = {"select": {"loss": [9.0, 9.0], "bits_per_byte": [9.0, 9.0]}}
    splits["report"] = {"loss": [3.0, 2.0], "bits_per_byte": [1.5, 1.0]}
    record = {"kind": "evaluation", "step": 10, "tokens": 640, **splits}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    held = curve(Training("main", "tiny", "doremi", 0, TrainingFolder(tmp_path)), 2)
    assert {key: values.tolist() for key, values in held.items()} == {
        "step": [10.0],
        "tokens": [640.0],
        "loss": [2.5],
        "bits_per_byte": [1.25],
    }


# -- whatever the files hold -----------------------------------------------------------------------------------------


def test_nothing_in_a_file_becomes_markup(copied: Path) -> None:
    planted = json.dumps(HOSTILE)[1:-1]
    for path in [*copied.rglob("*.json"), *copied.rglob("*.jsonl")]:
        path.write_text(path.read_text().replace("Wikipedia (en)", planted).replace("2.13.0", planted))
    verdict = read(copied, "verdict.json")
    verdict["recommendation"] |= {"mixture": HOSTILE, "reason": HOSTILE, "other_mixture": HOSTILE}
    verdict["candidates"][0]["name"] = HOSTILE
    verdict["comparisons"][0] |= {"candidate": HOSTILE, "opponent": HOSTILE}
    verdict["ranking"] = {"holds": True, "reason": HOSTILE}
    (copied / "verdict.json").write_text(json.dumps({**verdict, "size": HOSTILE, "reference_mixture": HOSTILE}))
    with (copied / "config.yaml").open("a") as config:
        config.write("'<b>key</b>': '</table><img src=x onerror=alert(3)>'\n")
    page = Page(write_report(RunDirectory(copied)))
    tags = {e.tag for e in page.root.all()}
    assert not tags & {"script", "img", "iframe", "object", "b" * 2}
    assert not [name for e in page.root.all() for name in e.attributes if name.startswith("on")]
    shown = printable(HOSTILE)
    assert shown in page.by_id("mixture").text()
    assert shown in page.by_id("answer").text()
    assert "</table><img src=x onerror=alert(3)>" in page.by_id("configuration").text()
    assert [t for t in page.root.all("text") if t.text().startswith("<script>alert(1)</script> & $x^2$")]


def test_what_cannot_be_printed_is_marked() -> None:
    assert printable("a\x00b\ud800c\u202ed\ne") == "a\ufffdb\ufffdc\ufffdd\ufffde"
    assert printable("caf\u00e9 \u65e5\u672c") == "caf\u00e9 \u65e5\u672c"


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["verdict.json"], "The candidates have not been compared yet, with 6 main models finished so far."),
        (["verdict.json", "main", "reference"], "There are no learning curves yet, since no main model is finished."),
        (["verdict.json", "main", "mixture.json"], "The mixture doremi is made when its search is finished."),
        (["verdict.json", "main", "mixture.json", "proxy"], "There is no path of the weights yet"),
        (
            ["verdict.json", "main", "mixture.json", "mixtures", "proxy", "reference"],
            "No model has been evaluated yet.",
        ),
        (
            ["verdict.json", "main", "mixture.json", "mixtures", "proxy", "reference", "corpus", "manifest.json"],
            "The corpus has not been prepared",
        ),
    ],
)
def test_an_unfinished_run_shows_what_there_is(copied: Path, gone: list[str], said: str) -> None:
    for name in gone:
        shutil.rmtree(copied / name) if (copied / name).is_dir() else (copied / name).unlink()
    page = Page(write_report(RunDirectory(copied)))
    assert said in words(page.root)
    assert "This run is not finished" in words(page.by_id("answer"))
    if "corpus" not in gone:
        assert "web" in page.table("mixture")
    if "reference" not in gone:
        assert "natural" in page.table("domains")["web"]


@pytest.mark.usefixtures("without_pictures")
def test_a_run_copied_without_its_corpus_still_has_its_answer(copied: Path) -> None:
    shutil.rmtree(copied / "corpus")
    page = Page(write_report(RunDirectory(copied)))
    assert page.table("mixture")["code"]["doremi"] == "33.33 %"
    assert "not copied with the run" in words(page.by_id("answer"))


def test_files_that_are_being_written_are_read_as_far_as_they_go(copied: Path) -> None:
    run = RunDirectory(copied)
    proxy = run.proxy(1).folder
    (proxy / "stage.json").unlink()
    with (proxy / "trace.f32").open("ab") as trace:
        trace.write(b"\0" * 6)
    metrics = proxy / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"kind": "train", "step": 45, "to')
    page = Page(write_report(run))
    assert "seed 1 unfinished, at step 40" in page.table("models")["proxy"]["Seeds"]
    assert "seed 0" in words(page.by_id("pictures"))
    assert "Running mean, seed 1" in page.table("weights-table")["web"]


def test_a_broken_file_is_one_clear_error(copied: Path) -> None:
    (copied / "verdict.json").write_text("{")
    with pytest.raises(DamageError, match=r"verdict\.json: this verdict cannot be read"):
        write_report(RunDirectory(copied))
    (copied / "verdict.json").write_text(json.dumps({"format": 1, "size": 3}))
    with pytest.raises(DamageError, match=r"verdict\.json: this verdict is damaged at \w+ .*; remove it and run again"):
        write_report(RunDirectory(copied))
    with pytest.raises(RunError, match="there is no such run directory"):
        write_report(RunDirectory(copied / "nowhere"))
    with pytest.raises(RunError, match="is not a run directory"):
        write_report(RunDirectory(copied / "corpus"))


@pytest.mark.usefixtures("without_pictures")
def test_few_held_out_documents_are_told(copied: Path) -> None:
    assert "Few documents" not in words(Page(write_report(RunDirectory(copied))).by_id("answer"))
    path = copied / "corpus/manifest.json"
    value = read(copied, "corpus/manifest.json")
    value["domains"]["code"]["validation"]["documents"] = 9  # of both halves
    path.write_text(json.dumps(value))
    said = words(Page(write_report(RunDirectory(copied))).by_id("answer"))
    assert "Few documents. Results are measured on fewer than 10 held-out documents in code (9). Losses" in said


@pytest.mark.usefixtures("without_pictures")
def test_by_how_much_held_out_text_is_too_little(copied: Path) -> None:
    verdict = read(copied, "verdict.json")
    verdict["held_out"] = {"documents": [40] * 3, "pool": [40] * 3, "share": 0.8, "times": 3.2}
    (copied / "verdict.json").write_text(json.dumps(verdict))
    said = words(Page(write_report(RunDirectory(copied))).by_id("answer"))
    assert "its documents still add 80% of the noise that seeds make. About 3 times as many would bring" in said


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize(("budget", "said"), [(100_000, "In a final run of 100"), (None, "In one training of 100")])
def test_a_final_run_is_spoken_of_only_where_a_budget_is_given(copied: Path, budget: int | None, said: str) -> None:
    config = yaml.safe_load((copied / "config.yaml").read_text())
    (copied / "config.yaml").write_text(yaml.safe_dump({**config, "budget_tokens": budget}))
    text = words(Page(write_report(RunDirectory(copied))).by_id("weights-section"))
    assert f"{said} k tokens doremi shows" in text


@pytest.mark.usefixtures("without_pictures")
def test_one_seed_and_numbers_that_are_none(copied: Path) -> None:
    verdict = read(copied, "verdict.json")
    for candidate in verdict["candidates"]:
        candidate |= {"epochs": [], "epochs_at_budget": None}
    for comparison in verdict["comparisons"]:
        comparison |= {"interval": None, "fixed": None, "outcome": "undecided"}
    verdict["recommendation"] |= {"mixture": "natural", "proved": False}
    verdict["choices"] = {
        t: [{**c, "expected": None, "at_most": None} for c in cs] for t, cs in verdict["choices"].items()
    }
    verdict |= {"noise": None, "settle": None, "claims": []}
    (copied / "verdict.json").write_text(json.dumps(verdict))
    page = Page(write_report(RunDirectory(copied)))
    answer = words(page.by_id("answer"))
    assert "Use natural. It is your data as it is. By the uniform average doremi has 1.11% fewer bits" in answer
    assert list(page.table("candidates")["doremi"].values())[-1] == "\N{EN DASH}"


# -- words -----------------------------------------------------------------------------------------------------------


def test_numbers_as_words() -> None:
    blank, minus = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"
    assert percent(0.12345) == f"12.35{blank}%"
    assert percent(1e-9) == f"<0.01{blank}%"
    assert percent(0.0) == f"0.00{blank}%"
    assert [fixed(x) for x in (-1.5, None, float("nan"), "<b>", True)] == [
        f"{minus}1.500",
        "\N{EN DASH}",
        "\N{EN DASH}",
        "<b>",
        "True",
    ]
    assert signed(0.5, 1) == "+0.5"
    assert [count(x) for x in (950, 9999, 12345, 123456, 4.1e6, 2.5e9, 3e12)] == [
        "950", "9,999", f"12.3{blank}k", f"123{blank}k", f"4.10{blank}M", f"2.50{blank}B", f"3.00{blank}T",
    ]  # fmt: skip
    assert factor(2.345) == "\N{MULTIPLICATION SIGN}2.35"
    assert [duration(x) for x in (3.21, 90, 5400)] == [f"3.2{blank}s", f"1.5{blank}min", f"1.5{blank}h"]
    assert [listed(x) for x in ([], ["a"], ["a", "b"], [1, 2, 3])] == ["", "a", "a and b", "1, 2 and 3"]
    assert shortened("abcdef", 4) == "abc\N{HORIZONTAL ELLIPSIS}"
    assert fixed(10**400) == str(10**400)
    nested = {"a": {"b": None, "c": [1, True]}, "d": "", "e": {}}
    assert flattened(nested) == [("a.b", "not set"), ("a.c", "1, true"), ("d", "none"), ("e", "{}")]
