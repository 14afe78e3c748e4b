"""Exports over the user's own data: paths, true sizes, lengths that are measured or given, and schedules."""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.corpus.tokenizer import train_tokenizer
from doremi.errors import DoremiError, ExportError
from doremi.export import Options, export
from doremi.export.measure import Measured, measure_index, measure_text
from doremi.export.schedule import _changes
from doremi.rundir.layout import RunDirectory
from make_run import MadeRun, make_run
from read_exports import READERS, weights_file

NAMES = ("web", "gr\u00fcne B\u00fccher", "code")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return RunDirectory(make_run(tmp_path_factory.mktemp("run") / "demo", MadeRun(domains=NAMES, seeds=(0,))))


@pytest.fixture
def thirds(tmp_path: Path) -> Path:
    return weights_file(tmp_path / "thirds.json", dict(zip(NAMES, [0.5, 0.25, 0.25], strict=True)))


def given(tmp_path: Path, **domains: object) -> Path:
    path = tmp_path / "paths.yaml"
    value = {"web": "/data/web", "gr\u00fcne B\u00fccher": "/data/b\u00fccher", "code": "/data/code", **domains}
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    return path


def readme(out: Path) -> str:
    return (out / "README.txt").read_text(encoding="utf-8")


# -- epochs and lengths --------------------------------------------------------------------------------------------


def test_true_sizes_give_the_epochs_at_the_budget(run: RunDirectory, thirds: Path, tmp_path: Path) -> None:
    """The whole command: 300B tokens, a web of 1.5T, of which the run saw a sample."""
    paths = given(
        tmp_path, web={"path": "/data/web", "tokens": "1.5T"}, code={"paths": ["/data/code"], "tokens": 25_000_000_000}
    )
    command = ["export", str(run.root), "--to", "megatron", "--mixture", str(thirds), "--budget", "300B"]
    out = tmp_path / "out"
    result = CliRunner().invoke(app, [*command, "--paths", str(paths), "--out", str(out)])
    assert result.exit_code == 0
    assert "note: how many tokens 'gr\u00fcne B\u00fccher' has is not known, so its epochs are not" in result.stderr
    assert (out / "blend.txt").read_text(encoding="utf-8").splitlines() == [
        "0.500000000000 /data/web",
        "0.250000000000 /data/b\u00fccher",
        "0.250000000000 /data/code",
    ]
    sidecar = json.loads((out / "doremi-export.json").read_text(encoding="utf-8"))
    assert [one["epochs"] for one in sidecar["domains"].values()] == [0.1, None, 3.0]
    rows = {line.split()[-1]: line.split() for line in readme(out).splitlines() if line.startswith("0.")}
    assert [rows[name][4] for name in ("web", "B\u00fccher", "code")] == ["0.1", "-", "3"]
    assert not list(out.rglob("*.bin"))


def test_a_length_is_never_taken_from_the_sample_in_silence(run: RunDirectory, thirds: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"'web': this trainer counts documents or samples, and nothing says how many"
    ):
        export(run, "huggingface", mixture=thirds, out=tmp_path / "out", options=Options(paths=given(tmp_path)))
    lengths = dict(zip(NAMES, (10, 1000, 100), strict=True))
    paths = given(
        tmp_path, **{n: {"path": f"/data/{i}", "tokens_per_document": x} for i, (n, x) in enumerate(lengths.items())}
    )
    export(run, "huggingface", mixture=thirds, out=tmp_path / "out", options=Options(paths=paths))
    _, found = READERS["huggingface"](tmp_path / "out")
    shares = np.array([0.5 / 10, 0.25 / 1000, 0.25 / 100])
    assert list(map(float, found)) == pytest.approx(list(shares / shares.sum()), abs=1e-12)


