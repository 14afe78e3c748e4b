"""Ray for as long as a block lasts: started on this machine and ended again, or joined where it runs.

A Ray of ours has a folder for temporary files of its own, which goes with it: another program that looks for a Ray does
not find this one. Its ports are open to the network, so it asks for a token. Ray would keep one in the user's home
folder. Ours is in the environment of its processes, and nowhere else.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import signal
import socket
import tempfile
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from doremi.errors import ConfigError, RunError, one_line
from doremi.lent import available_cores
from doremi.pipeline.host import visible_devices

STARTED_HERE = "ray"
"""The value of `executor` for a Ray of our own; any other is the address of one that runs."""
PORT = 10001  # where Ray listens for clients unless it is told another
ANSWER_SECONDS = 10.0
GONE_SECONDS = "20"  # after which processes whose Ray was killed end too: a minute by itself
OBJECTS_BYTES = 80 * 2**20  # for what goes between its processes, which are events: about the least that Ray takes
FOR_THE_COMMAND = {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU}


def check_installed() -> None:
    """`ConfigError` where Ray is missing."""
    if find_spec("ray") is None:
        raise ConfigError("executor: Ray is not installed; run `pip install 'doremi[ray]'`")


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected; `RunError` where that cannot be, or is no longer."""
    check_installed()
    with contextlib.ExitStack() as stack:
        if address == STARTED_HERE:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True))
            ray = _started(folder)
        else:
            ray = _joined(address)
        stack.callback(ray.shutdown)
        try:
            yield ray
        except (ConnectionError, ray.exceptions.RayError) as error:
            what = "is gone" if address == STARTED_HERE else f"at {address} is out of reach"
            raise RunError(
                f"executor: Ray {what} ({one_line(str(error))[:200]}). Run the same command to resume"
            ) from None


def _started(folder: str) -> Any:
    ours = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_gcs_rpc_server_reconnect_timeout_s": GONE_SECONDS}
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        ours["RAY_AUTH_TOKEN"] = _token()
    with _environment(ours):
        return _init(
            "cannot be started",
            address="local", num_cpus=available_cores(), num_gpus=len(visible_devices()), include_dashboard=False,
            object_store_memory=OBJECTS_BYTES, _temp_dir=folder,
        )  # fmt: skip


@functools.cache
def _token() -> str:
    """One for all that this process starts: Ray reads it once and sends it ever after."""
    return secrets.token_hex(32)


def _joined(address: str) -> Any:
    place = urlsplit(address)
    try:  # Ray itself would try for half a minute
        socket.create_connection((str(place.hostname), place.port or PORT), ANSWER_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"executor: nothing answers at {address} ({reason}). Is Ray running there?") from None
    return _init(f"at {address} cannot be joined", address=address)


def _init(failure: str, **options: Any) -> Any:
    ray = import_module("ray")
    with _signals_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            try:
                ray.init(log_to_driver=False, logging_level="ERROR", **options)
            except ConnectionAbortedError:  # Ray forks a server for each client, which now and then never begins
                ray.init(log_to_driver=False, logging_level="ERROR", **options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise RunError(f"executor: Ray {failure} ({one_line(str(error))[:300]})") from None
    return ray


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """With these values, which the processes inherit that are started now; then without them and what Ray has set."""
    before = set(os.environ)
    os.environ.update({name: value for name, value in values.items() if name not in before})
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("RAY_") and name not in before]:
            del os.environ[name]


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """What asks the command to stop still does so afterwards, and does not end processes of Ray's that began here.

    They must live for as long as the trainings need to save.
    """
    handler = signal.getsignal(signal.SIGTERM)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_COMMAND)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
