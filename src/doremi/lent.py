"""What this machine lends to us: cores and memory, as affinity, a container's limits and a scheduler allow."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OURS = Path("/proc/self/cgroup")
MEMORY = Path("/proc/meminfo")


def available_cores() -> int:
    """Cores that this process may keep busy: those it may run on, no more than a container's quota pays for.

    In a job of Slurm also no more than it was given: a cluster without cgroups and affinity binds nobody to them.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [share for folder in _cgroups("cpu") if (share := _quota(folder)) is not None]
    given = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return max(1, min([allowed, *(int(share) for share in quotas), int(given) if given.isdecimal() else allowed]))


def available_memory() -> int:
    """Bytes that may still be taken: what the machine has left, no more than a container's limit leaves."""
    left = _meminfo()
    for folder in _cgroups("memory"):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
        if limit is not None:
            left = min(left, max(0, limit - used + _reclaimable(folder)))
    return left


# -- files of the kernel -----------------------------------------------------------------------------------------------


def _cgroups(controller: str) -> list[Path]:
    """The folders of our control groups, from the root to the innermost: each of them may have a limit."""
    try:
        lines = OURS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = CGROUPS / controller if controllers else CGROUPS  # version 1 has a tree for each controller
        parts = Path(path).parts[1:]
        found += [base.joinpath(*parts[:n]) for n in range(len(parts) + 1)]
    return found


def _quota(folder: Path) -> float | None:
    """Cores that a group may use on average; None without a limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        return None if quota in ("max", "-1") else float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _number(path: Path) -> int | None:
    try:
        value = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # `max`, or no such group
        return None
    return value if value < 2**60 else None  # version 1 writes a huge number for none


def _reclaimable(folder: Path) -> int:
    """Bytes of files that a group has in memory and that the kernel drops when it needs the room."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.split()[0] in ("inactive_file", "total_inactive_file"))


def _meminfo() -> int:
    try:
        lines = MEMORY.read_text(encoding="ascii").splitlines()
    except OSError:
        return 2**62
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
