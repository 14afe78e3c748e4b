"""What is left of a run as a schedule: the order of its work, when it ends, how many trainings at once pay and fit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doremi import lent
from doremi.corpus.encoding import worker_count
from doremi.methods import by_mixture
from doremi.rundir.at_once import settled
from doremi.rundir.graph import graph
from doremi.rundir.machine import Host
from doremi.rundir.node import Node
from doremi.rundir.schedule import Left
from graphs import config as configured
from graphs import known

GIGABYTE = 10**9


def left_of(**changes: Any) -> Left:
    config = configured(**changes)
    plan = graph(config, known(config, assumed=True), by_mixture())
    return Left.of(plan, lambda node: node.kind in ("training", "losses", "mixture"))


def one_second(node: Node) -> float:
    return 0.0 if node.kind == "mixture" else 1.0


def test_the_longest_way_begins_with_the_reference_and_not_with_a_plain_main_model() -> None:
    left = left_of(reference={"mixture": "temperature"})
    ways = left.ways(one_second)
    plain = [name for name, node in left.nodes.items() if node.role == "main" and not left.needs[name]]
    assert ways["doremi/reference/seed-0"] == 3  # itself, the proxy, a main model on what it finds
    assert {ways[name] for name in plain} == {1}


def test_a_schedule_ends_when_its_longest_chain_or_all_its_work_does() -> None:
    left = left_of(reference={"mixture": "temperature"})
    trainings = sum(one_second(node) for node in left.nodes.values())
    assert left.makespan(1, one_second) == trainings
    assert left.makespan(100, one_second) == 3
    assert trainings / 2 <= left.makespan(2, one_second) < trainings


def test_what_runs_already_counts_with_what_it_has_left() -> None:
    left = left_of(reference={"mixture": "temperature"})
    assert left.makespan(100, one_second, {"doremi/reference/seed-0": 0.25}) == 2.25


def test_the_same_training_under_two_names_counts_once() -> None:
    """A natural reference is the candidate on the natural mixture."""
    assert len(left_of().nodes) < len(left_of(reference={"mixture": "temperature"}).nodes)


def test_of_what_is_alike_the_one_that_is_wanted_is_done() -> None:
    """The candidate on the natural mixture is the reference, also for who asks for candidates alone."""
    config = configured()
    plan = graph(config, known(config), by_mixture())
    left = Left.of(plan, lambda node: node.role == "main")
    assert "0.1m/natural/seed-0" in left.nodes
    assert "doremi/reference/seed-0" not in left.nodes


# -- how many at once --------------------------------------------------------------------------------------------------


def at_once(host: Host, *, threads_stay: bool = False, **changes: Any) -> tuple[int, int]:
    """Trainings at once, and the threads of each."""
    training = {"steps": 10**9, **changes.pop("training", {})}  # long enough for the start not to matter
    config = configured(training=training, **changes)
    found = settled(config, known(config), host, by_mixture(), threads_stay=threads_stay)
    return found.at_once, found.machine.threads


def test_two_cores_do_two_small_trainings_with_one_thread_each() -> None:
    assert at_once(Host(2, 8 * GIGABYTE)) == (2, 1)


def test_a_chain_of_trainings_has_all_cores() -> None:
    alone = {"mixtures": ["doremi"], "seeds": 1}
    assert at_once(Host(2, 8 * GIGABYTE), candidates=alone) == (1, 2)


def test_trainings_of_seconds_do_not_pay_for_a_second_process() -> None:
    assert at_once(Host(2, 8 * GIGABYTE), training={"steps": 20}) == (1, 2)


def test_no_more_trainings_than_fit_into_the_memory() -> None:
    many = {"mixtures": ["doremi", "natural", "uniform"], "seeds": 4}
    assert at_once(Host(8, 64 * GIGABYTE), candidates=many)[0] > 2
    assert at_once(Host(8, GIGABYTE), candidates=many) == (2, 4)
    assert at_once(Host(8, 1000), candidates=many) == (1, 8)


def test_one_training_on_each_gpu() -> None:
    many = {"mixtures": ["doremi", "natural", "uniform"], "seeds": 4}
    assert at_once(Host(16, 128 * GIGABYTE, ("0", "1")), candidates=many) == (2, 8)


def test_a_training_that_fits_nowhere_is_told() -> None:
    config = configured(training={"steps": 100})
    looked = known(config)
    small = Host(16, 128 * GIGABYTE, ("0", "1"), device_memory=1000)
    told = settled(config, looked, small, by_mixture(), threads_stay=False).warning
    assert told is not None
    assert re.match(r"\S+/seed-0 needs about [\d.]+ \w+ of memory, and a GPU has 1.0 kB", told)
    for other in (Host(2, 1000), replace(small, device_memory=None), replace(small, device_memory=GIGABYTE)):
        told = settled(config, looked, other, by_mixture(), threads_stay=False).warning
        assert (told is not None) == (not other.devices)


def test_what_is_written_is_done() -> None:
    assert at_once(Host(2, 8 * GIGABYTE), workers=5) == (5, 1)
    assert at_once(Host(8, 8 * GIGABYTE), workers=2, training={"threads": 3}) == (2, 3)


def test_threads_stay_once_a_training_has_begun() -> None:
    """They are in the keys: another machine, or another `workers`, changes how many go on at once and nothing else."""
    assert at_once(Host(8, 8 * GIGABYTE), threads_stay=True, workers=4) == (4, 2)  # as recorded
    assert at_once(Host(2, 8 * GIGABYTE), threads_stay=True) == (1, 2)


# -- the machine -------------------------------------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group of version 2, in the place of ours."""
    monkeypatch.setattr(lent, "_cgroups", lambda controller: [tmp_path])
    monkeypatch.setattr(lent.os, "sched_getaffinity", lambda process: set(range(16)))
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 16), ("400000 100000", 4), ("150000 100000", 1), ("50000 100000", 1), ("6400000 100000", 16),
        ("nonsense", 16),
    ],
)  # fmt: skip
def test_a_container_pays_for_fewer_cores_than_it_shows(groups: Path, quota: str, cores: int) -> None:
    (groups / "cpu.max").write_text(quota + "\n")
    assert lent.available_cores() == cores
    assert worker_count(0) == cores  # processes that tokenize


