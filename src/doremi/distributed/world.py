"""Ranks, sums, DDP, FSDP2, and what happens when a process is lost.

Tensors travel over NCCL or gloo. Beside that there is always a control group over gloo, on the CPU: for agreeing to
stop, and for waiting with a time limit, so that a process that hangs or dies is noticed and named on any device. Who
waits for its GPU, and not for the control group, is ended by a thread (vigil.py). The first process that fails puts its
message into the store that all of them share and prints it; the others end quietly.
With one process all of this is identity.
"""

# pyright: reportPrivateImportUsage=false
# torch.distributed gives its names to everyone, but does not list them.

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from doremi.distributed.vigil import FAILED, Vigil, died, hangs
from doremi.errors import PeerError

Module = TypeVar("Module", bound=nn.Module)
START_SECONDS = 600.0  # within which all processes must have started
GRACE_SECONDS = 3.0  # after a loss: time for the process that failed to say so, and for the others to notice
POLL_SECONDS = 0.1
CUBLAS_WORKSPACE = ":4096:8"  # of fixed size (32 MiB), as products that repeat to the byte need it
NCCL_SECONDS = 300.0  # later than all others NCCL's watchdog may give up: it aborts a process, and prints pages
_works = itertools.count()  # pieces of work that one process did for all; every process counts alike


@dataclass(frozen=True)
class Shards:
    """How a model is split."""

    precision: str
    """float32, or bfloat16: parameters are then gathered in bfloat16, and gradients are added in float32."""
    size: int | None = None
    """Processes that one copy of a model is split over; all, if None."""


