"""Ray: a run as its tasks has the bytes of a local one, whatever is killed, and nothing of Ray's stays behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from doremi.errors import ConfigError, RunError
from doremi.executors import connection
from doremi.executors.channel import Channel
from doremi.executors.rays import check_versions, work
from doremi.methods import by_mixture
from doremi.pipeline.workspace import versions
from doremi.rundir.at_once import settled
from doremi.rundir.machine import Host
from graphs import config as plain_config
from graphs import known
from test_executors import contents
from test_shard_jobs import begun_as_large, corpus_files, prepared
from tiny import tiny_config, write_corpus, write_tiny

ASKED: dict[str, Any] = {
    "training": {"steps": 200, "evaluate_every": 100, "checkpoint_every": 20, "log_every": 20},
    "candidates": {"mixtures": ["doremi", "natural", "uniform"], "seeds": 1},
}
PATIENCE = 60.0
needs_ray = pytest.mark.skipif(
    find_spec("ray") is None or find_spec("grpc") is None, reason="needs the extra ray (ray[client])"
)


# -- what is told -----------------------------------------------------------------------------------------------------


def test_ray_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"^executor: Ray is not installed; run `pip install 'doremi\[ray\]'`$"):
        connection.check_installed()


@pytest.mark.parametrize("value", ["slurm", "ray://", "ray://host:port", "ray://a/b", "ray://me:secret@host:1"])
def test_an_executor_that_is_none(value: str) -> None:
    with pytest.raises(ConfigError, match="executor"):
        plain_config(executor=value)


def test_an_address_where_nothing_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(RunError, match=rf"^executor: nothing answers at {address} \(Connection refused\)"):
            connection._joined(address)


def test_another_version_on_the_machines_of_ray() -> None:
    theirs = {**versions(), "torch": "2.0.0"}
    remote = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: theirs))
    ray = SimpleNamespace(remote=lambda _: remote, get=lambda value: value)
    ray.exceptions = SimpleNamespace(RayTaskError=ValueError)
    with pytest.raises(RunError, match=r"^executor: Ray at ray://a has torch 2\.0\.0, here is \d.*\. Install the same"):
        check_versions(ray, "ray://a")
    theirs["torch"] = versions()["torch"].partition("+")[0] + "+cu130"
    check_versions(ray, "ray://a")


def test_a_machine_without_the_folders(tmp_path: Path) -> None:
    """Nothing is made there."""
    config = tiny_config(tmp_path, tmp_path / "text")
    task = SimpleNamespace(config=config, node=None)
    result = work(task, Channel())  # type: ignore[arg-type]
    assert str(result.error).endswith("all machines of Ray must have the same folders")
    assert not config.root.exists()


def test_a_training_has_no_more_threads_than_one_machine() -> None:
    asked = plain_config(workers=1)
    machines = Host(8, 2**40, cores_of_one=2)
    assert settled(asked, known(asked), machines, by_mixture(), threads_stay=False).machine.threads == 2


# -- runs -------------------------------------------------------------------------------------------------------------


class Place:
    """Where commands of one test run: their own folders for temporary files and for what is the user's."""

    def __init__(self, path: Path) -> None:
        self.home = path / "home"
        self.home.mkdir()
        self.temporary = tempfile.mkdtemp(prefix="t", dir="/tmp")  # short: the path of a socket has 107 characters
        ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = {**ours, "HOME": str(self.home), "TMPDIR": self.temporary}

    def processes(self) -> dict[int, str]:
        """All that were started from here, with what they are called."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"TMPDIR={self.temporary}\0".encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().decode().replace("\0", " ")
        return found

    def start(self, folder: Path, *words: str | Path) -> subprocess.Popen[str]:
        """`doremi`, given in that folder."""
        command = [sys.executable, "-m", "doremi", *map(str, words)]
        return subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True, cwd=folder)

    def doremi(self, folder: Path, *words: str | Path) -> str:
        """What a command that ends well has said."""
        process = self.start(folder, *words)
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
        return said

    def is_left(self) -> None:
        """All processes end, soon."""
        deadline = time.monotonic() + PATIENCE
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.processes() == {}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for process in place.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    shutil.rmtree(place.temporary, ignore_errors=True)


def wait_for(what: Callable[[], object], process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it takes too long"
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("ray") / "text")


@pytest.fixture(scope="module")
def config(text: Path) -> Path:
    """Its run directory lies in `runs`, where one stands."""
    config = write_tiny(text.parent / "tiny.yaml", text, Path("gone"), **ASKED)
    config.write_text(config.read_text().replace("runs: gone\n", ""))
    return config


@pytest.fixture(scope="module")
def straight(config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run without Ray."""
    folder = tmp_path_factory.mktemp("straight")
    subprocess.run([sys.executable, "-m", "doremi", "run", str(config)], cwd=folder, check=True, capture_output=True)
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return contents(SimpleNamespace(root=folder / "runs/tiny"))  # type: ignore[arg-type]


