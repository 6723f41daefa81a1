"""Images to token shards by two processes of one thread against one process of two threads: images a second,
of the network of the recipe tokenizer_300 at 128 pixels, and whether both write the same bytes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import Options, options, ratio, report
from loader import write
from tqdm import tqdm

import smalti
from smalti import config
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

SIDE = 128  # pixels of a crop
# what a process does: a little first, so that both sides are warm; then all, timed from a moment at which all
# are there to the moment at which the shards are whole
CHILD = """
import sys, time
from pathlib import Path
import smalti
from smalti import strategy
from smalti.training.precompute import encode

model, images, out = map(Path, sys.argv[1:])
tokenizer, way = smalti.load(model), strategy.current()
how = {"size": SIDE, "crop": {"scale": (1.0, 1.25)}, "batch": 16, "val_share": 0.0}
with way.joined(tokenizer.last_layer.device):
    encode(tokenizer, images.with_name("few"), out / "few", **how)
    way.collect(None)
    begin = time.perf_counter()
    encode(tokenizer, images, out / "all", **how)
    if way.rank == 0:
        print("seconds", time.perf_counter() - begin)
"""


def run(child: Path, folder: Path, out: Path, processes: int, threads: int) -> float:
    """Encode with so many processes; gives seconds."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    words = [sys.executable]
    if processes > 1:
        words += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words += map(str, (child, folder / "model", folder / "images", out))
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def measure(folder: Path, given: Options) -> Iterator[dict[str, Any]]:
    """One row."""
    child, turns = folder / "child.py", 3 if given.short else 5
    child.write_text(CHILD.replace("SIDE", str(SIDE)))
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for turn in tqdm(range(turns), leave=False):
        for processes in (1, 2) if turn % 2 == 0 else (2, 1):
            out = folder / f"by {processes}"
            seconds[processes].append(run(child, folder, out, processes, 2 // processes))
    one, two = (contents(folder / f"by {processes}" / "all") for processes in (1, 2))
    assert one == two, "they write the same bytes"
    found = ratio(seconds[2], seconds[1])
    count = len(list((folder / "images").rglob("*.jpg")))
    rate = {"images": count, "two processes: images a second": count / found.ours}
    yield {**rate, "one process, two threads": count / found.theirs, "times faster": found, "same bytes": 1}


def main() -> None:
    """Command line."""
    given = options(__doc__)
    folder = Path(tempfile.mkdtemp())
    try:
        write(folder, 32 if given.short else 64)
        (folder / "few").mkdir()
        for path in sorted((folder / "images").iterdir())[:16]:
            shutil.copy(path, folder / "few")
        network = config.read("tokenizer_300")["network"]
        torch.manual_seed(0)
        settings = TokenizerSettings(network=config.parse(network, NetworkSettings))
        smalti.save(Tokenizer(settings), folder / "model")
        report("ranks", measure(folder, given), given.out, device=given.device)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
