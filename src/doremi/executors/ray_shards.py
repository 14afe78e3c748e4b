"""The shards of a data set as tasks of Ray, on this machine or on a cluster that has the same folders."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from doremi.drawing.shards import Done, Job, write_shard
from doremi.errors import DoremiError, RunError
from doremi.executors.connection import STARTED_HERE, connected


def write_on_ray(address: str, job: Job, numbers: Sequence[int], workers: int, done: Done) -> None:
    """As `write_shards`, by Ray at `address`, which has a core for each shard and says itself how many go on at once.

    `ConfigError` where Ray is not installed, `RunError` where it cannot be reached, or is another doremi's.
    """
    with connected(address) as ray:
        if address != STARTED_HERE:
            from doremi.executors.rays import check_versions

            check_versions(ray, address)
        task = ray.remote(_write).options(num_cpus=1)
        waiting = [task.remote(job, number) for number in numbers]
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1)
            for error in ray.get(ready):
                if error is not None:
                    raise error
                done()


def _write(job: Job, number: int) -> Exception | None:
    """A task of Ray's. What a user can mend comes back as it is, since Ray would wrap it."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if not job.folder.is_dir():
        return RunError(
            f"{job.folder}: is not there on {socket.gethostname()}; all machines of Ray must have the same folders"
        )
    try:
        write_shard(job, number)
    except (DoremiError, OSError) as error:
        return error
    return None
