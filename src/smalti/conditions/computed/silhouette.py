"""Silhouettes of what stands on a transparent ground."""

from typing import ClassVar, Literal

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from smalti.conditions.computed.protocol import Computation
from smalti.conditions.computed.reading import open_alpha
from smalti.config import settings
from smalti.opening import Source
from smalti.reading.pixels import PixelReading, Pixels


@settings
class SilhouetteSettings:
    """There is nothing to choose: what is more than half opaque is inside."""

    kind: Literal["silhouette"] = "silhouette"


class Silhouette(Computation):
    """Light where an image is opaque, dark where one looks through it; no half tones."""

    of: ClassVar[Literal["image", "alpha"]] = "alpha"

    def open(self, source: str | Source | Image.Image, how: PixelReading | None) -> Pixels:
        """See Computation: the alpha channel."""
        return open_alpha(source)

    def __call__(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 1 H W"]:
        """See Computation: 1 inside, else -1."""
        return (images[:, :1] > 0).float() * 2 - 1
