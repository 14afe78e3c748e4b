"""The whole job on a tiny corpus: what a user types, what is there afterwards, and what happens when it is broken."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import RunConfig
from doremi.corpus.pool import whole
from doremi.distributed import World
from doremi.errors import DamageError, DoremiError, Interrupted, RunError, TrainingError
from doremi.executors.choose import chosen
from doremi.files import file_sha256, write_json
from doremi.mixture.files import read_mixture
from doremi.pipeline import run as running
from doremi.pipeline.preparing import prepare
from doremi.pipeline.run import search
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from tiny import DOMAINS, Silent, tiny_config, write_corpus, write_tiny
from tolerances import GRADIENT, SMALL_BATCH


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> tuple[Path, str]:
    """A configuration that was run to the end through the command line, and what was printed."""
    folder = tmp_path_factory.mktemp("finished")
    config = write_tiny(folder / "tiny.yaml", corpus, folder / "runs", candidates={"seeds": 2})
    result = CliRunner().invoke(app, ["run", str(config)], catch_exceptions=False)
    assert result.exit_code == 0
    return config, result.stdout


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> RunDirectory:
    """A run that nothing interrupted."""
    return run(tiny_config(tmp_path_factory.mktemp("straight"), corpus))


def run(config: RunConfig, watch: Silent | None = None) -> RunDirectory:
    """Everything but the page, which is drawn of files that are compared themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "write_report", lambda _: None)
        with open_workspace(config, World(0, 1, torch.device("cpu")), watch or Silent()) as space:
            running.everything(space, chosen)
    return RunDirectory(config.root)


def contents(root: Path) -> dict[str, bytes]:
    """All files of a run that must not depend on time or place (the configuration names the place)."""
    volatile = {"timings.jsonl", "status.json", "locks", "config.yaml", "manifest.json", "report.html", "where.json"}
    found = {p.relative_to(root): p for p in root.rglob("*") if p.is_file()}
    return {str(name): p.read_bytes() for name, p in found.items() if volatile.isdisjoint(name.parts)}


def test_few_held_out_documents_are_told_when_the_corpus_is_made_or_asked_about(tmp_path: Path, corpus: Path) -> None:
    config, watch = tiny_config(tmp_path, corpus), Silent()

    def warnings() -> list[str]:
        return [message for message in watch.messages if message.startswith("warning: Results are measured on fewer")]

    with open_workspace(config, World(0, 1, torch.device("cpu")), watch) as space:
        made = prepare(space)
        few = dict(zip(DOMAINS, whole(made), strict=True))  # both halves judge
        assert max(few.values()) < 10
        assert [f"{d} ({n})" in warnings()[0] for d, n in few.items()] == [True] * 3
        prepare(space)
        assert len(warnings()) == 1
        prepare(space, full_check=True)
        assert len(warnings()) == 2


# -- what is there afterwards -----------------------------------------------------------------------------------------


def test_prints_mixture_verdict_and_report(finished: tuple[Path, str]) -> None:
    config, printed = finished
    assert all(name in printed for name in DOMAINS)
    assert "doremi vs natural" in printed
    report = Path(printed.strip().splitlines()[-1].removeprefix("report: "))
    assert report == config.parent / "runs" / "tiny" / "report.html"
    assert report.stat().st_size > 10_000


def test_mixture_is_the_mean_of_alpha_over_all_steps(finished: tuple[Path, str]) -> None:
    directory = RunDirectory(finished[0].parent / "runs" / "tiny")
    weights = directory.proxy(0).trace()["weights"]
    mixture = read_mixture(directory.mixture_path("doremi"))
    assert weights.shape == (20, 3)
    assert list(mixture.weights.values()) == pytest.approx(weights.mean(axis=0).tolist(), abs=1e-6)
    assert max(abs(weights[-1] - weights[0])) > 0.01


