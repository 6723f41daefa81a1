"""Photographs that ship inside other packages' wheels, cut into a folder of training and held-out tiles."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from smalti import imaging
from smalti.errors import optional

PHOTOGRAPHS = {  # class -> package, file below it, scale
    "brick": ("skimage", "data/brick.png", 0.6),
    "coins": ("skimage", "data/coins.png", 0.6),
    "flower": ("sklearn", "datasets/images/flower.jpg", 0.5),
    "palace": ("sklearn", "datasets/images/china.jpg", 0.5),
    "retina": ("skimage", "data/retina.jpg", 0.25),
    "rocket": ("skimage", "data/rocket.jpg", 0.5),
    "stars": ("skimage", "data/hubble_deep_field.jpg", 0.4),
    "tissue": ("skimage", "data/ihc.png", 0.75),
}


def cut(folder: Path, crop: int) -> None:
    """Cut each photograph into tiles: folder/train/CLASS and folder/val/CLASS.

    The left four fifths are for training, in overlapping tiles of 1.5 x crop pixels a side, so that random
    crops move inside them; the right fifth is held out, in tiles of crop x crop.
    """
    for name, left, right in parts(crop):
        _save_tiles(left, folder / "train" / name, side=crop * 3 // 2, count=140)
        _save_tiles(right, folder / "val" / name, side=crop, count=30)


def parts(crop: int) -> Iterator[tuple[str, UInt8[Tensor, "3 H W"], UInt8[Tensor, "3 H V"]]]:
    """Return class, training part and held-out part (`crop` pixels wide or more) of each, scaled."""
    for name, (package, file, scale) in PHOTOGRAPHS.items():
        image = imaging.open_rgb(_find(package, file))
        height, width = (round(side * scale) for side in image.shape[1:])
        image = imaging.resize(image, (height, width))
        border = width - max(width // 5, crop)
        yield name, image[:, :, :border], image[:, :, border:]


def _find(package: str, file: str) -> Path:
    optional(package, extra="demo")
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} was just imported"
    return Path(str(spec.origin)).parent / file


def _save_tiles(image: UInt8[Tensor, "3 H W"], folder: Path, *, side: int, count: int) -> None:
    folder.mkdir(parents=True)
    for index, (top, left) in enumerate(_places(image.shape[1:], side, count)):
        imaging.save_png(folder / f"{index:03}.png", image[:, top : top + side, left : left + side], {})


def _places(shape: torch.Size, side: int, count: int) -> Iterator[tuple[int, int]]:
    """Return places of side x side tiles, evenly over an image.

    As wide a square net as gives `count` of them.
    """
    down, right = (length - side for length in shape)
    step = max(down, right, 1)
    while step > 1 and (down // step + 1) * (right // step + 1) < count:
        step -= 1
    for top in range(0, down + 1, step):
        for left in range(0, right + 1, step):
            yield top, left
