"""The most memory that a piece of work holds."""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch


def peak(work: Callable[[], object]) -> int | None:
    """Most bytes that a call holds beyond what was there before it; None where the system does not tell.

    On a CPU it is the process's resident memory, which counts what the allocator keeps: an upper bound. What
    was freed before is given back to the system first, where that can be asked for; else work that fits into
    it counts as 0.
    """
    before = watch()
    work()
    return most_since(before)


def watch() -> int | None:
    """Begin the high-water mark anew; bytes held now."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # of glibc
    try:
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc
        return _resident("VmRSS")
    except OSError:
        return None


def most_since(before: int | None) -> int | None:
    """The most bytes held since `watch`, beyond what was held then."""
    wait()
    if before is None:
        return None
    most = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _resident("VmHWM")
    return max(0, most - before)


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")


def wait() -> None:
    """Until an accelerator is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def megabytes(count: int | None) -> float | None:
    """Of bytes, for a table."""
    return None if count is None else round(count / 1e6, 1)
