"""An image that a condition is computed of, in place of the condition itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from smalti import imaging
from smalti.conditions.computed.protocol import Computation
from smalti.conditions.protocol import Condition
from smalti.errors import UserError
from smalti.tokenizer import Tokenizer

OPTION = "from_image"


def replaced(
    given: Mapping[str, Any], condition: Condition, tokenizer: Tokenizer, size: tuple[int, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return options in which what is computed of `from_image` stands in its place, and a record of it.

    given: conditions by keyword. from_image: one image for all canvases, or a list of one for each. size:
    height and width of a canvas; an image is scaled until it just covers it, and its middle is taken, as
    images in training are. UserError where the model computes nothing of images, or is told it besides.
    """
    others = {name: value for name, value in given.items() if name != OPTION}
    images = given.get(OPTION)
    if images is None:
        return others, {}
    several = images if isinstance(images, list | tuple) else [images]
    if not several:
        raise UserError("an image for from_image, or several", "none", "leave it out, or give some")
    told = [condition.of_image(_Look(one, tokenizer, size)) for one in several]
    for name in told[0]:
        if others.get(name) is not None:
            raise UserError(f"from_image= or {name}=", "both", "leave one of them out")
    joined = {name: torch.cat([one[name] for one in told]) for name in told[0]}
    single = not isinstance(images, list | tuple)
    values = {name: value[0] if single else value for name, value in joined.items()}
    shown = [
        str(one) if isinstance(one, str | Path) else f"{type(one).__name__} in memory" for one in several
    ]
    return {**others, **values}, {OPTION: shown[0] if single else shown}


class _Look:
    """Gives what a computation is of, of one image at a size."""

    def __init__(self, image: Any, tokenizer: Tokenizer, size: tuple[int, int]) -> None:
        self.image, self.tokenizer, self.size = image, tokenizer, size

    def __call__(self, compute: Computation) -> Float[Tensor, "1 c H W"]:
        """Return it, in [-1, 1]."""
        from smalti.data.transforms import middle  # not above: who draws rarely needs readers

        image = self.image
        if isinstance(image, str | Path | Image.Image):
            pixels = compute.open(image, self.tokenizer.settings.pixels)
        elif compute.of == "alpha":
            got = type(image).__name__
            raise UserError("an image with transparency", got, "give a file or a Pillow image")
        else:
            pixels = (self.tokenizer.images(image)[0].float().cpu() + 1) * 127.5
        where = middle((pixels.shape[1], pixels.shape[2]), self.size)
        return imaging.to_float(where.image(pixels))[None]
