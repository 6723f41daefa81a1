"""What do tiles change for a trained tokenizer? The demo's, on its eight photographs in one piece.

Whole images, and tiles of some sizes: dB to the photograph and to what is rebuilt without tiles, and the
share of equal codes. The photographs are those it was trained on (their left four fifths).

    python experiments/tiles.py DEMO/tokenizer OUT
"""

import json
import sys
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

import smalti
from smalti import imaging
from smalti.demo import photographs
from smalti.demo.run import CROP
from smalti.metrics.reconstruction import psnr
from smalti.tokenizer import Tokenizer

TILES = (4, 8, 16, 24, 32)


def main(model: Path, out: Path) -> None:
    """A line of numbers and an image of the second photograph (coins) for each size of tile, 0 without."""
    out.mkdir(parents=True)
    tokenizer = smalti.load(model)
    assert isinstance(tokenizer, Tokenizer), f"a tokenizer at {model}"
    images = [whole(pixels, tokenizer.factor) for _, pixels, _ in photographs.parts(CROP)]
    codes = [tokenizer.encode(image) for image in images]
    rebuilt = [tokenizer.decode(each) for each in codes]
    for size in (0, *TILES):
        tile = size or None
        tiled_codes = [tokenizer.encode(image, tile) for image in images]
        tiled = [tokenizer.decode(each, tile) for each in tiled_codes]
        same = [(a == b).float().mean().item() for a, b in zip(codes, tiled_codes, strict=True)]
        row = {
            "tile": size,
            "dB to the photograph": mean_db(tiled, images),
            "dB to untiled": mean_db(tiled, rebuilt),
            "equal codes": mean(same),
        }
        print(json.dumps(row), flush=True)
        shown = imaging.to_uint8(tiled[1])[0]
        imaging.save_png(out / f"tile-{size}.png", shown, row)


def whole(pixels: Tensor, factor: int) -> Tensor:
    """A photograph (1 3 H W in [-1, 1]) whose sides are multiples of the factor."""
    height, width = (side // factor * factor for side in pixels.shape[1:])
    return imaging.to_float(pixels[None, :, :height, :width])


def mean_db(found: list[Tensor], expected: list[Tensor]) -> float:
    """Over images of different sizes."""
    return mean(psnr(a, b).item() for a, b in zip(found, expected, strict=True))


if __name__ == "__main__":
    with torch.inference_mode():
        main(Path(sys.argv[1]), Path(sys.argv[2]))
