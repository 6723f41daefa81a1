"""What does a window that moves in steps cost? Nats a token of canvases larger than the window, by stride.

Held-out parts of the demo's photographs, three times the training crop high and as wide as they are, under
the demo's prior: every code is scored given the known cells of its window, as when it is drawn. The middle
are cells with half a window or more above and to the left, where strides differ. Beside it canvases drawn
with the same seeds, a stride a row.

    python experiments/stride.py DEMO/prior OUT
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor

from smalti import imaging, library
from smalti.demo import photographs
from smalti.drawing.plan import begin
from smalti.pipeline import Pipeline

DRAWN = ("brick", "palace", "stars")


def main(model: Path, out: Path) -> None:
    generator = library.load(model)
    assert isinstance(generator, Pipeline), "a prior, with its tokenizer"
    strides = range(1, min(generator.settings.grid) // 2 + 1)
    images = list(held_out(generator))
    losses = {
        stride: [nats(generator, label, codes, stride) for label, codes in images] for stride in strides
    }
    rows = {stride: figures(generator, losses[1], losses[stride]) for stride in strides}
    out.mkdir(parents=True, exist_ok=True)
    (out / "numbers.json").write_text(json.dumps(rows, indent=2) + "\n")
    for stride, row in rows.items():
        print(stride, json.dumps(row))
    shown = [
        generator.sample(label=label, size=(96, 192), seed=1, top_p=0.95, stride=stride).tensors
        for stride in (strides[0], strides[-1])
        for label in DRAWN
    ]
    sheet = imaging.grid(imaging.to_uint8(torch.cat(shown)), columns=len(DRAWN))
    imaging.save_png(out / "canvases.png", sheet, {"rows": ["stride 1", f"stride {strides[-1]}"]})


def held_out(generator: Pipeline) -> list[tuple[str, Tensor]]:
    """Classes and codes b h w of their photographs' held-out parts, cut from top to bottom."""
    factor, (height, least) = generator.tokenizer.factor, generator.crop_size
    found = []
    for label, _, image in photographs.parts(least):
        width = image.shape[2] // factor * factor
        tiles = imaging.to_float(image[:, :, :width]).split(3 * height, 1)
        whole = [tile for tile in tiles if tile.shape[1] == 3 * height]  # none of a low photograph
        if whole:
            found.append((label, generator.tokenizer.encode(torch.stack(whole))))
    return found


def nats(generator: Pipeline, label: str, codes: Tensor, stride: int) -> Tensor:
    """-ln p of every code (b h w), given the known cells of its window; a pass a window."""
    (height, width), grid = generator.settings.grid, (codes.shape[1], codes.shape[2])
    moves = {"shift": generator.condition.shift, "stride": stride}
    windows: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for row in range(grid[0]):
        for column in range(grid[1]):
            corner = begin(row, grid[0], height, **moves), begin(column, grid[1], width, **moves)
            windows[corner].append((row, column))
    found = torch.empty(codes.shape)
    for (top, left), cells in windows.items():
        seen = codes[:, top : top + height, left : left + width]
        shares = generator.logits(seen, label=label).log_softmax(-1)  # b n v
        each = shares.gather(-1, seen.flatten(1)[..., None])[..., 0]
        for row, column in cells:
            found[:, row, column] = -each[:, (row - top) * width + column - left]
    return found


def figures(generator: Pipeline, first: list[Tensor], now: list[Tensor]) -> dict[str, float]:
    """Means over cells, and the change against stride 1 with its standard error over images."""
    down, right = (side // 2 for side in generator.settings.grid)
    middle = [part[:, down:, right:].mean().item() for images in now for part in images.split(1)]
    before = [part[:, down:, right:].mean().item() for images in first for part in images.split(1)]
    changes = [one - other for one, other in zip(middle, before, strict=True)]
    cells = torch.cat([part.flatten() for part in now])
    return {
        "images": len(changes),
        "cells": len(cells),
        "nats a token": cells.mean().item(),
        "change": cells.mean().item() - torch.cat([part.flatten() for part in first]).mean().item(),
        "nats in the middle": mean(middle),
        "change in the middle": mean(changes),
        "its standard error": stdev(changes) / len(changes) ** 0.5,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
