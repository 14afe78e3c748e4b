"""TensorBoard, Weights & Biases and trackio: each hears the events of one training."""

from __future__ import annotations

from collections.abc import Container, Sequence
from importlib.util import find_spec
from pathlib import Path

from doremi.errors import ConfigError
from doremi.events.event import Event
from doremi.events.stream import Listener, Stream, Watch
from doremi.trackers.to_tensorboard import TensorBoard
from doremi.trackers.to_trackio import Trackio
from doremi.trackers.to_wandb import WeightsAndBiases

TRACKERS = {tracker.package: tracker for tracker in (TensorBoard, WeightsAndBiases, Trackio)}


def check(names: Sequence[str]) -> None:
    """`ConfigError` where the package of a tracker is missing."""
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(f"trackers: {name} is not installed; run pip install 'doremi[{name}]', or leave it out")


def without(names: Sequence[str], dropped: Container[str]) -> list[str]:
    """Those trackers whose listener, by its own name, has not been dropped."""
    return [name for name in names if TRACKERS[name].name not in dropped]


class Tracked(Stream, Watch):
    """A watch that trackers listen to as well: one run of each for each training."""

    def __init__(self, watch: Watch, names: Sequence[str], run: Path) -> None:
        listeners: list[Listener] = [TRACKERS[name](run) for name in dict.fromkeys(names)]
        super().__init__(listeners)
        self.watch = watch

    def emit(self, event: Event) -> None:
        self.watch.emit(event)
        super().emit(event)

    def stop_requested(self) -> bool:
        return self.watch.stop_requested()
