"""Are there seams in canvases that are larger than a training crop? One model, whatever it is told.

Scenes are rendered at the size that is asked for; two canvases are drawn of what a model is told of each,
and looked at along lines where a seam could lie:

- cells: every factor pixels, where codes meet; held against lines through the middles of cells
- windows: by their place in the cells that share a window, of which as many lie side by side as the stride
  has; at place 0 the window moves on, so that what lies on both sides was drawn through two. Against the
  cell borders at the other places. With a stride of 1 the window moves on at every cell: none is held
- tiles: where tiles of codes meet if they are decoded one by one; against the cell borders next to them

A number is the mean absolute difference across these lines divided by that across those beside them, of
pixels and of the mean colours of cells: 1 is no seam. A second one is how often the difference across a line
is the largest of these, times their number: edges of things, which are few and steep, cannot outweigh all
else. Both are 1 but for chance, whose standard error stands beside them. To be held against them are those of
the rendered scenes, and of what the tokenizer makes of them, along the same lines; a seam made on purpose,
windows of both canvases of a scene in turn side by side in one image; and tiles that do not fade into one
another. The prior draws a canvas by windows of its training crop and the pipeline decodes it in one piece:
tiles are what `decode(codes, tile)` would do.

    python experiments/canvases.py MODEL --size 256x512 [--stride 4] [--num 2] --out FOLDER

Writes images and canvases.json, prints a line. Whether what is drawn obeys is another question: a window of a
large scene shows a part of it, which a model that was trained on whole scenes has never seen. Train it on
crops of large ones (data.size=256 crop.resize=none).
"""

import argparse
import json
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
from smalti.data.scenes import Scenes
from smalti.data.transforms import CropSettings
from smalti.drawing.plan import begin
from smalti.evaluation.described import drawn, value
from smalti.evaluation.fakes import known
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer
from smalti.tokenizer.tiling import spans
from smalti.training.holding import as_made

EACH = 2  # canvases of a scene, so that a seam can be made of them
SHARE = 0.95  # top_p of all canvases
HOW = {"mean": "mean step", "largest": "largest step"}
TOLD = ("cells", "window's place 0", "windows on purpose", "tiles")  # in the line that is printed


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
    # as files hold them: in even areas rounding would else decide which step is the largest
    found = {name: imaging.to_uint8(images).float() for name, images in found.items()}
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
    condition: Any = model.condition
    of_depths = not any(getattr(one, "of_classes", False) for one in condition.named.values())
    people = {"people": 1.0} if "keypoints" in condition.named else {}
    more = {"size": size, "content": "depth" if of_depths else "segmentation", **people}
    settings = as_made("scenes", size, [model, model.tokenizer], **more)
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
    """Return the numbers of lines, by what is looked at, of images."""
    factor, rows = model.tokenizer.factor, {}
    for name, (lines, beside, images) in where(model, grid, asked).items():
        far = [round(one * factor) for one in beside]
        looks = [("pixels", lines.times(factor), far, {one: found[one] for one in images})]
        if name != "cells":  # whose colours have nothing beside them that is no border
            means = {one: F.avg_pool2d(found[one], factor) for one in images}
            looks.append(("cells", lines, [round(one) for one in beside], means))
        for of, places, steps, shown in looks:
            each = {one: across(image, places, steps) for one, image in shown.items()}
            for how in each[images[0]]:
                rows[f"{name}: {HOW[how]} of {of}"] = {one: vars(seam[how]) for one, seam in each.items()}
    return rows


