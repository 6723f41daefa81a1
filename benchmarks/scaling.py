"""How our times grow with the size of the work: exponents of canvas, sequence, codebook and batch.

Each work is timed over a ladder of sizes, in turns; the exponent of a turn is the least-squares slope of log
time over log size: 1 is in proportion, 2 is the square, 0 is no growth. Random weights.

    python benchmarks/scaling.py --short --out runs/benchmarks
"""

from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Any

import common
import models
import numpy as np
import torch
from common import Options, Work
from memory import megabytes

from smalti.drawing.choice import Choice, choose
from smalti.drawing.noise import keys
from smalti.pipeline import Pipeline
from smalti.priors.layers import Linear
from smalti.quantizers.clusters import nearest

DIM, WIDTH, ROWS = 256, 512, 1024  # of entries; of the head; searched at once
CODES = (1024, 4096, 16384, 65536, 262144)
Ladder = dict[int, Work]


def main() -> None:
    """One row for each ladder."""
    given = common.options(__doc__)
    size = {"layers": 1, "width": 64} if given.short else {"layers": 6, "width": 512}
    rows = (climb(*ladder, turns=3) for ladder in ladders(given, size))
    common.report("scaling", rows, given.out, device=given.device, size=size)


def ladders(given: Options, size: Mapping[str, int]) -> list[tuple[str, str, Ladder]]:
    """Work, what grows, and the work at every size."""
    device = given.device
    window, near = models.generator(**size).to(device), models.neighbourhood(**size).to(device)
    sides = (20, 24, 32) if given.short else (24, 32, 48)
    windows = (4, 8, 16) if given.short else (8, 12, 16, 24, 32)
    batches = (1, 4, 16) if given.short else (1, 2, 4, 8, 16, 32, 64)
    codes = CODES[:3] if given.short else CODES
    several = {side: models.generator(**size, side=side).to(device) for side in windows}
    squares = [{n * n: partial(canvas, model, n) for n in sides} for model in (window, near)]
    return [
        ("moving window", "cells", squares[0]),
        ("neighbourhood prior", "cells", squares[1]),
        ("cached sampling", "cells = length", {n * n: partial(canvas, several[n], n) for n in windows}),
        ("cached sampling", "batch", {n: partial(canvas, window, models.SIDE, n) for n in batches}),
        ("search, 1024 rows", "codes", {n: search(n, device) for n in codes}),
        ("head and draw, a row", "codes", {n: head(n, device) for n in codes}),
    ]


def climb(work: str, grows: str, ladder: Ladder, turns: int) -> dict[str, Any]:
    """A row: seconds of every size, and the exponent."""
    memory: dict[str, int | None] = {}
    found = common.race({str(size): one for size, one in ladder.items()}, turns, memory=memory)
    slopes = sorted(exponent(list(ladder), list(seconds)) for seconds in zip(*found.values(), strict=True))
    return {
        "work": work, "grows": grows, "sizes": list(ladder), "seconds": list(map(median, found.values())),
        "exponent": median(slopes), "lowest": slopes[0], "highest": slopes[-1],
        "peak MB of the largest": megabytes(memory[str(max(ladder))]),
    }  # fmt: skip


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log seconds over log sizes."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def canvas(model: Pipeline, side: int, batch: int = 1) -> object:
    """Codes of square canvases."""
    size = (side * models.FACTOR, side * models.FACTOR)
    said = {"label": 3, "num": batch, "micro_batch": batch}
    return model.sample(size=size, top_k=100, **said).codes


def search(codes: int, device: torch.device) -> Work:
    """The nearest of so many entries."""
    chance = torch.Generator().manual_seed(codes)
    entries, rows = (torch.randn(count, DIM, generator=chance).to(device) for count in (codes, ROWS))
    return partial(nearest, rows, entries)


def head(codes: int, device: torch.device) -> Work:
    """The scores of so many codes and one drawn, twenty times."""
    chance = torch.Generator().manual_seed(codes)
    layer = Linear(WIDTH, codes, bias=False).to(device).requires_grad_(False)
    x = torch.randn(1, WIDTH, generator=chance).to(device)
    seed, how = torch.zeros(1, dtype=torch.int64, device=device), Choice(top_k=100)
    return lambda: [choose(layer(x), keys(seed, seed), how) for _ in range(20)]


if __name__ == "__main__":
    main()
