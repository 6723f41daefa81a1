"""How many images a second are opened and cut, against how many a small training step takes."""

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter

import torch

from smalti import imaging
from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Loader
from smalti.data.transforms import CropSettings
from smalti.doctor.protocol import Asked, Finding, judged, seconds
from smalti.doctor.step import BATCH, SIDE, Step

FILES, SIDES = 24, (375, 500)  # JPEG files; their height and width
WORKERS = (0, 2)
_BATCHES = 12


def image_loading(asked: Asked) -> Iterator[Finding]:
    """Give a line for each number of workers."""
    wanted = BATCH / seconds(Step(asked.device), asked.device, turns=3)
    with tempfile.TemporaryDirectory(prefix="smalti-doctor-") as folder:
        _write(Path(folder))
        for workers in WORKERS:
            what = f"opening images, workers={workers}"
            remedy = "workers=4, or token shards: smalti encode"
            try:
                found = rate(Path(folder), workers)
            except (RuntimeError, OSError) as problem:  # of a worker that died
                value = str(problem).splitlines()[0][:80]
                yield judged(what, value, "workers=0, or more shared memory (/dev/shm)", right=False)
                continue
            value = f"{found:.0f} a second; a small training step takes {wanted:.0f}"
            yield judged(what, value, remedy, quick=found >= wanted)


def rate(folder: Path, workers: int) -> float:
    """Return images a second of a folder, cropped to what the small step takes, after a first batch."""
    reader = Folder(FolderSettings(root=folder, val_share=0.0), "train")
    crop = CropSettings(scale=(1.0, 1.25))
    loader = Loader(reader, size=(SIDE, SIDE), crop=crop, batch=BATCH, seed=0, workers=workers)
    batches = loader.batches()
    next(batches)
    began = perf_counter()
    count = sum(batch.size for batch in islice(batches, _BATCHES))
    return count / (perf_counter() - began)


def _write(folder: Path) -> None:
    """Write files that are as large as photographs: waves with some grain."""
    chance = torch.Generator().manual_seed(0)
    for number in range(FILES):
        small = torch.rand(1, 3, 25, 33, generator=chance) * 2 - 1
        image = torch.nn.functional.interpolate(small, size=SIDES, mode="bicubic")
        image = (image + 0.05 * torch.randn(1, 3, *SIDES, generator=chance)).clamp(-1, 1)
        imaging.to_pil(image)[0].save(folder / f"{number:02}.jpg", quality=90)