@dataclass(frozen=True)
class World:
    """Who this process is among those that train together."""

    rank: int
    size: int
    device: torch.device
    store: dist.Store | None = None
    """Small strings that all processes share; None with one process."""
    control: dist.ProcessGroup | None = None
    vigil: Vigil | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """How many of the processes are on this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.size)) if self.size > 1 else 1

    # -- together ------------------------------------------------------------------------------------------------

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            with self.guard():
                dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process: the same answer on all of them."""
        return self.any_of(flag)[0]

    def any_of(self, *flags: bool) -> list[bool]:
        """The same of several flags, each by itself."""
        if self.size == 1:
            return list(flags)
        values = torch.tensor([int(flag) for flag in flags])
        with self.guard():
            dist.all_reduce(values, op=dist.ReduceOp.MAX, group=self.control)
        return [bool(value) for value in values]

    def barrier(self) -> None:
        """Wait until every process is here; `PeerError` after the time limit."""
        self.any(False)

    def from_main(self, value: int) -> int:
        """The main process's value, on all of them."""
        if self.size == 1:
            return value
        number = torch.tensor([value if self.is_main else 0])
        with self.guard():
            dist.all_reduce(number, group=self.control)
        return int(number)

    def collected(self, text: str) -> list[str]:
        """The texts of all processes, in their order; the same list on all of them."""
        if self.size == 1:
            return [text]
        mine = torch.tensor(list(text.encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with self.guard():
            dist.all_gather(lengths, torch.tensor([len(mine)]), group=self.control)
            longest = max(1, *(int(length) for length in lengths))
            texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
            padded = torch.cat([mine, torch.zeros(longest - len(mine), dtype=torch.uint8)])
            dist.all_gather(texts, padded, group=self.control)
        return [bytes(t[: int(length)].tolist()).decode() for t, length in zip(texts, lengths, strict=True)]

    def on_main(self, work: Callable[[], object]) -> None:
        """`work` on the main process while the others wait for it, for as long as it takes."""
        if self.is_main:
            work()
        if self.store is None:
            return
        key = f"done/{next(_works)}"
        if self.is_main:
            self.store.set(key, "")
        while not self.store.check([key]):
            if self.store.check([FAILED]):
                raise PeerError(self._failure())
            time.sleep(POLL_SECONDS)

    # -- a lost process ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def watched(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Inside, a process also ends where its GPU waits for one that is lost; `tell` is told of it before."""
        if self.vigil is None:
            yield
            return

        def give_up(message: str) -> None:
            if message:
                tell(message)
            _end_at_once(message)

        self.vigil.give_up = give_up
        self.vigil.start()
        try:
            yield
        finally:
            self.vigil.stop()
            self.vigil.join(GRACE_SECONDS)  # a thread inside of the store, when Python ends, aborts the process

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Around anything that waits for other processes: if one is lost, `PeerError` says which."""
        if self.vigil is not None:
            self.vigil.step()
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _is_loss(error):
                raise
            raise PeerError(self._who_is_lost(str(error))) from None

    def _who_is_lost(self, error: str) -> str:
        assert self.store is not None
        with contextlib.suppress(RuntimeError):  # the store itself goes down with its process
            self.store.set(f"alive/{self.rank}", "")
            deadline = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < deadline:
                if self.store.check([FAILED]):
                    return self._failure()
                time.sleep(POLL_SECONDS)
            lost = [rank for rank in range(self.size) if not self.store.check([f"alive/{rank}"])]
            if lost:
                return (hangs if "imed out" in error else died)(lost, self.size)
        return f"rank {self.rank} lost the other processes ({error.splitlines()[0]})"

    def _failure(self) -> str:
        assert self.store is not None
        return self.store.get(FAILED).decode()

    # -- models --------------------------------------------------------------------------------------------------

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module` with gradients averaged over processes, a copy on each; one in shards stays as it is."""
        if self.size == 1 or is_sharded(module):
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)

    def part(self, whole: Tensor, shards: Shards) -> Tensor:
        """The rows of a parameter that this process holds when it is split; a copy on its device."""
        number = shards.size or self.size
        rows, place = -(-len(whole) // number), self.rank % number
        return whole[place * rows : (place + 1) * rows].to(self.device, copy=True)

    def shard(self, module: Module, shards: Shards) -> Module:
        """Split the parameters over processes, one group a transformer block; in place, on the meta device or not."""
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        number = shards.size or self.size
        mesh = dist.init_device_mesh(self.device.type, (self.size,))
        if number < self.size:
            names = ("replicate", "shard")
            mesh = dist.init_device_mesh(self.device.type, (self.size // number, number), mesh_dim_names=names)
            self._give_time(mesh.get_all_groups())
        policy = MixedPrecisionPolicy()
        if shards.precision == "bfloat16":
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        # of losses that are views: nobody changes ours in place
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        for block in blocks(module):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(module, mesh=mesh, mp_policy=policy)
        return module

    def _give_time(self, groups: list[dist.ProcessGroup]) -> None:
        """The same time limit as all processes together have, where it would be PyTorch's own."""
        if self.vigil is not None:
            for group in groups:
                dist.distributed_c10d._set_pg_timeout(_limit(self.device, self.vigil.patience), group)

    def fill(self, module: nn.Module, parts: Mapping[str, Tensor]) -> None:
        """Give a module that was split on the meta device its numbers, as `part` takes them; buffers come along."""
        for name, parameter in module.named_parameters():
            assert isinstance(parameter, DTensor)
            mine = torch.empty_like(parameter.detach(), device=self.device)
            assert isinstance(mine, DTensor)
            mine.to_local().copy_(parts[name])
            # it stays the same parameter, also where it is tied
            torch.utils.swap_tensors(parameter, nn.Parameter(mine, parameter.requires_grad))
        module.to(self.device)  # FSDP takes note of them

    @contextlib.contextmanager
    def gradients_shared(self, module: nn.Module, last: bool) -> Iterator[None]:
        """Around one micro-batch: what processes exchange with the `last` one only.

        That is the gradients of copies. Those of shards are added up and split each time, so that no process ever holds
        all of them.
        """
        if isinstance(module, DistributedDataParallel) and not last:
            with module.no_sync():
                yield
            return
        if is_sharded(module):
            module.set_requires_all_reduce(last)  # type: ignore[operator]
        yield

    def gathered(self, tensors: Mapping[str, Tensor], owner: Mapping[str, int]) -> Iterator[tuple[str, Tensor]]:
        """One tensor at a time without shards, on the CPU of its owner alone; every process must go through all."""
        for name, tensor in tensors.items():
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if owner[name] == self.rank:
                yield name, full.detach().cpu()

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors without shards, on the CPU; every process must ask, and the main one alone keeps them."""
        found = {}
        for name, tensor in tensors.items():
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self.is_main:
                found[name] = full.detach().cpu()
        return found


def blocks(module: nn.Module) -> list[nn.Module]:
    """The transformer blocks, as the model itself names their class; one that is split is of a class made of it."""
    names = {name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or []}
    return [part for part in module.modules() if names & {kind.__name__ for kind in type(part).__mro__}]


def _is_loss(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` split this module."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def plain(tensor: Tensor) -> Tensor:
    """A sharded scalar as an ordinary tensor."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


# -- starting and ending ----------------------------------------------------------------------------------------------


def start(timeout_seconds: float = 600.0) -> World:
    """This process's place, from the environment that `torchrun` (or Slurm's variables under its names) sets.

    `timeout_seconds` is how long processes wait for one another before they give up.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)  # read at its first product
    if size == 1:
        return World(rank, size, device)
    timeout, patience = timedelta(seconds=timeout_seconds), timedelta(seconds=max(timeout_seconds, START_SECONDS))
    store = _store(patience)
    if not dist.is_initialized():
        store.set(f"started/{rank}", "")  # starting may take one of them longer than any step will
        store.wait([f"started/{other}" for other in range(size)], patience)
        limit = _limit(device, timeout_seconds)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size, timeout=limit
        )
    control = dist.new_group(backend="gloo", timeout=timeout)
    assert isinstance(control, dist.ProcessGroup)
    return World(rank, size, device, store, control, Vigil(store, rank, size, timeout_seconds))


def _limit(device: torch.device, seconds: float) -> timedelta:
    """Of what processes exchange on a device, if they wait for one another so many seconds."""
    return timedelta(seconds=seconds + (NCCL_SECONDS if device.type == "cuda" else 0.0))


_stores: list[dist.Store] = []


def _store(timeout: timedelta) -> dist.Store:
    """The store of this attempt: `torchrun` keeps one over restarts, in which earlier attempts have left things."""
    if not _stores:
        store, _, _ = next(dist.rendezvous("env://", timeout=timeout))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        _stores.append(dist.PrefixStore(f"doremi/{attempt}", store))
    return _stores[0]


def first_to_fail(message: str) -> bool:
    """Whether no other process has failed before this one, which then is to print `message`."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return True
    try:
        store = _store(timedelta(seconds=30))
        if store.add("failures", 1) > 1:
            return False
        store.set(FAILED, message)
    except RuntimeError:
        return os.environ.get("RANK") == "0"
    return True


def _end_at_once(message: str) -> None:
    """End this process, whose main thread cannot be reached; `message`, if any, is printed if nobody was first."""
    if message and first_to_fail(f"error: {message}"):
        print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(PeerError.exit_code)


def stop() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()
