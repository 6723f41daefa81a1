"""How many threads compute, how many could, and what they gain."""

import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from smalti.doctor.protocol import Asked, Finding, judged, seconds

GROUP = Path("/sys/fs/cgroup")  # what a container may have
_SIDE = 768  # of the matrices whose product is timed
_PAYS = 0.6  # of each thread more


def thread_gain(asked: Asked) -> Iterator[Finding]:
    """Give a line on their number against the processors that this process may use, and one on their gain."""
    count, most = torch.get_num_threads(), processors()
    remedy = f"OMP_NUM_THREADS={most} in the environment, divided among processes that train together"
    value = f"{count} of {most} processors that this process may use"
    yield judged("threads", value, remedy, quick=count == most)
    if count > 1:
        times = _gain(count)
        value = f"{times:.2g} times as fast as one"
        other = "OMP_NUM_THREADS smaller: others compute here, or these are halves of processors"
        yield judged(f"a product on {count} threads", value, other, quick=times >= _PAYS * min(count, 8))


def processors() -> int:
    """Return how many processors this process may use: by its mask, and by the container's share of time."""
    there = os.process_cpu_count() if hasattr(os, "process_cpu_count") else None
    if there is None:
        there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = _share()
    return there or 1 if share is None else max(1, min(there or 1, math.ceil(share)))


def _share() -> float | None:
    """Return the container's processors, of which it may have parts; None: no bound."""
    try:  # cgroup 2: "max 100000" or "150000 100000"
        quota, period = (GROUP / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota, period = ((GROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None


def _gain(count: int) -> float:
    one = torch.ones(_SIDE, _SIDE)
    work = partial(torch.matmul, one, one)
    taken = {}
    try:
        for number in (1, count):
            torch.set_num_threads(number)
            taken[number] = seconds(work, one.device)
    finally:
        torch.set_num_threads(count)
    return taken[1] / taken[count]
