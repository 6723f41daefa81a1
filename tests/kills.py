"""Trainings that are killed: a recipe rich in state, moments to kill at, what must be equal at the end."""

import errno
import json
import os
import random
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import forked
import numpy as np
from PIL import Image
from tiny import TOKENIZER_TRAINING

from smalti.training import checkpoints, log
from smalti.training.folder import RunFolder

# two networks, averages, a codebook started and revived, sheets, validation, the best model
RECIPE = {
    **TOKENIZER_TRAINING,
    "size": [16, 24],
    "steps": 6,
    "ema": 0.9,
    "quantizer": {"codebook_size": 16, "kmeans_start": True, "revive_below": 0.2},
    "losses": {
        **TOKENIZER_TRAINING["losses"],
        "adversarial": {"start": 2, "discriminator_start": 1, "patchgan": {"width": 8, "layers": 1}},
    },
    "sample_every": 2,
    "validate_every": 2,
    "keep_best": "psnr",
    "checkpoint_every": 1,
}
PROCESSES = {"single": 1, "ddp": 2, "fsdp": 2}  # of a run, by its strategy
CLOCKS = {"images_per_second", "memory_gib"}  # what no two runs have alike, and all that ends in _wait
WRITES = "writes: "  # said at the end of a process, with those that it did


class Writes:
    """Notes writes into a folder: files opened to be written, renamed, made, deleted; ends them at one."""

    EVENTS = frozenset({"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod"})
    MAKING = frozenset({"open", "os.rename", "os.mkdir"})  # what needs room

    def __init__(self, folder: Path, deadly: int | None = None, full: int | None = None) -> None:
        """deadly: number, from 1, of the write that kills process 0. full: from which on there is no room."""
        self._folder, self._deadly, self._full = str(folder), deadly, full
        self._seen: list[str] = []

    def __call__(self, rank: int) -> Callable[[], None]:
        """Begin; gives what says which there were."""
        if rank == 0:
            sys.addaudithook(self._note)
        return lambda: print(f"{WRITES}{json.dumps(self._seen)}")

    def _note(self, event: str, given: tuple[Any, ...]) -> None:
        if event not in self.EVENTS or not str(given[0]).startswith(self._folder):
            return
        if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        self._seen.append(f"{event} {str(given[0]).removeprefix(self._folder)}")
        if len(self._seen) == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._full is not None and len(self._seen) >= self._full and event in self.MAKING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), given[0])


def writes(told: str) -> list[str]:
    """Return the writes of process 0, from what a command said whose writes were noted."""
    return max((json.loads(line) for line in re.findall(rf"{WRITES}(.*)", told)), key=len)


@dataclass(frozen=True)
class Moment:
    """When a training is killed, and which of its processes."""

    seconds: float  # after its start
    write: int | None  # or at a write of process 0, from 1
    alone: int | None  # the process that is killed; None: all

    @staticmethod
    def draw(chance: random.Random, count: int, seconds: float, writes: int) -> "Moment":
        """Draw one for a training of so many processes, which takes so long and writes so often."""
        alone = chance.choice([None, *range(count)]) if count > 1 else None
        if alone in (None, 0) and chance.random() < 0.5:
            return Moment(forked.LONG, chance.randint(1, writes), alone)
        return Moment(chance.uniform(0.0, seconds), None, alone)


def images(home: Path) -> Path:
    """Make a folder of twelve images of 20 x 30 pixels, each a wave of its own."""
    across, down = np.meshgrid(np.arange(30), np.arange(20))
    folder = home / "images"
    folder.mkdir()
    for number in range(12):
        wave = 127 + 120 * np.sin(across * (number + 1) / 9 + down / (number + 2))
        pixels = np.stack([wave, wave[::-1], wave[:, ::-1]], 2).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def kill(processes: list[BaseProcess], moment: Moment) -> list[int]:
    """Kill them; gives their exit statuses. Of those left by one that is killed alone no one may hang."""
    processes[moment.alone or 0].join(moment.seconds)
    for number, process in enumerate(processes):
        if moment.alone in (None, number):
            process.kill()
    for process in processes:
        process.join(forked.PATIENCE)
        process.terminate()  # as torchrun does; most have ended before
    return forked.finish(processes)


def record(run: Path) -> dict[str, Any]:
    """All that must be equal: weights, moments, averages; lines of the log without clocks; images; models.

    Of folders of one name, as models say the name of their run.
    """
    folder = RunFolder(run)
    found = checkpoints.read(checkpoints.latest(folder.checkpoints))
    lines = [
        json.dumps({name: value for name, value in line.items() if not _is_clock(name)})
        for line in log.read(folder.log)
    ]
    files = {
        str(path.relative_to(run)): path.read_bytes()
        for below in (folder.samples, folder.model, folder.best)
        for path in sorted(below.rglob("*"))
        if path.is_file()
    }
    tensors = {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in found.tensors.items()}
    return {"step": found.step, "tensors": tensors, "log": lines, "files": files}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return in words where two records differ; empty where they are equal."""
    found = [] if one["step"] == other["step"] else [f"step {one['step']} and {other['step']}"]
    for part in ("tensors", "files"):
        names = sorted(one[part].keys() | other[part].keys())
        found += [f"{part} {name}" for name in names if one[part].get(name) != other[part].get(name)]
    return found + [f"log: {line}" for line in sorted(set(one["log"]) ^ set(other["log"]))]


def _is_clock(name: str) -> bool:
    return name in CLOCKS or name.endswith("_wait")