def test_models_load_with_transformers(finished: tuple[Path, str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory = RunDirectory(finished[0].parent / "runs" / "tiny")
    for folder in (directory.reference(0), directory.main("custom", "doremi", 1)):
        model = AutoModelForCausalLM.from_pretrained(folder.folder / "model")
        tokenizer = AutoTokenizer.from_pretrained(folder.folder / "model")
        ids = tokenizer("def abc(x):", return_tensors="pt")["input_ids"]
        assert tokenizer.decode(ids[0]) == "def abc(x):"
        assert torch.isfinite(model(ids).logits).all()
    assert not (directory.proxy(0).folder / "model").exists()


def test_saved_model_has_the_reported_loss(finished: tuple[Path, str]) -> None:
    """The reference's own evaluation, repeated with plain transformers and without our windows' padding."""
    from transformers import AutoModelForCausalLM

    directory = RunDirectory(finished[0].parent / "runs" / "tiny")
    found, expected = directory.whole_corpus(), directory.reference(0).evaluation()
    model = AutoModelForCausalLM.from_pretrained(directory.reference(0).folder / "model")
    from doremi.corpus.store import tokens

    for index, name in enumerate(DOMAINS):
        ids = [0, *tokens(found, name, "validation").tolist()]
        losses = []
        for start in range(0, len(ids) - 1, 16):
            window = torch.tensor([ids[start : start + 17]])
            logits = model(window[:, :-1]).logits[0]
            losses.append(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="none").detach())
        nats = torch.cat(losses).double()
        split = found.validation_documents(name)
        report = torch.from_numpy(split["report"].repeat(split["tokens"]))
        assert float(nats[report].mean()) == pytest.approx(expected["report"]["loss"][index], rel=GRADIENT)
        size = int(split["bytes"][split["report"]].sum())
        bits = float(nats[report].sum()) / size / math.log(2)
        assert bits == pytest.approx(expected["report"]["bits_per_byte"][index], rel=GRADIENT)


def test_natural_candidate_is_the_reference(finished: tuple[Path, str]) -> None:
    root = finished[0].parent / "runs" / "tiny"
    directory = RunDirectory(root)
    assert directory.main("custom", "natural", 0).folder == directory.reference(0).folder
    assert directory.main("custom", "natural", 1).finished  # there is no reference of that seed


def test_second_run_does_nothing(finished: tuple[Path, str]) -> None:
    config, printed = finished
    root = config.parent / "runs" / "tiny"
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.suffix in (".safetensors", ".jsonl", ".bin")}
    result = CliRunner().invoke(app, ["run", str(config)], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout == printed
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_status_and_single_stages(tmp_path: Path, corpus: Path) -> None:
    config = str(write_tiny(tmp_path / "tiny.yaml", corpus, tmp_path / "runs"))
    invoke = CliRunner().invoke
    assert invoke(app, ["run", config, "--dry-run"], catch_exceptions=False).exit_code == 0
    assert not (tmp_path / "runs").exists()
    for command in ("prepare", "reference", "proxy", "train", "evaluate", "report"):
        assert invoke(app, [command, config], catch_exceptions=False).exit_code == 0, command
    table = invoke(app, ["status", config]).stdout
    assert "waiting" not in table
    assert table.strip().splitlines()[-1].startswith("last: done")


def test_a_run_directory_stands_for_its_configuration(finished: tuple[Path, str], tmp_path: Path) -> None:
    """Also one that was copied elsewhere without its corpus, and without the overrides that it was made with."""
    root = Path(shutil.copytree(finished[0].parent / "runs/tiny", tmp_path / "copy", symlinks=True))
    corpora = finished[0].parent / "runs/corpora"
    where = root / "corpus/where.json"
    where.write_text(where.read_text().replace(str(corpora), str(tmp_path / "gone")))
    (root / "verdict.json").unlink()
    (root / "report.html").unlink()

    def say(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    def judged(folder: Path, place: Path) -> str:
        """Its folder is named where more seeds are asked for, and lines may break within that."""
        return "".join(say("evaluate", str(folder)).split()).replace(str(place), "")

    assert judged(root, root) == judged(finished[0], finished[0].parent / "runs/tiny")
    assert (root / "verdict.json").exists()
    assert say("report", str(root)).strip() == f"report: {root.resolve() / 'report.html'}"
    assert say("status", str(root)) == say("status", str(finished[0]))
    assert "waiting" in say("status", str(root), "--set", "candidates.seeds=3")
    assert str(root / "export/json/mixture.json") in say("export", str(root), "--to", "json")
    result = CliRunner().invoke(app, ["export", str(root), "--to", "megatron"])
    assert "the token files of this run are gone: its corpus is neither in" in str(result.exception)


def test_main_model_of_another_size_on_a_given_mixture(finished: tuple[Path, str], tmp_path: Path) -> None:
    config, _ = finished
    mixture = tmp_path / "mine.json"
    mixture.write_text(json.dumps({"prose": 2, "code": 1, "digits": 1}))
    sizes = ["--set", "model.preset=0.3m", "--set", "model.architecture=null", "--set", "model.options={}"]
    arguments = ["train", str(config), "--mixture", str(mixture), *sizes, "--set", "training.steps=3"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    run = RunDirectory(config.parent / "runs/tiny")
    (node,) = run.nodes().find("own")
    folder = run.training(node)
    assert (node.id, node.size, node.mixture) == ("own/0.3m/mine/seed-0", "0.3m", "mine")
    assert result.exit_code == 0
    assert folder.stage()["mixture"] == {"prose": 0.5, "code": 0.25, "digits": 0.25}
    assert folder.stage()["steps"] == 3
    assert read_yaml(config)["training"]["steps"] == 20


def test_a_model_of_ones_own_that_fails_leaves_the_run_as_it_ended(finished: tuple[Path, str], tmp_path: Path) -> None:
    root = Path(shutil.copytree(finished[0].parent / "runs/tiny", tmp_path / "runs/tiny"))
    config = str(tmp_path / "tiny.yaml")
    Path(config).write_text(finished[0].read_text().replace(str(finished[0].parent), str(tmp_path)))
    before = (root / "status.json").read_bytes()
    mixture = tmp_path / "mine.json"
    mixture.write_text(json.dumps({"elsewhere": 1}))
    assert CliRunner().invoke(app, ["train", config, "--mixture", str(mixture)]).exit_code != 0
    assert (root / "status.json").read_bytes() == before
    own = json.loads((root / "own-model-status.json").read_text())
    assert (own["state"], own["stage"], own["exit_code"]) == ("failed", "start", 2)
    last = CliRunner().invoke(app, ["status", config]).stdout.strip().splitlines()[-2:]
    assert last[0] == "last: done"
    assert last[1].startswith("last own model: failed at start: ")
    assert "'elsewhere'" in last[1]


def read_yaml(config: Path) -> dict[str, Any]:
    import yaml

    return yaml.safe_load((config.parent / "runs" / "tiny" / "config.yaml").read_text())


# -- the same answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [1, 7, 20, 27, 45])
def test_stopped_anywhere_and_run_again_is_the_same_run(
    stop_after: int, straight: RunDirectory, tmp_path: Path, corpus: Path
) -> None:
    """20 steps of reference, 20 of proxy, then main models: stops fall into each, between and at checkpoints."""
    config = tiny_config(tmp_path, corpus)
    with pytest.raises(Interrupted):
        run(config, Silent(stop_after))
    resumed = run(config)
    one, two = contents(straight.root), contents(resumed.root)
    assert [name for name in sorted({*one, *two}) if one.get(name) != two.get(name)] == []
    lines = [json.loads(line) for line in (resumed.root / "timings.jsonl").read_text().splitlines()]
    assert [line["from_step"] for line in lines if "from_step" in line] == [(stop_after - 1) % 20 + 1]


def test_accumulation_does_not_change_the_weights(tmp_path: Path, corpus: Path) -> None:
    paths = []
    for parts in (1, 2, 4):
        config = tiny_config(tmp_path / str(parts), corpus, training={"accumulation": parts})
        with open_workspace(config, World(0, 1, torch.device("cpu")), Silent()) as space:
            search(space, chosen)
        paths.append(RunDirectory(config.root).proxy(0).trace()["weights"])
    assert abs(paths[0][0] - 1 / 3).max() > 1e-3
    for path in paths[1:]:
        assert path.flatten().tolist() == pytest.approx(paths[0].flatten().tolist(), abs=SMALL_BATCH)


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_loss_that_explodes_names_step_and_domain(tmp_path: Path, corpus: Path) -> None:
    values = {"learning_rate": 1e30, "gradient_clip": 1e30, "warmup": 0.5, "checkpoint_every": 1}
    config = tiny_config(tmp_path, corpus, training=values)
    with pytest.raises(TrainingError, match=r"at step \d+ the (loss of domain '\w+'|gradient) is not finite.*Lower"):
        run(config)
    kept = RunDirectory(config.root).reference(0)
    assert not kept.finished
    assert all(math.isfinite(x) for r in kept.records("train") for x in r["domain_loss"])


def damage(root: Path, what: str) -> None:
    corpus = RunDirectory(root).whole_corpus().folder
    if what == "token file":
        path = corpus / "prose" / "train.bin"
        path.write_bytes(path.read_bytes()[:-2] + b"\x01\x01")
    elif what == "short token file":
        path = corpus / "prose" / "train.bin"
        path.write_bytes(path.read_bytes()[:-2])
    elif what == "tokenizer":
        path = corpus / "tokenizer" / "tokenizer.json"
        path.write_text(path.read_text().replace("[", "[ ", 1))
    elif what == "format":
        path = corpus / "manifest.json"
        path.write_text(path.read_text().replace('"format": 1', '"format": 0', 1))
    elif what == "mixture":
        (root / "mixture.json").write_text("{")


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("token file", DamageError, r"prose/train.bin"),
        ("short token file", DamageError, r"prose/train.bin"),
        ("format", RunError, r"format 0.*reads 1"),
    ],
)
def test_damaged_run_directories_are_refused(
    what: str, error: type[DoremiError], says: str, tmp_path: Path, corpus: Path
) -> None:
    config = tiny_config(tmp_path, corpus)
    with pytest.raises(Interrupted):
        run(config, Silent(3))
    damage(config.root, what)
    with pytest.raises(error, match=says):
        run(config)


def test_second_process_in_the_same_directory_is_told(tmp_path: Path, corpus: Path) -> None:
    config = tiny_config(tmp_path, corpus)
    world = World(0, 1, torch.device("cpu"))
    with (
        open_workspace(config, world, Silent()),
        pytest.raises(RunError, match="is working in this run directory"),
        open_workspace(config, world, Silent()),
    ):
        pass


def test_damaged_checkpoint_falls_back_to_the_one_before(straight: RunDirectory, tmp_path: Path, corpus: Path) -> None:
    config = tiny_config(tmp_path, corpus)
    with pytest.raises(Interrupted):
        run(config, Silent(13))
    newest = max((RunDirectory(config.root).reference(0).folder / "checkpoint").glob("step-*"))
    assert newest.name == "step-00000013"
    (newest / "tensors.safetensors").write_bytes(b"")
    watch = Silent()
    resumed = run(config, watch)
    assert any("step-00000013 is damaged" in message for message in watch.messages)
    assert resumed.mixture_path("doremi").read_bytes() == straight.mixture_path("doremi").read_bytes()


def test_checkpoints_of_another_training_are_not_gone_on_from(tmp_path: Path, corpus: Path) -> None:
    """The same folder, other data: the old checkpoints must neither be used nor outlive the new ones."""
    config = tiny_config(tmp_path, corpus)
    with pytest.raises(Interrupted):
        run(config, Silent(13))
    state = RunDirectory(config.root).reference(0).folder / "checkpoint"
    for folder in state.iterdir():
        values = json.loads((folder / "state.json").read_text())
        write_json(folder / "state.json", {**values, "key": "of other data"})
        sums = {name: file_sha256(folder / name) for name in ("tensors.safetensors", "state.json")}
        write_json(folder / "checksums.json", {"format": 1, "sha256": sums})
    watch = Silent(8)
    with pytest.raises(Interrupted):
        run(config, watch)
    assert any("Starting over" in message for message in watch.messages)
    assert sorted(p.name for p in state.iterdir()) == ["step-00000006", "step-00000008"]
