"""Are there seams in canvases that are larger than a training crop? One model, whatever it is told.

Scenes are rendered at the size that is asked for; two canvases are drawn of what a model is told of each,
and looked at along lines where a seam could lie:

- cells: every factor pixels, where codes meet; held against lines through the middles of cells
- windows: where the window moves on by its stride, so that what lies on both sides was drawn through two
  windows; against the cell borders next to them. With a stride of 1 it moves on at every cell: none is held
- tiles: where tiles of codes meet if they are decoded one by one; against the cell borders next to them

A number is the mean absolute difference across these lines divided by that across those beside them, of
pixels and of the mean colours of cells: 1 is no seam. Beside it stand those of the rendered scenes, and of
what the tokenizer makes of them, along the same lines; and a seam made on purpose: of both canvases of a
scene windows in turn, side by side in one image, along their borders; and tiles that do not fade into one
another. The prior draws a canvas by windows of its training crop and the pipeline decodes it in one piece:
tiles are what `decode(codes, tile)` would do.

    python experiments/canvases.py MODEL --size 256x512 [--stride 4] [--num 2] --out FOLDER

Writes images and canvases.json, prints a line. A model that was trained on other data than scenes draws too.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import smalti
from smalti import config, imaging
from smalti.data.loader import Crops, collate
from smalti.data.protocol import Batch
from smalti.data.scenes import Scenes, ScenesSettings
from smalti.data.transforms import CropSettings
from smalti.drawing.plan import begin
from smalti.evaluation.described import drawn, value
from smalti.evaluation.fakes import known
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer
from smalti.tokenizer.tiling import spans

EACH = 2  # canvases of a scene, so that a seam can be made of them
SHARE = 0.95  # top_p of all canvases


class Lines(NamedTuple):
    """Where seams could lie along each axis: the row, or column, behind each line."""

    rows: Sequence[int]
    columns: Sequence[int]

    def times(self, factor: int) -> "Lines":
        return Lines([line * factor for line in self.rows], [line * factor for line in self.columns])


@dataclass(frozen=True, kw_only=True)
class Seam:
    """Differences across lines against those beside them, and the standard error over lines."""

    ratio: float
    error: float
    lines: int

    def __str__(self) -> str:
        return f"{self.ratio:.2f} +- {self.error:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--size", type=config.read_size, default=(256, 512))
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--num", type=int, default=2, help="scenes")
    parser.add_argument("--tile", type=int, default=16, help="cells a side")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = smalti.load(asked.model)
    assert isinstance(model, Pipeline), "a model with a prior"
    asked.out.mkdir(parents=True)
    record = look(model, asked)
    (asked.out / "canvases.json").write_text(json.dumps(record, indent=2) + "\n")
    print(line(record))


def look(model: Pipeline, asked: argparse.Namespace) -> dict[str, Any]:
    """Draw, write the images, and return what was found."""
    batch, began = scenes(model, asked.size, asked.num), time.perf_counter()
    options = {"size": asked.size, "stride": asked.stride, "top_p": SHARE, "guidance_scale": asked.guidance}
    count = asked.num * EACH
    codes = model.sample(num=count, **options, **known(model, batch)).codes
    seconds, tokenizer = time.perf_counter() - began, model.tokenizer
    scene = batch.images[::EACH]  # of the rows that were told, one a scene
    own, grid = tokenizer.encode(scene), tuple(codes.shape[1:])
    found = {
        "drawn": tokenizer.decode(codes),
        "rebuilt": tokenizer.decode(own),
        "scenes": scene,
        "pasted": tokenizer.decode(pasted(codes, model.settings.grid)),
        "tiled": tokenizer.decode(codes, asked.tile),
        "tiles apart": apart(tokenizer, codes, asked.tile),
    }
    found = {name: images.clamp(-1, 1) for name, images in found.items()}
    show(asked.out, found, model, batch)
    return {
        "model": asked.model.name,
        "condition": ", ".join(model.condition.named) or "none",
        "size": list(asked.size),
        **{"stride": asked.stride, "tile": asked.tile, "scenes": asked.num, "canvases": count},
        "seconds a canvas": round(seconds / count, 1),
        "seams": seams(model, found, grid, asked),
        # tiles have means and variances of their own: how far off colours are, whether there is a seam or not
        "tiled, from decoded whole, of 255": round(
            127.5 * (found["tiled"] - found["drawn"]).abs().mean().item(), 2
        ),
    }


def scenes(model: Pipeline, size: tuple[int, int], num: int) -> Batch:
    """Return held-out scenes of a size with what this model is told of them, each EACH times."""
    told: Any = model.provenance.get("data") or {}
    kept = {name: one for name, one in told.items() if told.get("kind") == "scenes" and name != "kind"}
    condition: Any = model.condition
    of_depths = "map" in condition.named and not getattr(condition, "of_classes", False)
    given = {**kept, "size": size, "content": "depth" if of_depths else "segmentation"}
    settings = config.parse(given, ScenesSettings)
    reader = Scenes(settings, "val")
    condition.agree(settings, [reader])
    crops = Crops(reader, size, CropSettings(), seed=0)
    return collate([crops[0, number // EACH] for number in range(num * EACH)])


def pasted(codes: Tensor, window: tuple[int, int]) -> Tensor:
    """Return windows of two canvases of each scene in turn, like the fields of a chess board (b h w)."""
    rows, columns = (torch.arange(size) // side for size, side in zip(codes.shape[1:], window, strict=True))
    odd = (rows[:, None] + columns) % 2 == 1
    return torch.where(odd, codes.unflatten(0, (-1, EACH)).flip(1).flatten(0, 1), codes)


def apart(tokenizer: Tokenizer, codes: Tensor, tile: int) -> Tensor:
    """Return images decoded tile by tile, each to its own share alone: nothing fades."""
    rows, columns = (list(spans(size, tile)) for size in codes.shape[1:])
    return torch.cat(
        [
            torch.cat(
                [
                    tokenizer.decode(codes[:, row.first : row.last, column.first : column.last])
                    for column in columns
                ],
                3,
            )
            for row in rows
        ],
        2,
    )


def seams(
    model: Pipeline, found: dict[str, Tensor], grid: tuple[int, int], asked: argparse.Namespace
) -> dict[str, Any]:
    """Return every number: of lines, of pixels or colours of cells, of images."""
    window, factor = model.settings.grid, model.tokenizer.factor
    moves = {"shift": model.condition.shift, "stride": asked.stride}
    cells = Lines(*(range(1, size) for size in grid))
    chess = Lines(*(range(side, size, side) for size, side in zip(grid, window, strict=True)))
    tiles = Lines(*([span.first for span in spans(size, asked.tile)][1:] for size in grid))
    moved = Lines(
        *(
            [at for at in range(1, size) if begin(at, size, side, **moves) > begin(at - 1, size, side, **moves)]
            for size, side in zip(grid, window, strict=True)
        )
    )
    real = ("rebuilt", "scenes")
    looked = {
        "cells": (cells, ("drawn", *real)),
        "windows": (moved, ("drawn", *real)),
        "windows made on purpose": (chess, ("pasted", "drawn", *real)),
        "tiles": (tiles, ("tiled", "tiles apart", "drawn", *real)),
    }
    if asked.stride == 1:
        del looked["windows"]
    rows: dict[str, Any] = {}
    for name, (lines, images) in looked.items():
        beside = factor // 2 if name == "cells" else factor
        of_pixels = {one: across(found[one], lines.times(factor), beside) for one in images}
        rows[name] = {"pixels": of_pixels}
        if name != "cells":  # whose colours have nothing beside them that is no border
            means = {one: F.avg_pool2d(found[one], factor) for one in images}
            rows[name]["colours of cells"] = {one: across(means[one], lines, 1) for one in images}
    return {
        name: {of: {one: vars(seam) for one, seam in each.items() if seam} for of, each in row.items()}
        for name, row in rows.items()
    }


def across(images: Tensor, lines: Lines, beside: int) -> Seam | None:
    """Return the differences across lines against those across lines so far beside them; None without any.

    The standard error is that of a ratio of two sums over lines, each line of each image by itself.
    """
    here, there = [], []
    for axis, places in zip((2, 3), lines, strict=True):
        size = images.shape[axis]
        steps = images.diff(dim=axis).abs().mean(dim=(1, 5 - axis))  # b, lines: step i lies behind i
        weight = images.shape[5 - axis]
        for place in places:
            others = [one for one in (place - beside, place + beside) if 0 < one < size and one not in places]
            if others:
                here.append(steps[:, place - 1] * weight)
                there.append(steps[:, torch.tensor(others) - 1].mean(1) * weight)
    if not here:
        return None
    own, other = torch.cat(here).double(), torch.cat(there).double()
    ratio = own.sum() / other.sum()
    error = (own - ratio * other).square().sum().sqrt() / other.sum()
    return Seam(ratio=ratio.item(), error=error.item(), lines=len(own))


def show(out: Path, found: dict[str, Tensor], model: Pipeline, batch: Batch) -> None:
    """Write the images, one a scene of what there is; and what the model was told."""
    for name, images in found.items():
        for number, image in enumerate(images if name == "drawn" else images[:: len(images) // (len(batch.images) // EACH)]):
            imaging.save_png(out / f"{name.replace(' ', '-')}-{number}.png", imaging.to_uint8(image[None])[0], {})
    told = value(model, batch)
    if isinstance(told, Tensor) and told.dim() > 2 or (told is not None and not isinstance(told[0], str | int)):
        sheet = imaging.grid(imaging.to_uint8(drawn(told[::EACH], batch.images.shape[2:])), columns=2)
        imaging.save_png(out / "conditions.png", sheet, {})
    elif told is not None:
        print(*map(str, told[::EACH]), sep="\n")


def line(record: dict[str, Any]) -> str:
    """Return the numbers in a line: what was drawn, and in brackets what to hold it against."""
    parts = []
    for name, row in record["seams"].items():
        for of, each in row.items():
            first, *others = each.items()
            told = ", ".join(f"{one} {seam['ratio']:.2f}" for one, seam in others)
            parts.append(f"{name}, {of}: {first[0]} {first[1]['ratio']:.2f} +- {first[1]['error']:.2f} ({told})")
    size = "{}x{}".format(*record["size"])
    return f"{record['condition']} {size} stride {record['stride']}, {record['seconds a canvas']} s: " + "; ".join(parts)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