def where(
    model: Pipeline, grid: tuple[int, int], asked: argparse.Namespace
) -> dict[str, tuple[Lines, list[float], tuple[str, ...]]]:
    """Return lines along borders of cells, how far off those beside them lie, and which images are looked at.

    Of the images the most telling one first.
    """
    window, stride, real = model.settings.grid, asked.stride, ("rebuilt", "scenes")
    moves = {"shift": model.condition.shift, "stride": stride}
    moved = []
    for size, side in zip(grid, window, strict=True):
        begins = [begin(at, size, side, **moves) for at in range(size)]
        moved.append([at for at in range(1, size) if begins[at] > begins[at - 1]])
    chess = [range(side, size, side) for size, side in zip(grid, window, strict=True)]
    tiles = [[span.first for span in spans(size, asked.tile)][1:] for size in grid]
    found: dict[str, Any] = {
        "cells": (Lines(*(range(1, size) for size in grid)), [-0.5, 0.5], ("drawn", *real))
    }
    for place in range(stride if stride > 1 else 0):
        lines = Lines(*([at + place for at in axis] for axis in moved))
        others = [other - place for other in range(stride) if other != place]
        found[f"window's place {place}"] = (lines, others, ("drawn", *real))
    found["windows on purpose"] = (Lines(*chess), [-1, 1], ("pasted", "drawn", *real))
    found["tiles"] = (Lines(*tiles), [-1, 1], ("tiled", "tiles apart", "drawn", *real))
    return found


def across(images: Tensor, lines: Lines, beside: Sequence[int]) -> dict[str, Seam]:
    """Return how lines differ from those so far beside each, by the mean step and by the largest one.

    Nothing where lines have none beside them. The standard error is that of a ratio of two sums over lines,
    each line of each image by itself.
    """
    found: dict[str, list[Tensor]] = {"mean": [], "largest": []}  # 2, b each: of a line, without a seam
    for axis, places in zip((2, 3), lines, strict=True):
        steps = images.diff(dim=axis).abs().sum(1).movedim(axis - 1, 1)  # b, lines, places along them
        for place in places:
            others = [place + far for far in beside]
            if min(others) > 0 and max(others) < images.shape[axis] and not {*others} & {*places}:
                own, both = steps[:, place - 1], steps[:, torch.tensor(others) - 1]
                found["mean"].append(torch.stack([own.sum(1), both.mean(1).sum(1)]))
                every = torch.cat([own[:, None], both], 1)
                tops = (every == every.amax(1, keepdim=True)).double()
                share = tops[:, 0] / tops.sum(1)  # of equal ones each has its share
                even = torch.full_like(share, 1 / every.shape[1])
                found["largest"].append(torch.stack([share.sum(1), even.sum(1)]))
    return {name: _ratio(torch.cat(sums, 1).double()) for name, sums in found.items() if sums}


def _ratio(sums: Tensor) -> Seam:
    (own, other), ratio = sums, (sums[0].sum() / sums[1].sum()).item()
    error = (own - ratio * other).square().sum().sqrt() / other.sum()
    return Seam(ratio=ratio, error=error.item(), lines=len(own))


def show(out: Path, found: dict[str, Tensor], model: Pipeline, batch: Batch) -> None:
    """Write the images: all that were drawn, of the others one a scene; and what the model was told."""
    shown = {
        f"{name}-{number}": image for name, images in found.items() for number, image in enumerate(images)
    }
    for name, image in shown.items():
        imaging.save_png(out / f"{name.replace(' ', '-')}.png", image.to(torch.uint8), {})
    told = value(model, batch) if model.condition.named else {}
    for name, one in told.items() if isinstance(told, dict) else [("condition", told)]:
        if isinstance(one[0], str) or (isinstance(one, Tensor) and one.dim() == 1):
            print(*one[::EACH], sep="\n")
        else:
            sheet = drawn(one[::EACH], (batch.images.shape[2], batch.images.shape[3]))
            imaging.save_png(out / f"{name}.png", imaging.grid(imaging.to_uint8(sheet), columns=2), {})


def line(record: dict[str, Any]) -> str:
    """Return the most telling numbers in a line, each with what to hold it against; the record has all."""
    parts = [
        "{condition}, {size[0]} x {size[1]}, stride {stride}, {seconds a canvas} s a canvas".format(**record)
    ]
    for name, each in record["seams"].items():
        place, told = name.split(": ")
        if told in (f"{HOW['mean']} of pixels", f"{HOW['largest']} of cells") and place in TOLD:
            (first, own), *others = each.items()
            beside = ", ".join(f"{one} {seam['ratio']:.2f}" for one, seam in others)
            parts.append(f"{name}: {first} {own['ratio']:.2f} +- {own['error']:.2f} ({beside})")
    return "; ".join(parts)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
