"""At which size should a classifier see images, so that the Frechet distance over its features knows damage?

Crops of photographs, of a few sizes: the distance of damaged ones of half the photographs to whole ones of
the other half, over that of undamaged ones; how many pairs of damages of a kind stand in their order.

    python experiments/feature_size.py PHOTOGRAPHS OUT
"""

import io
import json
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from smalti import imaging
from smalti.features import SPACES
from smalti.imaging import resize
from smalti.metrics.distances import frechet

REAL, OTHERS = 120, 60  # crops a set
SIZES = ((32, 32), (64, 64), (128, 128), (240, 360))  # height and width of crops
NAMES = ("lite0", "mobilenet_v2")
SEEN = 224  # pixels


def main(photographs: Path, out: Path) -> None:
    torch.set_num_threads(1)
    photos = [imaging.open_rgb(path) for path in imaging.find_images(photographs)]
    rows = []
    for size in SIZES:
        real, whole = crops(photos[::2], REAL, size, 0), crops(photos[1::2], OTHERS, size, 1)
        sets = {
            name: [whole, *(damage(whole, much).clamp(-1, 1) for much in degrees)]
            for name, (damage, degrees) in DAMAGES.items()
        }
        for name in NAMES:
            for how, seen in sizes(*size):
                rows.append({"crops": size, "space": name, "how": how, "seen": seen})
                rows[-1] |= measure(name, seen, real, sets)
                print(json.dumps(rows[-1]), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / "numbers.json").write_text(json.dumps(rows, indent=2) + "\n")


def sizes(height: int, width: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """The sizes at which crops of this size may be seen, by name."""
    yield "own", (height, width)
    for name, side in (("longer side", max(height, width)), ("shorter side", min(height, width))):
        if name == "longer side" or height != width:
            yield name, (round(height * SEEN / side), round(width * SEEN / side))


@torch.no_grad()
def measure(
    name: str, seen: tuple[int, int], real: Tensor, sets: dict[str, list[Tensor]]
) -> dict[str, object]:
    space = SPACES[name].read()

    def features(some: Tensor) -> Tensor:
        return torch.cat([space(resize(part, seen).clamp(-1, 1))[0] for part in some.split(20)])

    reference = features(real)
    whole = frechet(features(next(iter(sets.values()))[0]), reference)
    found = {
        kind: [1.0, *(frechet(features(some), reference) / whole for some in damaged[1:])]
        for kind, damaged in sets.items()
    }
    pairs = [less < more for row in found.values() for less, more in combinations(row, 2)]
    return {"ordered": sum(pairs), "pairs": len(pairs), "whole": whole, "over whole": found}


def crops(photos: list[Tensor], count: int, size: tuple[int, int], seed: int) -> Tensor:
    """Crops at random places of the photographs in turn, those that are too small enlarged."""
    generator, found = np.random.default_rng(seed), []
    for number in range(count):
        photo = photos[number % len(photos)]
        factor = max(1.0, *(wanted / side for wanted, side in zip(size, photo.shape[1:], strict=True)))
        photo = resize(photo, tuple(int(np.ceil(side * factor)) for side in photo.shape[1:]))
        top, left = (
            generator.integers(side - wanted + 1) for wanted, side in zip(size, photo.shape[1:], strict=True)
        )
        found.append(photo[:, top : top + size[0], left : left + size[1]])
    return imaging.to_float(torch.stack(found))


def blur(some: Tensor, sigma: float) -> Tensor:
    reach = torch.arange(-round(4 * sigma), round(4 * sigma) + 1)
    kernel = torch.exp(-reach.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(some, (len(reach) // 2,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.mT, groups=3)


def jpeg(some: Tensor, quality: float) -> Tensor:
    found = []
    for pixels in imaging.to_uint8(some):
        file = io.BytesIO()
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "jpeg", quality=int(quality))
        found.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return imaging.to_float(torch.stack(found))


def noise(some: Tensor, much: float) -> Tensor:
    return some + much * torch.randn(some.shape, generator=torch.Generator().manual_seed(0))


def coarse(some: Tensor, factor: float) -> Tensor:
    height, width = some.shape[2:]
    return resize(resize(some, (int(height / factor), int(width / factor))), (height, width))


def shuffled(some: Tensor, parts: float) -> Tensor:
    count = int(parts)
    tiles = [tile for row in some.chunk(count, 2) for tile in row.chunk(count, 3)]
    order = torch.randperm(len(tiles), generator=torch.Generator().manual_seed(0)).tolist()
    rows = [order[start : start + count] for start in range(0, len(order), count)]
    return torch.cat([torch.cat([tiles[place] for place in row], 3) for row in rows], 2)


DAMAGES: dict[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, ...]]] = {
    "blur": (blur, (1, 2, 4)),
    "jpeg": (jpeg, (30, 10)),
    "noise": (noise, (0.1, 0.2)),
    "coarse": (coarse, (2, 4)),
    "shuffled": (shuffled, (2, 4)),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
