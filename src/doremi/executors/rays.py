"""The nodes of a run as tasks of Ray, on this machine or on a cluster that has the same folders.

Events come through an actor, which each task asks at most twice a second, and which answers whether to stop.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any

from doremi.errors import ConfigError, RunError
from doremi.events.event import Event, Said, Stepped
from doremi.executors.worker import Result, perform
from doremi.pipeline.executor import Ended, Task
from doremi.pipeline.workspace import Workspace
from doremi.rundir.machine import Host
from doremi.rundir.node import Node

ASK_EVERY_SECONDS = 0.5
SHORT_WHILE = 0.5  # seconds between looks at whether to stop
LEAST_SHARE = 0.01  # of a GPU


def connect(address: str) -> Any:
    """Ray, started on this machine (`ray`) or joined (`ray://HOST:PORT`); `ConfigError` where that cannot be."""
    try:
        ray = import_module("ray")
    except ImportError:
        raise ConfigError("executor: Ray is not installed; run `pip install 'doremi[ray]'`") from None
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what the next versions of Ray do by themselves
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "ray":
        options |= {"include_dashboard": False}
    else:
        options |= {"address": address}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"executor: Ray at {address} cannot be reached ({reason})") from None
    return ray


def cluster(address: str) -> Host:
    """What all of its machines have together."""
    ray = connect(address)
    found = ray.cluster_resources()
    devices = tuple(str(i) for i in range(int(found.get("GPU", 0))))
    return Host(max(1, int(found.get("CPU", 1))), int(found.get("memory", 2**62)), devices)


class Channel:
    """Where tasks tell their events; lives in a process of Ray's."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.stopping = False

    def tell(self, events: list[Event]) -> bool:
        """Whether the teller is to stop."""
        self.events += events
        return self.stopping

    def take(self) -> list[Event]:
        """What has been told since."""
        events, self.events = self.events, []
        return events

    def stop(self) -> None:
        """Whoever tells something next is to stop."""
        self.stopping = True


class Told:
    """The watch of a task."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.stopping = False
        self._kept: list[Event] = []
        self._asked = 0.0

    def emit(self, event: Event) -> None:
        if isinstance(event, Stepped):  # the last of several is enough
            self._kept = [kept for kept in self._kept if not isinstance(kept, Stepped)]
        self._kept.append(event)

    def say(self, message: str) -> None:
        self.emit(Said(message))

    def stop_requested(self) -> bool:
        if time.monotonic() - self._asked > ASK_EVERY_SECONDS:
            self.flush()
        return self.stopping

    def flush(self) -> None:
        """Tell what is kept."""
        kept, self._kept, self._asked = self._kept, [], time.monotonic()
        self.stopping = import_module("ray").get(self.channel.tell.remote(kept)) or self.stopping


def work(task: Task, channel: Any) -> Result:
    """A task of Ray's."""
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
        self.ray = connect(space.config.executor)
        self.channel = self.ray.remote(Channel).options(num_cpus=0).remote()
        self.running: list[_Running] = []
        gpus = self.ray.cluster_resources().get("GPU", 0) if space.world.device.type == "cuda" else 0
        self.gpus = min(1.0, max(LEAST_SHARE, gpus / at_once)) if gpus else 0

    def __enter__(self) -> RayTasks:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        for one in self.running:
            self.ray.cancel(one.reference, force=True)
        self.running = []
        self.ray.kill(self.channel)

    def start(self, task: Task) -> None:
        threads = min(int(task.settings.threads), int(self.ray.cluster_resources().get("CPU", 1)))
        options = {"num_cpus": threads, "num_gpus": self.gpus, "max_retries": 0, "name": task.node.id}
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
            result = self.ray.get(one.reference)
        except self.ray.exceptions.RayError as error:
            return Ended(one.node, lost=f"was lost ({str(error).splitlines()[0]})")
        return Ended(one.node, result.error, result.trace)

    def stop(self) -> None:
        self.ray.get(self.channel.stop.remote())
