"""The nodes of a run as tasks of Ray, on this machine or on a cluster that has the same folders.

Ray gives each its cores, or its part of a GPU, and starts as many as it has room for.
"""

from __future__ import annotations

import contextlib
import math
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from doremi.errors import RunError, one_line
from doremi.executors.channel import Channel, Told
from doremi.executors.connection import connected
from doremi.executors.worker import perform
from doremi.pipeline.executor import Ended, Task
from doremi.pipeline.workspace import Workspace, versions
from doremi.rundir.machine import Host
from doremi.rundir.node import Node

SHORT_WHILE = 0.5  # seconds between looks at whether to stop
ALIKE = ("doremi", "torch", "python")
"""What must be the same wherever trainings of a run go on."""


def cluster(address: str) -> Host:
    """What all machines of a running Ray have together; `RunError` where its doremi is another than ours."""
    with connected(address) as ray:
        check_versions(ray, address)
        found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cores = [int(one["CPU"]) for one in found if one.get("CPU", 0) >= 1]
        devices = int(sum(one.get("GPU", 0) for one in found))
        memory = int(sum(one.get("memory", 0) for one in found))
    if not cores:
        raise RunError(f"executor: Ray at {address} has no CPUs for trainings")
    return Host(sum(cores), memory, tuple(str(i) for i in range(devices)), min(cores))


def check_versions(ray: Any, address: str) -> None:
    ours = versions()
    try:
        theirs = ray.get(ray.remote(versions).options(num_cpus=0, max_retries=0).remote())
    except ray.exceptions.RayTaskError:
        theirs = {"doremi": "no doremi that works"}
    for name in ALIKE:
        if ours[name].partition("+")[0] != theirs[name].partition("+")[0]:
            raise RunError(
                f"executor: Ray at {address} has {name} {theirs[name]}, here is {ours[name]}. Install the same there"
            )


def work(task: Task, channel: Any) -> Ended:
    """A task of Ray's."""
    root = task.config.root
    if not (root / "manifest.json").exists():
        where = socket.gethostname()
        error = RunError(f"{root}: is not there on {where}; all machines of Ray must have the same folders")
        return Ended(task.node, error)
    watch = Told(channel)
    try:
        return perform(task, watch)
    finally:
        watch.flush()


@dataclass
class _Running:
    node: Node
    reference: Any


class RayTasks:
    """An executor."""

    def __init__(self, space: Workspace, at_once: int) -> None:
        self.space, self.places = space, at_once
        self.running: list[_Running] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> RayTasks:
        self.ray = self._stack.enter_context(connected(self.space.config.executor))
        self.channel = self.ray.remote(Channel).options(num_cpus=0).remote()
        resources = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        self.cores = int(max(one.get("CPU", 1) for one in resources))
        gpus = int(sum(one.get("GPU", 0) for one in resources)) if self.space.world.device.type == "cuda" else 0
        self.gpu = 1 / math.ceil(self.places / gpus) if gpus else 0.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        with contextlib.suppress(ConnectionError, self.ray.exceptions.RayError):
            for one in self.running:
                self.ray.cancel(one.reference, force=True)
            self.ray.kill(self.channel)
        self.running = []
        return self._stack.__exit__(kind, error, trace)

    def start(self, task: Task) -> None:
        trains = task.settings is not None
        cores = min(int(task.settings.threads), self.cores) if task.settings is not None and not self.gpu else 1
        options = {"num_cpus": cores, "num_gpus": self.gpu if trains else 0, "max_retries": 0, "name": task.node.id}
        reference = self.ray.remote(work).options(**options).remote(task, self.channel)
        self.running.append(_Running(task.node, reference))

    def wait(self) -> list[Ended]:
        references = [one.reference for one in self.running]
        done, _ = self.ray.wait(references, num_returns=1, timeout=SHORT_WHILE)
        for event in self.ray.get(self.channel.take.remote()):
            self.space.watch.emit(event)
        return [self._ended(one) for one in list(self.running) if one.reference in done]

    def _ended(self, one: _Running) -> Ended:
        self.running.remove(one)
        try:
            return self.ray.get(one.reference)
        except self.ray.exceptions.RayError as error:
            return Ended(one.node, lost=f"was lost ({one_line(str(error))[:200]})")

    def stop(self) -> None:
        self.ray.get(self.channel.stop.remote())
