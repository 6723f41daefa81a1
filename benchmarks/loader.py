"""Batches of cropped images from a folder of JPEGs: images a second by number of workers, against one plain
loop of Pillow, and the share of the wall clock that training waits where a step takes as long as given.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Options, compare, options, report
from memory import megabytes, peak
from PIL import Image

from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Loader
from smalti.data.protocol import Batch
from smalti.data.transforms import CropSettings
from smalti.training.pace import Pace

SIDE, CROP, BATCH = 512, 256, 8
STEPS = (0.05, 0.2, 1.0)  # seconds that a step is said to take


def write(folder: Path, count: int) -> None:
    """JPEGs of smooth noise, about as hard to decode as photographs."""
    chance = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(count):
        coarse = Image.fromarray(chance.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(
            folder / "images" / f"{number:04}.jpg", quality=90
        )


def batches(folder: Path, workers: int) -> Iterator[Batch]:
    reader = Folder(FolderSettings(root=folder, val_share=0.0), "train")
    return Loader(
        reader, size=(CROP, CROP), crop=CropSettings(), batch=BATCH, seed=0, workers=workers
    ).batches()


def take(source: Iterator[Batch], count: int) -> list[Batch]:
    return list(islice(source, count))


def plain(folder: Path, count: int) -> list[torch.Tensor]:
    """Open, halve, to a tensor: what a few lines of Pillow do."""
    paths = sorted((folder / "images").iterdir())[: count * BATCH]
    found = [Image.open(path).convert("RGB").resize((CROP, CROP), Image.Resampling.BICUBIC) for path in paths]
    return [torch.from_numpy(np.asarray(one).copy()).permute(2, 0, 1).float() / 127.5 - 1 for one in found]


def waited(source: Iterator[Batch], step: float, count: int) -> float:
    """The share of the wall clock spent waiting, as a run's log tells it."""
    pace = Pace(BATCH)
    for _ in range(count):
        with pace.waiting():
            next(source)
        with pace.working():
            time.sleep(step)
    return pace.take()["data_wait"]


def measure(folder: Path, given: Options) -> Iterator[dict[str, Any]]:
    """A row for each number of workers."""
    count = 3 if given.short else 8
    for workers in (0, 1) if given.short else (0, 1, 2, 4):
        source = batches(folder, workers)
        memory = megabytes(peak(partial(take, source, 2)))
        found = compare(partial(take, source, count), partial(plain, folder, count), 3 if given.short else 7)
        waits = {f"waits, {step} s a step": waited(source, step, count) for step in STEPS}
        rate = {"workers": workers, "images a second": count * BATCH / found.ours}
        yield {**rate, "times faster": found, **waits, "peak MB, main process": memory}


def main() -> None:
    """Command line."""
    given = options(__doc__)
    folder = Path(tempfile.mkdtemp())
    try:
        write(folder, 64)
        report("loader", measure(folder, given), given.out, device=given.device)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
