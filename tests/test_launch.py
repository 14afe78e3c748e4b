"""The example launch files: what they say agrees, a shell can read them, and two of them are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from slurm_here import missing, slurm
from tiny import write_corpus, write_tiny

HOUSE = Path(__file__).resolve().parents[1]
LAUNCH = HOUSE / "examples/launch"
TRAINING = {"training": {"steps": 40, "checkpoint_every": 10, "batch_size": 8}}


def jobset() -> dict[str, Any]:
    return yaml.safe_load((LAUNCH / "jobset.yaml").read_text())


@pytest.mark.parametrize("name", ["torchrun.sh", "several-nodes.sbatch"])
def test_bash_can_read_it(name: str) -> None:
    done = subprocess.run(["bash", "-n", LAUNCH / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_file_has_its_page() -> None:
    page = (HOUSE / "docs/launch.md").read_text()
    linked = set(re.findall(r"\(\.\./examples/launch/([^)]+)\)", page))
    assert linked == {path.name for path in LAUNCH.iterdir()}


def test_numbers_and_names_of_the_jobset_agree() -> None:
    value = jobset()
    (nodes,) = value["spec"]["replicatedJobs"]
    job = nodes["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    words = container["args"][0].rpartition("exec torchrun ")[2].replace("\\\n", "").split()
    said = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
    assert int(said["nnodes"]) == job["parallelism"] == job["completions"]
    assert int(said["nproc-per-node"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    name = value["metadata"]["name"]
    assert said["rdzv-endpoint"].partition(":")[0] == f"{name}-{nodes['name']}-0-0.{name}"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert words[-4:-1] == ["-m", "doremi", "run"]


@pytest.mark.parametrize(("index", "head"), [("0", "1"), ("1", "0"), ("10", "0")])
def test_the_first_pod_is_the_head(index: str, head: str, tmp_path: Path) -> None:
    """What the pods of the JobSet run, with a torchrun that says how it was called."""
    torchrun = tmp_path / "torchrun"
    torchrun.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    torchrun.chmod(0o755)
    (container,) = jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"]
    asked = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": index}
    said = subprocess.run(
        [*container["command"], *container["args"]], env=asked, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert f"--rdzv-conf=read_timeout=600,is_host={head}" in said
    assert said[-4:] == ["-m", "doremi", "run", "/data/my.yaml"]


@pytest.mark.parametrize("name", ["torchrun.sh", "several-nodes.sbatch", "jobset.yaml"])
def test_machines_may_be_late_and_processes_have_time_to_save(name: str) -> None:
    """torchrun itself waits less than three minutes for the head, and kills what saves for longer than 30 seconds."""
    text = (LAUNCH / name).read_text()
    assert "read_timeout=600" in text
    assert "TORCH_ELASTIC_SHUTDOWN_TIMEOUT" in text


@pytest.mark.slow
@pytest.mark.skipif(find_spec("kubeflow_trainer_api") is None, reason="needs the package kubeflow-trainer-api")
def test_the_jobset_is_as_its_schema_says() -> None:
    """Models that were generated from the schemas of JobSet and Kubernetes; nothing may be lost on the way."""
    schema = import_module("kubeflow_trainer_api.models.jobset_v1alpha2_job_set").JobsetV1alpha2JobSet
    value = jobset()
    assert schema.from_dict(value).to_dict() == value


def environment(**more: str) -> dict[str, str]:
    """With this Python's programs."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **more}


@pytest.mark.slow
def test_torchrun_trains_with_two_processes(tmp_path: Path) -> None:
    config = write_tiny(tmp_path / "tiny.yaml", write_corpus(tmp_path / "text"), tmp_path / "runs", **TRAINING)
    done = subprocess.run(
        [LAUNCH / "torchrun.sh", config], capture_output=True, text=True, check=False,
        env=environment(HEAD="localhost", NODES="1", GPUS="2", PORT="0"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs").glob("*/report.html"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(missing()), reason=f"not installed here: {', '.join(missing())}")
def test_a_slurm_job_that_is_told_goes_back_and_ends_well(tmp_path: Path) -> None:
    longer = {"training": {**TRAINING["training"], "steps": 1500}, "candidates": {"mixtures": ["natural"], "seeds": 1}}
    config = write_tiny(tmp_path / "tiny.yaml", write_corpus(tmp_path / "text"), tmp_path / "runs", **longer)
    script = (LAUNCH / "several-nodes.sbatch").read_text().replace("#SBATCH --gpus-per-node=8\n", "")
    (tmp_path / "job.sbatch").write_text(script)
    with slurm(2) as cluster:
        asked = {**cluster, **environment()}
        words = ["sbatch", "--parsable", "--nodes=1", f"--output={tmp_path}/log", tmp_path / "job.sbatch", config]
        number = subprocess.run(words, env=asked, capture_output=True, text=True, check=True).stdout.strip()

        def log() -> str:
            return (tmp_path / "log").read_text() if (tmp_path / "log").exists() else ""

        def wait_for(what: str) -> None:
            deadline = time.monotonic() + 400
            while what not in log():
                assert time.monotonic() < deadline, log()
                time.sleep(0.2)

        wait_for("doremi/reference/seed-0: begins")
        subprocess.run(["scancel", "--signal=USR1", "--batch", number], env=asked, check=True)
        wait_for("stopped after step")
        wait_for("report: ")
    assert list((tmp_path / "runs").glob("*/report.html"))
