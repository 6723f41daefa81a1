"""What a run leaves on the disk, counted in bytes."""

import shutil
from pathlib import Path
from typing import Any

from torch import nn

from smalti.data.protocol import Reader
from smalti.planning.case import Case
from smalti.planning.parts import Parts, tensor_bytes
from smalti.tokenizer import Tokenizer
from smalti.training.settings import Training
from smalti.training.task import Task

LINE = 700  # bytes of a line of the log
RECENT = 2  # bytes of a code that a checkpoint remembers
_DTYPES = ((2**8, 1), (2**16, 2))  # codes below so many take so many bytes in token shards


def on_disk(task: Task, training: Training, parts: Parts, sheet: int) -> dict[str, int]:
    """Return what lies there in the end, by what it is; while a checkpoint is written one more.

    sheet: bytes of a sample sheet. Checkpoints take as much whether one process writes them or several.
    """
    model: Any = task.model()
    assert isinstance(model, nn.Module), "what a user loads"
    whole = tensor_bytes([model])
    one = parts.checkpoint + RECENT * task.recent.size
    written = times(training.steps, training.checkpoint_every)
    stay = min(training.keep, written) + milestones(training)
    found = {"checkpoint": one, "checkpoints": one * stay, "model": whole}
    if training.keep_best is not None:
        found["best"] = whole
    found["samples"] = sheet * times(training.steps, training.sample_every)
    found["log"] = LINE * times(training.steps, training.log_every)
    return found


def milestones(training: Training) -> int:
    """Return how many checkpoints stay beside the newest."""
    every = training.keep_every
    return max(0, training.steps // every - training.keep) if every else 0


def times(steps: int, every: int) -> int:
    """Return how often it is done that is due after so many steps, and after the last."""
    return -(-steps // every)


def shards(case: Case, tokenizer: Tokenizer) -> int | None:
    """Return the bytes of the codes of all images of the data; None where there are none, or they are codes.

    tokenizer: whose codes they would be.
    """
    readers: dict[str, Reader] = dict(case.readers)
    gives = readers["train"].gives
    if not tokenizer.has_codes or case.is_synthetic or "image" not in gives:
        return None
    height, width = case.sides
    cells = height * width // tokenizer.factor**2
    each = next((size for codes, size in _DTYPES if tokenizer.codebook_size <= codes), 4)
    return sum(map(len, readers.values())) * cells * each


def free(place: Path) -> int:
    """Return the bytes that are free where a folder lies, or will lie."""
    there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.is_dir())
    return shutil.disk_usage(there).free
