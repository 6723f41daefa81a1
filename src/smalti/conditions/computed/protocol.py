"""What every computation keeps: an image becomes a map of its own size, in training as in use."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from smalti.errors import UserError
from smalti.opening import Source
from smalti.reading.pixels import PixelReading, Pixels


class Computation(ABC):
    """A member of the shelf, built as `X(settings)`. Of a crop it sees the crop alone."""

    channels: ClassVar[int] = 1  # of a map; 0: those of the image
    of: ClassVar[Literal["image", "alpha"]] = "image"  # what of a file it is computed of

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def check(self, size: tuple[int, int]) -> None:
        """Raise UserError where no image of size (height, width) has such a map, or a package is missing."""
        return

    def wanted_of(self, reader: Any) -> None:
        """Let a reader of data give such a map of each crop of its images.

        UserError where images come from no files of their own, and files alone have what it is computed of.
        """
        if self.of != "image" and not reader.summary().paths:
            raise self.without_file()
        reader.compute = self

    def without_file(self) -> UserError:
        """Return the error for images that are no files of their own, of a computation that needs these."""
        expected = (
            f"images in files of their own for compute.kind={self.settings.kind}, which is of their {self.of}"
        )
        return UserError(expected, "a stream, or images that are made", "data.kind=folder, or another kind")

    @abstractmethod
    def open(self, source: str | Source | Image.Image, how: PixelReading | None) -> Pixels:
        """Return what it is computed of, upright, 0 .. 255, of a file or a Pillow image; UserError.

        how: in which way values of images are read.
        """

    @abstractmethod
    def __call__(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b m H W"]:
        """Return the maps of what it is computed of, both around [-1, 1]; on the CPU."""
