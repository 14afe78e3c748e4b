"""A real Slurm of one node on the loopback, from the system's packages and with nothing of the system's set-up."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "sinfo")
START_SECONDS = 60.0

# Put back into the queue, a job waits until its old credential is over; tests want that to be soon.
CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=6
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={controller}
SlurmdPort={node}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """What of Slurm and munge is not installed."""
    return [name for name in PROGRAMS if _program(name) is None]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def slurm(cores: int) -> Iterator[dict[str, str]]:
    """The environment in which `sbatch` and the like ask a cluster of one node with so many cores."""
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # short: the path of a socket has 107 characters at most
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        environment = _written(folder, cores)
        munge = ["--force", "--foreground", "--num-threads=1", f"--key-file={folder}/key"]
        munge += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
        for command in (["munged", *munge, f"--socket={folder}/munge.socket"], ["slurmctld", "-D"], ["slurmd", "-D"]):
            stack.enter_context(_running(command, folder, environment))
        _wait_until_idle(folder, environment)
        yield environment


def _written(folder: Path, cores: int) -> dict[str, str]:
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    ports = _free_ports()
    conf = CONF.format(
        host=socket.gethostname().partition(".")[0], folder=folder, user=getpass.getuser(),
        controller=ports[0], node=ports[1], cores=cores,
    )  # fmt: skip
    (folder / "slurm.conf").write_text(conf)
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    return {**ours, "SLURM_CONF": str(folder / "slurm.conf")}


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    program = _program(command[0])
    assert program is not None
    with (folder / f"{command[0]}.out").open("w") as out:
        process = subprocess.Popen(
            [program, *command[1:]], env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_idle(folder: Path, environment: dict[str, str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        asked = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True, check=False
        )
        if asked.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    said = "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(folder.glob("*.out")))
    raise RuntimeError(f"Slurm did not start: {asked.stdout}{asked.stderr}\n{said}")
