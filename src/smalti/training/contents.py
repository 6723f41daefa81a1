"""What a tokenizer rebuilds (images, maps, segmentations): where it comes from, how it is shown."""

from typing import Protocol

from jaxtyping import Float, UInt8
from torch import Tensor

from smalti import imaging
from smalti.data.protocol import Batch


class Content(Protocol):
    """A kind of content. c are the channels that the tokenizer takes and gives."""

    def inputs(self, batch: Batch) -> Float[Tensor, "b c H W"]:
        """Return what the tokenizer takes."""
        ...

    def show(self, values: Float[Tensor, "b c H W"]) -> UInt8[Tensor, "b shown H W"]:
        """Return inputs or what the tokenizer gave, to look at."""
        ...


class Images:
    """Images, or maps that are shown as images, in [-1, 1]."""

    def __init__(self, *, of_maps: bool = False) -> None:
        self.of_maps = of_maps

    def inputs(self, batch: Batch) -> Float[Tensor, "b c H W"]:
        """See Content."""
        found = batch.maps if self.of_maps else batch.images
        assert found is not None, "a tokenizer is trained on what it rebuilds"
        return found

    def show(self, values: Float[Tensor, "b c H W"]) -> UInt8[Tensor, "b shown H W"]:
        """See Content."""
        return imaging.to_uint8(imaging.visible(values))


class Segmentations:
    """A channel a class, 0 or 1, in; logits out."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def inputs(self, batch: Batch) -> Float[Tensor, "b c H W"]:
        """See Content."""
        assert batch.segmentations is not None, "a tokenizer of segmentations is trained on label maps"
        return imaging.one_hot(batch.segmentations, self.classes)

    def show(self, values: Float[Tensor, "b c H W"]) -> UInt8[Tensor, "b 3 H W"]:
        """Return the likeliest class of each pixel, coloured."""
        return imaging.colour_labels(values.argmax(1))


def content(kind: str, classes: int) -> Images | Segmentations:
    """Return the content of a tokenizer by the name in a recipe. classes: channels of a segmentation."""
    if kind == "segmentation":
        return Segmentations(classes)
    return Images(of_maps=kind == "map")
