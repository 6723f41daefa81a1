"""Super-resolution: a small image is what a larger one, drawn anew, is told."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from smalti.conditions.computed.low_resolution import LowResolution
from smalti.conditions.protocol import Condition
from smalti.errors import UserError
from smalti.grids import Grids
from smalti.samples import Samples
from smalti.sizes import nearest
from smalti.tokenizer.given import only_one


class Upscaling(Grids):
    """The methods of a model with a prior that is conditioned on low resolution."""

    @abstractmethod
    def iter_batches(self, num: Any = None, **options: Any) -> Iterator[Samples]:
        """Draw batch by batch."""

    def upscale(self, image: Any, num: int | Any = 1, factor: int | Any = None, **options: Any) -> Samples:
        """Draw num different images, `factor` times as large as this one, which look like it when shrunk.

        image: one image of any size, as `Tokenizer.images` takes it. Where the enlarged one is no multiple of
        the tokenizer's factor, or smaller than a training crop, it is mirrored beyond its right and bottom
        border first, and the result cut to size: its codes tell more than its images show. On what is larger
        than a training crop the window moves as in `sample`.
        factor: that of the training, the only one that the model knows; None: the same.
        options: those of `sample`, but for size; and other conditions. UserError for a model that is not
        conditioned on low resolution.
        """
        return Samples.joined(list(self.iter_upscaled(image, num, factor, **options)))

    def iter_upscaled(
        self, image: Any, num: int | Any = 1, factor: int | Any = None, **options: Any
    ) -> Iterator[Samples]:
        """Draw as `upscale` does, batch by batch, as `iter_batches` does."""
        compute = _computation(self.condition, factor)
        told = next(name for name, one in self.condition.named.items() if one.compute is compute)
        for name in ("size", told, "from_image"):
            if options.get(name) is not None:
                raise UserError("no option that the image decides", f"{name}=", "leave it out")
        given = only_one(self.tokenizer.images(image)).cpu()
        factor = compute.settings.factor
        size = (given.shape[2] * factor, given.shape[3] * factor)
        crop = self.crop_sizes[nearest(size, self.crop_sizes)]
        sides = [_side(*pair, self.tokenizer.factor, factor) for pair in zip(size, crop, strict=True)]
        maps = compute.enlarged(_mirrored(given, (sides[0] // factor, sides[1] // factor)))
        name = str(image) if isinstance(image, str | Path) else f"{type(image).__name__} in memory"
        record = {"upscaled": name, "factor": factor}
        if (wanted := options.get("wanted")) is not None:
            cut = {"height": size[0], "width": size[1], **record}
            options["wanted"] = lambda images, made: wanted(images, lambda index: {**made(index), **cut})
        drawn = self.iter_batches(num, **{**options, told: maps[0], "size": (sides[0], sides[1])})
        return (part.cut(size, record) for part in drawn)


def _computation(condition: Condition, factor: Any) -> LowResolution:
    """Return how maps of a model are made, if it is told images of low resolution; UserError."""
    compute = condition.compute
    if not isinstance(compute, LowResolution):
        remedy = "train one with condition.compute.kind=low_resolution: smalti recipes"
        got = f"one that is told {' and '.join(condition.named) or 'nothing'}"
        raise UserError("a model that is told images of low resolution", got, remedy)
    known = compute.settings.factor
    if factor is not None and factor != known:
        remedy = f"leave the factor out, or train with condition.compute.factor={factor}"
        raise UserError(f"the factor of the training, {known}", str(factor), remedy)
    return compute


def _side(wanted: int, crop: int, tokenizer: int, factor: int) -> int:
    """Return the pixels of a canvas's side: whole cells and whole small pixels, a training crop at least."""
    step = math.lcm(tokenizer, factor)
    return -(-max(wanted, crop) // step) * step


def _mirrored(images: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Return images grown to a size by mirroring at the right and the bottom, as often as it takes."""
    for axis, side in zip((2, 3), size, strict=True):
        count = images.shape[axis]
        places = torch.arange(side) % (2 * count)
        places = torch.where(places < count, places, 2 * count - 1 - places)
        images = images.index_select(axis, places)
    return images
