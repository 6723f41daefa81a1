"""How much memory and disk is free."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from smalti import memory
from smalti.doctor.protocol import Asked, Finding, judged

SHARED = Path("/dev/shm")  # through which workers hand over images
GIB = 2**30
# below it: a small training takes as much; 2 workers with 2 batches of 32 images of 512 pixels each; the
# checkpoints of 100 million weights
LEAST, LEAST_SHARED, LEAST_DISK = 2 * GIB, GIB // 2, 5 * GIB


def free_memory(asked: Asked) -> Iterator[Finding]:
    """Give a line for memory, for the device's, for what processes share, and for the disk."""
    own = memory.free()
    remedy = "end other programs, a smaller batch=, or accumulate=2; smalti plan RECIPE says what it takes"
    yield _line("free memory", own, memory.of_machine(), LEAST, remedy)
    if asked.device.type == "cuda":
        there, whole = torch.cuda.mem_get_info(asked.device)
        yield _line(f"free memory of {asked.device}", there, whole, LEAST, remedy)
    if SHARED.is_dir():
        room = shutil.disk_usage(SHARED)
        other = "workers=0, or more of it: docker run --shm-size=2g"
        yield _line(f"free shared memory ({SHARED})", room.free, room.total, LEAST_SHARED, other)
    room = shutil.disk_usage(asked.folder)
    other = "--out FOLDER on another disk, or keep=1"
    yield _line(f"free disk in {asked.folder}", room.free, room.total, LEAST_DISK, other)


def _line(what: str, there: int, whole: int, least: int, remedy: str) -> Finding:
    value = f"{memory.size_of(there)} of {memory.size_of(whole)}"
    return judged(what, value, remedy, quick=there >= least)
