"""Which damaged copies of training images does `nearest` find, and how many honest images does it accuse?

Half of the images train, the others are held out; copies are of a few of the training images, damaged in the
ways in which a model that remembers an image could return it.

    python experiments/copies.py OUT SPACE IMAGES...

Prediction: of photographs nearly all flipped, shifted or recompressed copies and no held-out image; of emoji,
among which many differ in a hat or the colour of hair, fewer copies, and some of the held-out ones. Found, in
lite0: of photographs 1 flipped, .77 shifted, .78 recompressed, but .27 blurred and .04 recompressed hard, and
one of 243 held-out images, which is in both halves; of emoji .57, .35, .34, and .03 of the held-out ones.
"""

import io
import json
import sys
from pathlib import Path

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from smalti import imaging
from smalti.features import SPACES
from smalti.metrics.neighbours import nearest

SIDE, COPIES = 128, 150
RATIOS = (0.01, 0.05, 0.5)  # quantiles shown


def jpeg(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    imaging.to_pil(image)[0].save(file, "JPEG", quality=quality)
    return imaging.to_float(imaging.from_pil(Image.open(file)))[None]


def blurred(image: Tensor, radius: float) -> Tensor:
    soft = imaging.to_pil(image)[0].filter(ImageFilter.GaussianBlur(radius))
    return imaging.to_float(imaging.from_pil(soft))[None]


def enlarged(image: Tensor, edge: int) -> Tensor:
    return imaging.resize(image[:, :, edge:-edge, edge:-edge], (SIDE, SIDE)).clamp(-1, 1)


DAMAGES = {
    "gamma .8": lambda image: ((image + 1) / 2) ** 0.8 * 2 - 1,
    "a fifth darker": lambda image: (image + 1) * 0.8 - 1,
    "flipped": lambda image: image.flip(3),
    "JPEG of quality 75": lambda image: jpeg(image, 75),
    "JPEG of quality 20": lambda image: jpeg(image, 20),
    "shifted by 4 pixels": lambda image: image.roll((4, 4), (2, 3)),
    "enlarged by a tenth": lambda image: enlarged(image, 6),
    "enlarged by a third": lambda image: enlarged(image, 16),
    "blurred by 1": lambda image: blurred(image, 1),
}


def main(out: Path, space: str, folders: list[Path]) -> None:
    network = SPACES[space].read()
    paths = [path for folder in folders for path in imaging.find_images(folder)]
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0)).tolist()
    real = [square(paths[number]) for number in order]
    features = torch.cat([network.features(one) for one in real])
    training, held_out = features.tensor_split(2)
    rows = {"held out": row(held_out, training)}
    copied = range(min(COPIES, len(training)))
    for name, damage in DAMAGES.items():
        rows[name] = row(torch.cat([network.features(damage(real[number])) for number in copied]), training)
        print(name, json.dumps(rows[name]), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    found = {"space": space, "training": len(training), "copies": len(copied), "rows": rows}
    (out / "numbers.json").write_text(json.dumps(found, indent=2) + "\n")
    print("held out", json.dumps(rows["held out"]))


def square(path: Path) -> Tensor:
    """The middle of an image, 1 3 SIDE SIDE."""
    pixels = imaging.to_float(imaging.open_rgb(path))
    height, width = pixels.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return imaging.resize(pixels[None, :, top : top + side, left : left + side], (SIDE, SIDE)).clamp(-1, 1)


def row(features: Tensor, training: Tensor) -> dict[str, float]:
    found = nearest(features, training)
    quantiles = torch.quantile(found.ratios, torch.tensor(RATIOS).double()).tolist()
    shown = {f"ratio at {share:.0%}": round(value, 3) for share, value in zip(RATIOS, quantiles, strict=True)}
    return {"taken for copies": found.copies.double().mean().item(), **shown}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], [Path(folder) for folder in sys.argv[3:]])
