"""A model's first values without the whole model in memory: each process keeps its part of them.

A model has the same values whatever the number of processes, so each builds it with the same draws, in the same order.
But the large parameters are in memory one at a time. As soon as the next one is filled, the part of the one before is
taken and its memory given back. Transformers fills a parameter twice at most, once in a layer's constructor and once by
the model's own rule, each time as a whole; so nothing is lost. Where an architecture reads a value that is gone, or
changes it in place, it is built as a whole after all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LARGE = 2**16  # numbers; what is smaller stays, all of it together is small
_FILLS = ("normal_", "uniform_", "fill_", "zero_", "copy_")  # write all of a tensor, whatever was there

Kept = TypeVar("Kept")
"""What a process keeps of a parameter, in memory of its own."""


class _Gone(BaseException):
    """A value is needed whose memory was given back. No `Exception`, for those may be taken for the model's own."""


class _OneAtATime(TorchDispatchMode, Generic[Kept]):
    """Large parameters that are registered inside have memory one at a time."""

    def __init__(self, part: Callable[[Tensor], Kept]) -> None:
        super().__init__()
        self.part = part
        self.large: dict[int, nn.Parameter] = {}
        """By storage. The parameters are held here, so that no other storage has the same number."""
        self.parts: dict[int, Kept] = {}
        self.filled: int | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            for tensor in tree_leaves((args, kwargs)):
                if isinstance(tensor, Tensor) and _storage(tensor) in self.large:
                    whole = tensor is args[0] and tensor.numel() == self.large[_storage(tensor)].numel()
                    self._touched(tensor, filled=whole and func.overloadpacket.__name__ in _FILLS)
        return func(*args, **(kwargs or {}))

    def register(self, parameter: nn.Parameter) -> None:
        """Watch a parameter, if it is a large matrix."""
        if parameter.ndim > 1 and parameter.numel() >= LARGE and not parameter.is_meta:
            self.large.setdefault(_storage(parameter), parameter)

    def _touched(self, tensor: Tensor, *, filled: bool) -> None:
        number, storage = _storage(tensor), tensor.untyped_storage()
        if filled and number != self.filled:
            self.release(self.filled)
            self.filled = number
            storage.resize_(tensor.numel() * tensor.element_size())
        elif not storage.size():
            raise _Gone

    def release(self, number: int | None) -> None:
        """Take the part of a parameter, and give its memory back."""
        if number is not None and (storage := self.large[number].untyped_storage()).size():
            self.parts[number] = self.part(self.large[number].detach())
            storage.resize_(0)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@contextmanager
def _registering(mode: _OneAtATime[Any]) -> Iterator[None]:
    register = nn.Module.register_parameter

    def registered(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, parameter)
        if parameter is not None:
            mode.register(parameter)

    with mock.patch.object(nn.Module, "register_parameter", registered):
        yield


def build_parts(make: Callable[[], Any], part: Callable[[Tensor], Kept]) -> tuple[Any, dict[str, Kept]]:
    """The model that `make` builds, its parameters on the meta device and its buffers real; and its first values.

    Of these the parts that `part` takes, by the names of `named_parameters`. They are those of `make()` alone, and
    torch's generator ends where it would end.
    """
    before, mode = torch.get_rng_state(), _OneAtATime(part)
    try:
        with _registering(mode), mode:
            module = make()
        mode.release(mode.filled)
        parts = _taken(module, mode)
    except _Gone:
        torch.set_rng_state(before)
        module = make()
        parts = _taken(module, _OneAtATime(part))
    _to_meta(module)
    return module, parts


def _taken(module: nn.Module, mode: _OneAtATime[Kept]) -> dict[str, Kept]:
    """The parts of all parameters: those that were taken on the way, and now those that stayed."""
    parts: dict[str, Kept] = {}
    for name, parameter in module.named_parameters():
        number = _storage(parameter)
        if number not in mode.parts and parameter.untyped_storage().size() < parameter.nbytes:
            raise _Gone
        parts[name] = mode.parts[number] if number in mode.parts else mode.part(parameter.detach())
    return parts


def _to_meta(module: nn.Module) -> None:
    """Take the numbers of all parameters; what is tied stays tied."""
    replace_parameters(module, lambda parameter: torch.empty_like(parameter, device="meta"))


def replace_parameters(module: nn.Module, other: Callable[[nn.Parameter], Tensor]) -> None:
    """Put other numbers in the place of each parameter; what is tied stays tied."""
    done: dict[int, nn.Parameter] = {}
    for inner in module.modules():
        for name, parameter in list(inner.named_parameters(recurse=False)):
            if id(parameter) not in done:
                done[id(parameter)] = nn.Parameter(other(parameter), parameter.requires_grad)
            setattr(inner, name, done[id(parameter)])
