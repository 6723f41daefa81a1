"""Memory: values that can never fit are answered at once; running out of it is one line, not a traceback.

Imports nothing heavy: the command line uses it before torch is there.
"""

import errno
import os
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from smalti.errors import UserError

if TYPE_CHECKING:
    import torch

KINDS = (MemoryError, RuntimeError, OSError)  # what Python, torch and the system raise, among other things
_CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may have
_FREE = re.compile(r"MemAvailable: +(\d+) kB")  # of /proc/meminfo, what files take in passing counted as free
_CACHED = re.compile(r"inactive_file (\d+)")  # of a container's memory.stat, the same
_OUT = re.compile(
    r"out of memory|DefaultCPUAllocator|can't allocate memory|not enough memory|_ALLOC_FAILED"
    r"|Storage size calculation overflowed|integer multiplication overflow",
    re.IGNORECASE,
)
_KILLED = re.compile(
    r"DataLoader worker .*killed by signal: (Killed|Bus error)|out of shared memory", re.DOTALL
)
_ASKED = re.compile(r"(?:Tried|tried|Unable) to allocate ([\d.]+) ?(bytes|[KMGTPE]?i?B)")


class OutOfMemory(UserError):
    """More memory was asked for than there is."""


def asked(problem: BaseException) -> str | None:
    """Return what was asked for, in words, where a problem is a lack of memory; None: it is another one."""
    text = str(problem)
    if isinstance(problem, OutOfMemory):
        return problem.got
    if isinstance(problem, RuntimeError) and _KILLED.search(text):
        return "a process that opens images killed for it"
    short = isinstance(problem, OSError) and problem.errno == errno.ENOMEM
    if not (isinstance(problem, MemoryError) or short or _is_short(problem, text)):
        return None
    size = _ASKED.search(text)
    if size is None:
        return "too little"
    number, unit = size.groups()
    return f"none for {size_of(int(number)) if unit == 'bytes' else f'{number} {unit}'} more"


def mistake(what: str, got: str, remedy: str) -> OutOfMemory:
    """Return the one line."""
    return OutOfMemory(f"memory for {what}", got, remedy)


@contextmanager
def needed(what: str, remedy: str | Callable[[], str]) -> Iterator[None]:
    """Within, a lack of memory is an OutOfMemory: for what, how much was asked for, what to do.

    The words of the outermost count, which knows the command that runs. remedy: words, or what gives them.
    """
    try:
        yield
        return
    except (*KINDS, OutOfMemory) as problem:
        got = asked(problem)
        if got is None:
            raise
        traceback.clear_frames(problem.__traceback__)  # a notebook would hold their tensors
    raise mistake(what, got, remedy if isinstance(remedy, str) else remedy())


def check(needs: int, has: int, expected: str, got: str, remedy: str) -> None:
    """UserError at once where `needs` bytes are more than all that there are, `has`.

    expected: what must lie "within 8 GiB of memory"; got: what came, of which the need is said.
    """
    if needs > has:
        raise UserError(f"{expected} within {size_of(has)} of memory", f"{got}: {size_of(needs)}", remedy)


def of_machine() -> int:
    """Return bytes of memory that this machine has, or that the container may have.

    Without bound where unknown.
    """
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a Unix
        return 2**62
    try:
        return min(whole, int(_CGROUP.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return whole


def free() -> int:
    """Return bytes of memory that no program takes now, of what `of_machine` gives; all, where unknown."""
    whole = of_machine()
    try:
        found = _FREE.search(Path("/proc/meminfo").read_text())
        whole = whole if found is None else min(whole, int(found[1]) * 1024)
        taken = int(_CGROUP.with_name("memory.current").read_text())
        cached = _CACHED.search(_CGROUP.with_name("memory.stat").read_text())
        return max(0, min(whole, int(_CGROUP.read_text()) - taken + int(cached[1] if cached else 0)))
    except (OSError, ValueError):  # not Linux; no container, or "max"
        return whole


def of_device(device: "torch.device") -> int:
    """Return the same of a device of torch."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    return of_machine()


def size_of(count: int) -> str:
    """Return bytes in words: 12 bytes, 3.5 GiB."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{count} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def _is_short(problem: BaseException, text: str) -> bool:
    return isinstance(problem, RuntimeError) and _OUT.search(text) is not None