def at_work(place: Place) -> list[int]:
    """Processes of Ray that train."""
    return [number for number, name in place.processes().items() if name.startswith("ray::") and "seed-0" in name]


@needs_ray
@pytest.mark.slow
def test_a_run_on_a_ray_of_our_own(config: Path, straight: dict[str, bytes], place: Place, tmp_path: Path) -> None:
    place.doremi(tmp_path, "run", config, "--set", "executor=ray", "--set", "workers=2")
    assert files(tmp_path) == straight
    assert not (place.home / ".ray").exists()
    assert list(Path(place.temporary).glob("ray*")) == []


TWICE = """
from doremi.executors.connection import connected
from doremi.pipeline.workspace import versions
for _ in range(2):
    with connected("ray") as ray:
        print(ray.get(ray.remote(versions).remote())["doremi"])
"""


@needs_ray
@pytest.mark.slow
def test_one_program_starts_ray_twice(place: Place) -> None:
    """It takes the token of the first for all that come after."""
    done = subprocess.run([sys.executable, "-c", TWICE], env=place.environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{versions()['doremi']}\n" * 2), done.stderr
    assert list(Path(place.temporary).glob("ray*")) == []


@needs_ray
@pytest.mark.slow
def test_shards_of_a_corpus_are_tasks(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus of one process."""
    text = write_corpus(tmp_path / "text", 300)
    alone = tiny_config(tmp_path / "alone", text)
    prepared(alone)
    config = tiny_config(tmp_path / "ray", text)
    begun_as_large(config, monkeypatch)
    said = place.doremi(tmp_path / "ray", "prepare", "tiny.yaml", "--set", "executor=ray")
    assert "shards: begins" in said
    assert corpus_files(config) == corpus_files(alone)


@needs_ray
@pytest.mark.wide
def test_a_ray_of_our_own_killed(config: Path, straight: dict[str, bytes], place: Place, tmp_path: Path) -> None:
    """The same bytes, also when a worker and then the command is killed, and another is asked to stop."""
    command = (tmp_path, "run", config, "--set", "executor=ray", "--set", "workers=2")
    process = place.start(*command)
    wait_for(lambda: any(tmp_path.glob("runs/tiny/trainings/*/trace.f32")), process)
    os.kill(at_work(place)[0], signal.SIGKILL)
    assert process.stderr is not None
    told = next(line for line in process.stderr if "was lost" in line or "error" in line)
    assert "It resumes from its last checkpoint" in told
    process.kill()
    process.communicate()
    place.is_left()

    process = place.start(*command)
    wait_for(lambda: at_work(place), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert said.endswith("Run the same command to resume.\n")
    place.is_left()
    assert not (tmp_path / "runs/tiny/verdict.json").exists()

    shutil.rmtree(place.temporary)  # of the command that was killed
    Path(place.temporary).mkdir()
    place.doremi(*command)
    assert files(tmp_path) == straight
    place.is_left()
    assert not (place.home / ".ray").exists()
    assert list(Path(place.temporary).glob("ray*")) == []


@contextlib.contextmanager
def head(place: Place) -> Iterator[str]:
    """A Ray with one core on the loopback, started as a person would; its address."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    options = {
        "--num-cpus": 1, "--object-store-memory": 80 * 2**20, "--temp-dir": f"{place.temporary}/r",
        "--port": ports[0], "--ray-client-server-port": ports[1], "--include-dashboard": "false",
    }  # fmt: skip
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"{name}={value}" for name, value in options.items()]
    environment = {**place.environment, "RAY_AUTH_MODE": "disabled", "HEAD": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    try:
        wait_for(lambda: _answers(ports[1]), process)
        yield f"ray://127.0.0.1:{ports[1]}"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@needs_ray
@pytest.mark.wide
def test_a_ray_that_is_joined(config: Path, straight: dict[str, bytes], place: Place, tmp_path: Path) -> None:
    """Its tasks stand in another folder, where the command's relative paths would lead nowhere."""
    with head(place) as address:
        place.environment["RAY_AUTH_MODE"] = "disabled"
        place.doremi(tmp_path, "run", config, "--set", f"executor={address}", "--set", "workers=2")
        assert files(tmp_path) == straight
