"""A run that goes on, on many small images: seconds until its first batch and memory held, of a tar with its
index against a folder of as many files; and what the index takes.

Each start is a process of its own, whose imports do not count. Files are made in the folder for temporary
files, and deleted.
"""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import Options, options, ratio, report
from PIL import Image

from smalti.data import index
from smalti.data.tar import Tar

COUNT, SHORT = 1_000_000, 20_000
CLASSES, DIFFERENT = 100, 500  # classes; images that differ: they are small, to be made in minutes

START = """
import json, sys, time
from pathlib import Path
from smalti.data import READERS
from smalti.data.buckets import Buckets
from smalti.data.loader import Loader
from smalti.data.report import inspect
from smalti.data.transforms import CropSettings

def held(what):  # MiB; RssAnon: this process's own, without mapped files; VmHWM: all, at most so far
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))

how, member = READERS[sys.argv[1]]
before, marks = held("RssAnon"), [time.perf_counter()]
readers = {split: member(how(root=Path(sys.argv[2])), split) for split in ("train", "val")}
marks.append(time.perf_counter())
prints = [reader.summary().fingerprint() for reader in readers.values()]
marks.append(time.perf_counter())
loader = Loader(readers["train"], size=(8, 8), crop=CropSettings(), batch=16, seed=0)
batches = loader.batches(int(sys.argv[3]))
next(batches)
marks.append(time.perf_counter())
memory = held("RssAnon") - before
peak = held("VmHWM")
for _ in range(100):
    next(batches)
marks.append(time.perf_counter())
inspect(readers["train"])
marks.append(time.perf_counter())
print(json.dumps([[b - a for a, b in zip(marks, marks[1:])], memory, peak, sum(map(len, readers.values()))]))
"""


def images() -> list[bytes]:
    """Small JPEGs."""
    chance, found = np.random.default_rng(0), []
    for _ in range(DIFFERENT):
        data = io.BytesIO()
        Image.fromarray(chance.integers(0, 256, (16, 16, 3), np.uint8)).save(data, "JPEG", quality=60)
        found.append(data.getvalue())
    return found


def write_folder(root: Path, count: int) -> None:
    """A sub-folder a class."""
    held = images()
    for label in range(CLASSES):
        (root / f"{label:03}").mkdir(parents=True)
    for number in range(count):
        (root / f"{number % CLASSES:03}" / f"{number:07}.jpg").write_bytes(held[number % DIFFERENT])


def write_tar(path: Path, count: int) -> None:
    """The same images as WebDataset lays them, each with its class and a caption."""
    held = images()
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            label = number % CLASSES
            said = f"an image of class {label}, the number {number} of all".encode()
            for suffix, data in (("jpg", held[number % DIFFERENT]), ("cls", b"%d" % label), ("txt", said)):
                info = tarfile.TarInfo(f"{number:07}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            tar.members.clear()


def start(kind: str, root: Path, step: int) -> tuple[list[float], float, float, int]:
    """Seconds of each part of a start, MiB held and at most, and how many images there are."""
    command = [sys.executable, "-c", START, kind, str(root), str(step)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, memory, peak, count = json.loads(done.stdout)
    return seconds, memory, peak, count


def measure(folder: Path, given: Options) -> Iterator[dict[str, Any]]:
    """A row for the index, one for each kind, and one that compares."""
    count = SHORT if given.short else COUNT
    write_tar(folder / "all.tar", count)
    begin = time.perf_counter()
    made = index.write_index(folder / "all.tar", folder / "all.tar.index", (".tar",), Tar.scan)
    took = time.perf_counter() - begin
    yield {"what": "index", "images": len(made), "MB": made.path.stat().st_size / 1e6, "seconds": took}
    write_folder(folder / "files", count)
    places = {"tar": folder / "all.tar", "folder": folder / "files"}
    found: dict[str, list[Any]] = {kind: [] for kind in places}
    for _ in range(3):
        for kind, root in places.items():  # in turns
            found[kind].append(start(kind, root, count // 40))
    for kind, turns in found.items():
        seconds, memory, peak, images = turns[-1]
        names = ("readers", "fingerprints", "first batch", "100 batches", "look at 5000")
        yield {
            "what": kind,
            "images": images,
            **dict(zip(names, seconds, strict=True)),
            "MB held": memory,
            "MB most": peak,
        }
    starts = {kind: [sum(one[0][:3]) for one in turns] for kind, turns in found.items()}
    looked = {kind: [sum(one[0][:3]) + one[0][4] for one in turns] for kind, turns in found.items()}
    yield {
        "what": "folder / tar",
        "times sooner": ratio(starts["tar"], starts["folder"]),
        "with the look": ratio(looked["tar"], looked["folder"]),
    }


def main() -> None:
    """Command line."""
    given = options(__doc__)
    folder = Path(tempfile.mkdtemp())
    try:
        report("streams", measure(folder, given), given.out, device=given.device)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