def test_text_at_a_path_is_measured_and_said(run: RunDirectory, thirds: Path, tmp_path: Path) -> None:
    tokenizer = train_tokenizer([f"word {i}" for i in range(100)], vocab_size=300)
    tokenizer.save(run.corpus_folder / "tokenizer")
    lines = [json.dumps({"text": "word 1 " * n}) for n in (1, 2, 3, 10)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    expected = sum(len(tokenizer.encode("word 1 " * n)) + 1 for n in (1, 2, 3, 10)) / 4
    assert measure_text([str(tmp_path)], run.corpus_folder / "tokenizer", "web") == Measured(read=4, mean=expected)
    places = {name: str(tmp_path / "a.jsonl") for name in NAMES[1:]}
    paths = given(tmp_path, web=str(tmp_path / "*.jsonl"), **places)
    with pytest.raises(ExportError, match="stands for 'gr\u00fcne B\u00fccher' and for 'code'"):
        export(run, "ms-swift", mixture=thirds, out=tmp_path / "out", options=Options(paths=paths))
    export(run, "huggingface", mixture=thirds, out=tmp_path / "out", options=Options(paths=paths))
    assert "the mean length of 'web' was measured on 4 documents at its paths" in readme(tmp_path / "out")
    one = json.loads((tmp_path / "out/doremi-export.json").read_text())["domains"]["web"]
    assert one["tokens_per_document"] == pytest.approx(expected)


def test_indices_of_trainers_are_measured(run: RunDirectory, tmp_path: Path) -> None:
    corpus = run.whole_corpus()
    train = corpus.entries["code"].train
    size = Measured(train.tokens, train.documents)
    export(run, "megatron", out=tmp_path / "m")
    export(run, "nanotron", out=tmp_path / "n")
    assert measure_index(str(tmp_path / "m/code/train"), 2) == size
    assert measure_index(str(tmp_path / "n/code"), 2) == size
    assert measure_index(str(corpus.path("code", "train.bin")), 2) == Measured(train.tokens)
    (tmp_path / "mds").mkdir()
    (tmp_path / "mds/index.json").write_text(json.dumps({"shards": [{"samples": 3}, {"samples": 4}]}))
    assert measure_index(str(tmp_path / "mds"), 2) == Measured(documents=7)
    (tmp_path / "mds/index.json").write_text(json.dumps({"chunks": [{"dim": 30}, {"dim": 12}]}))
    assert measure_index(str(tmp_path / "mds"), 2) == Measured(42)
    (tmp_path / "bad.idx").write_bytes(b"MMIDIDX\0\0" + struct.pack("<Q", 1))
    for path in ("s3://bucket/web", str(tmp_path / "bad"), str(tmp_path / "nowhere"), "x.npy"):
        assert measure_index(path, 2) == Measured()


def test_samples_of_an_index_with_given_tokens_have_a_length(run: RunDirectory, thirds: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.json").write_text(json.dumps({"shards": [{"samples": 100}]}))
    sizes = {
        name: {"path": str(tmp_path / x), "tokens": t}
        for name, x, t in zip(NAMES, "abc", (1000, 100_000, 10_000), strict=True)
    }
    export(run, "streaming", mixture=thirds, out=tmp_path / "out", options=Options(paths=given(tmp_path, **sizes)))
    _, found = READERS["streaming"](tmp_path / "out")
    shares = np.array([0.5 / 10, 0.25 / 1000, 0.25 / 100])
    assert list(map(float, found)) == pytest.approx(list(shares / shares.sum()), abs=1e-12)


# -- several paths -------------------------------------------------------------------------------------------------

TWO = [{"path": "/data/one", "tokens": "3B"}, {"path": "/data/two", "tokens": "1B"}]


def test_a_trainer_with_a_weight_a_path_divides_by_tokens(run: RunDirectory, thirds: Path, tmp_path: Path) -> None:
    export(run, "gpt-neox", mixture=thirds, out=tmp_path / "out", options=Options(paths=given(tmp_path, web=TWO)))
    names, weights = READERS["gpt-neox"](tmp_path / "out")
    assert names == ["/data/one", "/data/two", "/data/b\u00fccher", "/data/code"]
    assert weights == [Decimal("0.375"), Decimal("0.125"), Decimal("0.25"), Decimal("0.25")]
    assert "'web': each path has its own weight, the domain's divided by the sizes of its paths" in readme(
        tmp_path / "out"
    )


def test_a_trainer_with_its_own_rule_has_one_weight(run: RunDirectory, thirds: Path, tmp_path: Path) -> None:
    sizes = {name: {"path": f"/data/{i}", "tokens": "1B"} for i, name in enumerate(NAMES[1:])}
    options = Options(budget="10B", paths=given(tmp_path, web=TWO, **sizes))
    export(run, "olmo", mixture=thirds, out=tmp_path / "out", options=options)
    sources = yaml.safe_load((tmp_path / "out/sources.yaml").read_text(encoding="utf-8"))["sources"]
    assert (sources[0]["paths"], sources[0]["target_ratio"]) == (["/data/one", "/data/two"], 0.5)
    assert [source["max_repetition_ratio"] for source in sources] == [2.0, 3.0, 3.0]
    assert "OLMo-core takes the same share of each of them." in readme(tmp_path / "out")


def test_paths_without_sizes_divide_by_bytes_or_ask(run: RunDirectory, thirds: Path, tmp_path: Path) -> None:
    options = Options(path=("web=/data/one", "web=/data/two", "gr\u00fcne B\u00fccher=/b", "code=/c"))
    with pytest.raises(ExportError, match=r"'web' has several paths, and megatron takes a weight for each\."):
        export(run, "megatron", mixture=thirds, out=tmp_path / "out", options=options)
    for name, size in (("one", 10), ("two", 30)):
        (tmp_path / f"{name}.bin").write_bytes(bytes(size))
    options = Options(path=(f"web={tmp_path}/one", f"web={tmp_path}/two", "gr\u00fcne B\u00fccher=/b", "code=/c"))
    export(run, "megatron", mixture=thirds, out=tmp_path / "out", options=options)
    assert READERS["megatron"](tmp_path / "out")[1][:2] == [Decimal("0.125"), Decimal("0.375")]
    assert "the paths of 'web' divide it by their bytes" in readme(tmp_path / "out")


# -- mistakes ------------------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[dict[str, object], tuple[str, ...], str]] = {
    "a stranger": ({"books": "/x"}, (), r"paths\.yaml: 'books' is not a domain of this run; there are web"),
    "twice": ({}, ("web=/x",), r"'web': --path and .*paths\.yaml both name its paths"),
    "a missing one": ({"code": None}, (), "domain 'code': Input should be"),
    "a wrong key": ({"code": {"path": "/x", "token": 3}}, (), r"domain 'code': token: Extra inputs"),
    "no number": ({"code": {"path": "/x", "tokens": "many"}}, (), "domain 'code': tokens: Input should be"),
    "no option": ({}, ("books=/x",), r"--path 'books=/x': should be NAME=PLACE, with a domain of this run"),
    "a blank": ({"code": "/a b"}, (), r"/a b: Megatron cannot read a path with ' '"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line(run: RunDirectory, thirds: Path, tmp_path: Path, case: str) -> None:
    domains, path, says = MISTAKES[case]
    options = Options(paths=given(tmp_path, **domains), path=path)
    with pytest.raises(ExportError, match=says) as caught:
        export(run, "megatron", mixture=thirds, out=tmp_path / "out", options=options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_domain_without_a_path_needs_no_weight(run: RunDirectory, tmp_path: Path) -> None:
    options = Options(path=("web=/x", "code=/y"))
    with pytest.raises(ExportError, match="'gr\u00fcne B\u00fccher' has weight but no path"):
        export(run, "megatron", out=tmp_path / "out", options=options)
    mixture = weights_file(tmp_path / "a.json", dict(zip(NAMES, [0.5, 0.0, 0.5], strict=True)))
    export(run, "megatron", mixture=mixture, out=tmp_path / "out", options=options)
    assert READERS["megatron"](tmp_path / "out")[1] == [Decimal("0.5")] * 2


@pytest.mark.parametrize("budget", ["many", "0", "-3B", "1.5", "3X"])
def test_a_budget_that_is_none(run: RunDirectory, budget: str) -> None:
    with pytest.raises(ExportError, match="--budget: should be a"):
        export(run, "json", options=Options(budget=budget))


# -- schedules -----------------------------------------------------------------------------------------------------


def schedule(tmp_path: Path, **more: object) -> str:
    stages = [{"start": 0, "mixture": "uniform"}, {"start": 0.75, "weights": dict(zip(NAMES, [0, 1, 3], strict=True))}]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"stages": stages, **more}, allow_unicode=True), encoding="utf-8")
    return str(tmp_path / "s.yaml")


def test_stages_for_trainers_that_take_them(run: RunDirectory, tmp_path: Path) -> None:
    options = Options(budget="1M", schedule=schedule(tmp_path, tokens_per_step="1k"))
    export(run, "nanotron", out=tmp_path / "n", options=options)
    stages = yaml.safe_load((tmp_path / "n/data_stages.yaml").read_text(encoding="utf-8"))["data_stages"]
    assert [stage["start_training_step"] for stage in stages] == [1, 751]
    assert [len(stage["data"]["dataset"]["dataset_folder"]) for stage in stages] == [3, 2]
    assert stages[1]["data"]["dataset"]["dataset_weights"] == [0.25, 0.75]
    export(run, "levanter", out=tmp_path / "l", options=options)
    assert "weights change along the training, and the table has their average" in readme(tmp_path / "l")
    data = yaml.safe_load((tmp_path / "l/data.yaml").read_text(encoding="utf-8"))["data"]
    (first, second), block = data["train_weights"], data["mixture_block_size"]
    assert (first[0], list(second[1].values())) == (0, [0, 0.25, 0.75])
    assert second[0] % block == 0
    assert abs(second[0] - 750) <= 10


def test_a_schedule_says_which_domains_need_a_path(run: RunDirectory, thirds: Path, tmp_path: Path) -> None:
    """Its weights count, and not those of the mixture that it replaces."""
    halves = weights_file(tmp_path / "halves.json", dict(zip(NAMES, [0.5, 0.0, 0.5], strict=True)))
    stages = tmp_path / "stages.yaml"
    for mixture, others in ((thirds, halves), (halves, thirds)):
        stages.write_text(yaml.safe_dump({"stages": [{"start": 0, "mixture": str(others)}]}), encoding="utf-8")
        options, out = Options(path=("web=/x", "code=/y"), schedule=str(stages)), tmp_path / "out"
        if others == halves:
            export(run, "megatron", mixture=mixture, out=out, options=options)
            assert READERS["megatron"](out)[1] == [Decimal("0.5")] * 2
            continue
        with pytest.raises(ExportError, match="'gr\u00fcne B\u00fccher' has weight but no path"):
            export(run, "megatron", mixture=mixture, out=out, options=options)


def test_the_average_for_all_others_is_said(run: RunDirectory, tmp_path: Path) -> None:
    options = Options(budget="1M", schedule=schedule(tmp_path))
    export(run, "megatron", out=tmp_path / "out", options=options)
    third = Decimal(1) / 3
    expected = [
        third * Decimal("0.75"),
        third * Decimal("0.75") + Decimal("0.0625"),
        third * Decimal("0.75") + Decimal("0.1875"),
    ]
    assert list(map(float, READERS["megatron"](tmp_path / "out")[1])) == pytest.approx(
        list(map(float, expected)), abs=1e-12
    )
    assert "megatron takes no stages, so the weights are the average over the schedule" in readme(tmp_path / "out")


def test_a_step_is_needed_where_steps_are_counted(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="counts stages in steps: give tokens_per_step"):
        export(run, "nanotron", out=tmp_path / "out", options=Options(schedule=schedule(tmp_path)))
    with pytest.raises(ExportError, match="two stages would start at the same step"):
        export(
            run, "nanotron", out=tmp_path / "out", options=Options(schedule=schedule(tmp_path, tokens_per_step="10M"))
        )


def test_stages_along_the_search(run: RunDirectory, tmp_path: Path) -> None:
    """The proxy's weights go from uniform to what it found."""
    export(run, "nanotron", out=tmp_path / "out", options=Options(budget="40k", schedule="steps:4:1k"))
    stages = yaml.safe_load((tmp_path / "out/data_stages.yaml").read_text(encoding="utf-8"))["data_stages"]
    assert [stage["start_training_step"] for stage in stages] == [1, 11, 21, 31]
    (trace,) = [run.training(node).trace()["weights"] for node in run.nodes().find("proxy")]  # type: ignore[union-attr]
    assert stages[3]["data"]["dataset"]["dataset_weights"] == pytest.approx(list(trace[30:].mean(axis=0)), abs=1e-6)


def test_points_of_change_are_found() -> None:
    path = np.repeat([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], [30, 10, 60], axis=0)
    assert _changes(path, 3) == [0, 30, 40]
    assert _changes(path, 1) == [0]
    assert _changes(np.repeat(path, 50, axis=0), 3) == pytest.approx([0, 1500, 2000], abs=13)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps:0", "is no schedule"),
        ("steps:41", "has 40 steps with weights, too few for 41 stages"),
        ("steps:2:x", "--schedule: should be"),
        ("{stages: []}", "is no schedule .stages: List should have at least 1"),
        ("{stages: [{start: 0.5, mixture: uniform}]}", "stages should start at 0"),
        ("{stages: [{start: 0}]}", "needs one of mixture and weights"),
        ("{stages: [{start: 0, weights: {web: 1}}]}", "the stage at 0.0: the mixture has no weight for domain"),
        ("{stages: [{start: 0, mixture: best}]}", "has no mixture 'best'"),
    ],
)
def test_wrong_schedules(run: RunDirectory, tmp_path: Path, text: str, says: str) -> None:
    if text.startswith("{"):
        (tmp_path / "s.yaml").write_text(text)
        text = str(tmp_path / "s.yaml")
    with pytest.raises(DoremiError, match=says):
        export(run, "json", out=tmp_path / "out", options=Options(schedule=text))
