"""Edges of images, by Canny's detector."""

from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from smalti.conditions.computed.protocol import Computation
from smalti.conditions.computed.reading import open_image
from smalti.config import settings
from smalti.errors import optional
from smalti.opening import Source
from smalti.reading.pixels import PixelReading, Pixels

EXTRA = "edges"


@settings
class EdgesSettings:
    """How edges are found."""

    kind: Literal["edges"] = "edges"
    # pixels of the crop by which it is blurred first: fewer edges with more; 2 at 256 pixels in the 2021 code
    sigma: Annotated[float, Gt(0.0)] = 2.0


class Edges(Computation):
    """Light lines, a pixel wide, on dark."""

    settings: EdgesSettings

    def check(self, size: tuple[int, int]) -> None:
        """See Computation."""
        optional("skimage.feature", extra=EXTRA)

    def open(self, source: str | Source | Image.Image, how: PixelReading | None) -> Pixels:
        """See Computation: the image."""
        return open_image(source, how)

    def __call__(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 1 H W"]:
        """See Computation: 1 on edges, else -1."""
        return canny(images, self.settings.sigma)[:, None].float() * 2 - 1


def canny(images: Float[Tensor, "b c H W"], sigma: float) -> Bool[Tensor, "b H W"]:
    """Return where images in [-1, 1] have edges, by scikit-image's Canny; UserError without the package."""
    feature = optional("skimage.feature", extra=EXTRA)
    gray = images.float().mean(1).cpu().numpy() if images.shape[1] != 3 else _gray(images)
    return torch.stack([torch.from_numpy(feature.canny(one, sigma=sigma)) for one in gray])


def _gray(images: Float[Tensor, "b 3 H W"]) -> Any:
    weights = images.new_tensor([0.2125, 0.7154, 0.0721])  # of scikit-image's rgb2gray
    return (images.float() * weights[:, None, None]).sum(1).cpu().numpy()
