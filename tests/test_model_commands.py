"""Models through whole commands: accumulation changes nothing, and what cannot be is said before anything is done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from doremi.cli import commands as cli
from doremi.model import build as models
from doremi.rundir.layout import RunDirectory
from tiny import write_corpus, write_tiny

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), documents=30)


def config(folder: Path, corpus: Path, architecture: str, options: dict[str, Any], **training: Any) -> Path:
    path = write_tiny(folder / "tiny.yaml", corpus, folder / "runs", training=training)
    text = path.read_text().replace("architecture: llama", f"architecture: {architecture}")
    before, _, after = text.partition("  options:\n")
    rest = after[after.index("training:") :]
    path.write_text(f"{before}  options: {json.dumps({**SMALL, **options})}\n{rest}")
    return path


def losses(path: Path, launch: list[str] | None = None) -> list[float]:
    """Of each step and each evaluated domain, of a reference that is trained (again), here or by `launch`."""
    shutil.rmtree(path.parent / "runs" / "tiny" / "trainings", ignore_errors=True)
    if launch is not None:
        subprocess.run([*launch, "reference", str(path)], check=True, capture_output=True)
    else:
        assert CliRunner().invoke(cli.app, ["reference", str(path)], catch_exceptions=False).exit_code == 0
    folder = RunDirectory(path.parent / "runs" / "tiny").reference(0).folder
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    trained = [record["loss"] for record in records if record["kind"] == "train"]
    evaluated = [record["select"]["loss"] for record in records if record["kind"] == "evaluation"]
    return trained + [loss for domains in evaluated for loss in domains]


def test_a_capped_model_is_capped_whatever_the_accumulation(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 rows of 16 tokens are too large for the limit, 2 rows are not; the weights make logits far above the cap."""
    monkeypatch.setattr(models, "LOGITS_LIMIT_BYTES", 4 * 16 * 300 * 4)
    options = {"num_key_value_heads": 2, "final_logit_softcapping": 2.0, "initializer_range": 0.5}
    settings = {"steps": 4, "log_every": 1, "evaluate_every": 2, "checkpoint_every": 4}
    whole, split = (losses(config(tmp_path, corpus, "nanochat", options, accumulation=n, **settings)) for n in (1, 4))
    assert len(whole) == 4 + 2 * 3
    assert split == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("command", [["reference"], ["run", "--dry-run"], ["prepare"]])
@pytest.mark.parametrize(
    ("architecture", "options", "says"),
    [
        ("llama", {"dtype": "bfloat16", "vocab_size": 9}, "model.options.dtype: training.precision decides it"),
        ("llama", {"hiden_size": 8}, "llama has no such key; did you mean 'hidden_size'?"),
        ("bert", {}, "bert looks at later tokens"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_done(
    command: list[str], architecture: str, options: dict[str, Any], says: str, corpus: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = config(tmp_path, corpus, architecture, options)
    monkeypatch.setattr("sys.argv", ["doremi", *command, str(path)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "loading torch" not in line)
    assert line.startswith("error: model")
    assert says in line
    assert not (tmp_path / "runs").exists()


def test_attention_of_its_own_is_told(corpus: Path, tmp_path: Path) -> None:
    path = config(tmp_path, corpus, "gemma2", {"num_key_value_heads": 2, "head_dim": 16})
    result = CliRunner().invoke(cli.app, ["run", "--dry-run", str(path)], catch_exceptions=False)
    assert "gemma2 cannot use PyTorch's fused attention" in result.stdout
    result = CliRunner().invoke(cli.app, ["prepare", str(path)], catch_exceptions=False)
    assert "gemma2 cannot use PyTorch's fused attention" in result.stderr


SCRIPT = (
    "from doremi.cli import commands; from doremi.model import build; build.LOGITS_LIMIT_BYTES = 0; commands.main()"
)


@pytest.mark.slow  # three launches
@pytest.mark.parametrize("architecture", ["nanochat", "llama"])
def test_two_processes_train_what_one_does(architecture: str, corpus: Path, tmp_path: Path) -> None:
    """Rows run again in the backward pass, under DDP and FSDP2."""
    (tmp_path / "chunks.py").write_text(SCRIPT)
    more = {"num_key_value_heads": 2} | ({"final_logit_softcapping": 2.0} if architecture == "nanochat" else {})
    options = {**more, "initializer_range": 0.5}
    settings = {"steps": 4, "log_every": 1, "evaluate_every": 2, "checkpoint_every": 4}
    results = []
    for processes, parallel in ((1, "ddp"), (2, "ddp"), (2, "fsdp")):
        path = config(tmp_path, corpus, architecture, options, parallel=parallel, **settings)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        results.append(losses(path, [*launch, str(tmp_path / "chunks.py")]))
    assert results[1] == pytest.approx(results[0], rel=1e-4)
    assert results[2] == pytest.approx(results[0], rel=1e-4)
