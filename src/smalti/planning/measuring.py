"""How much memory a piece of work takes, and how much time."""

import ctypes
import gc
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from smalti.training.pace import memory_gib

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # man 5 proc; of Linux alone


class Taken(NamedTuple):
    """What a piece of work took."""

    wall: float  # seconds
    processor: float  # seconds of all threads of this process


def timed(work: Callable[[], Any], device: torch.device) -> Taken:
    """Do the work; return what it took, until an accelerator is done."""
    began = time.perf_counter(), time.process_time()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return Taken(time.perf_counter() - began[0], time.process_time() - began[1])


def most_allocated(work: Callable[[], Any], device: torch.device) -> int:
    """Do the work; return the most bytes of tensors that it makes and holds at one time.

    The same each time, whatever the system makes of it.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with _Tensors() as told:
        work()
    return told.most


class _Tensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that operations give within it, as long as somebody holds them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: set[int] = set()  # of storages that are counted

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation, and count what it gives."""
        given = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._count, given)
        return given

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage._cdata, storage.nbytes()
        if place in self._known or not size:
            return
        self._known.add(place)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, place, size)

    def _forget(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.now -= size


class Resident:
    """The most bytes that this process takes from now on, beyond `base` bytes; of a GPU its tensors."""

    def __init__(self, device: torch.device, base: int | None = None) -> None:
        """base: None: what it takes now."""
        self.device = device
        self.base = held(device) if base is None else base
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with suppress(OSError):  # without it what was the most before counts, which is no less
            _REFS.write_text("5")

    def most(self) -> int:
        """Return them."""
        if self.device.type != "cuda":
            with suppress(OSError, StopIteration):
                return _of_status("VmHWM") - self.base
        return int(memory_gib(self.device) * 2**30) - self.base


def held(device: torch.device) -> int:
    """Return the bytes that this process takes now; of a GPU its tensors; 0 where unknown."""
    gc.collect()
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # of glibc: what was freed goes back first
    with suppress(OSError, StopIteration):
        return _of_status("VmRSS")
    return 0


def _of_status(field: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