def test_the_older_kind_of_quota(groups: Path) -> None:
    (groups / "cpu.cfs_quota_us").write_text("300000\n")
    (groups / "cpu.cfs_period_us").write_text("100000\n")
    assert lent.available_cores() == 3
    (groups / "cpu.cfs_quota_us").write_text("-1\n")
    assert lent.available_cores() == 16


@pytest.mark.parametrize(("given", "cores"), [("6", 6), ("64", 16), ("", 16), ("8(x2)", 16), ("0", 1)])
def test_a_job_of_slurm_takes_what_it_was_given(
    groups: Path, monkeypatch: pytest.MonkeyPatch, given: str, cores: int
) -> None:
    """Also where nothing binds it to that."""
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", given)
    assert lent.available_cores() == cores


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


OLD = "11:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n1:name=systemd:/docker/ab\n"
MIXED = OLD + "0::/docker/ab\n"
NEW = "0::/kubepods/pod7/ab\n"


@pytest.mark.parametrize(
    ("own", "files"),
    [
        # what a container is shown of version 1: its own group as the root, and its path on the machine
        (OLD, {"cpu": "200000 100000", "memory": "7000000"}),
        # a batch job of version 1, with its groups below those of the machine
        (MIXED, {"cpu/docker/ab": "200000 100000", "memory": "9223372036854771712", "memory/docker/ab": "7000000"}),
        # version 2, where a group above has the limits
        (NEW, {"cpu.max": "max 100000", "kubepods/pod7/cpu.max": "200000 100000", "kubepods/pod7/ab/cpu.max": "max 9",
               "kubepods/memory.max": "8000000", "kubepods/pod7/ab/memory.max": "7000000"}),
        # version 2, in a name space of its own
        ("0::/\n", {"cpu.max": "200000 100000", "memory.max": "7000000"}),
    ],
    ids=["docker, version 1", "batch, version 1", "nested, version 2", "docker, version 2"],
)  # fmt: skip
def test_limits_lie_where_each_kind_of_container_has_them(
    own: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        if path.suffix:
            written(path, text)
        elif name.startswith("cpu"):
            for kind, value in zip(("quota", "period"), text.split(), strict=True):
                written(path / f"cpu.cfs_{kind}_us", value)
        else:
            written(path / "memory.limit_in_bytes", text)
    monkeypatch.setattr(lent, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(lent, "OURS", tmp_path / "own")
    monkeypatch.setattr(lent.os, "sched_getaffinity", lambda process: set(range(16)))
    assert (lent.available_cores(), lent.available_memory()) == (2, 7_000_000)


def test_a_container_has_less_memory_than_its_machine(groups: Path) -> None:
    machine = lent.available_memory()
    (groups / "memory.max").write_text("3000000\n")
    (groups / "memory.current").write_text("2500000\n")
    (groups / "memory.stat").write_text("anon 1\ninactive_file 400000\n")
    assert lent.available_memory() == 900_000
    (groups / "memory.max").write_text("max\n")
    assert lent.available_memory() == pytest.approx(machine, rel=0.2)
