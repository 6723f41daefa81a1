"""What a tokenizer rebuilds (pictures, maps, segmentations): how it is weighed, measured and shown."""

from collections.abc import Mapping
from typing import Protocol

import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from smalti import images
from smalti.data.protocol import Batch
from smalti.evaluation.reconstruction import psnr
from smalti.training.settings import LossSettings


class Content(Protocol):
    """A kind of content. c are the channels that the tokenizer takes and gives."""

    def inputs(self, batch: Batch) -> Float[Tensor, "b c H W"]:
        """What the tokenizer takes."""
        ...

    def difference(
        self, real: Float[Tensor, "b c H W"], rebuilt: Float[Tensor, "b c H W"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """What a difference costs, weighted, in fp32; and its terms, unweighted."""
        ...

    def measures(
        self, real: Float[Tensor, "b c H W"], rebuilt: Float[Tensor, "b c H W"]
    ) -> Mapping[str, Float[Tensor, " b"]]:
        """Numbers for each of a batch, for validation."""
        ...

    def show(self, values: Float[Tensor, "b c H W"]) -> UInt8[Tensor, "b shown H W"]:
        """Inputs or what the tokenizer gave, to look at."""
        ...


class Pictures:
    """Pictures, or maps that are shown as pictures, in [-1, 1]: absolute, squared and perceptual error."""

    def __init__(self, losses: LossSettings, distance: nn.Module | None, *, of_maps: bool = False) -> None:
        """distance: the perceptual one, (real, rebuilt) -> "b"; None where its weight is 0."""
        self.losses, self.distance, self.of_maps = losses, distance, of_maps

    def inputs(self, batch: Batch) -> Float[Tensor, "b c H W"]:
        """See Content."""
        found = batch.maps if self.of_maps else batch.images
        assert found is not None, "a tokenizer is trained on what it rebuilds"
        return found

    def difference(
        self, real: Float[Tensor, "b c H W"], rebuilt: Float[Tensor, "b c H W"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """See Content."""
        weights, error = self.losses, rebuilt - real
        terms = {"l1": error.abs().mean(), "l2": error.square().mean()}
        total = weights.l1 * terms["l1"] + weights.l2 * terms["l2"]
        if self.distance is not None:
            few = slice(weights.perceptual.pictures)  # it costs more than a small network
            terms["perceptual"] = self.distance(real[few], rebuilt[few]).mean()
            total = total + weights.perceptual.weight * terms["perceptual"]
        return total, terms

    def measures(
        self, real: Float[Tensor, "b c H W"], rebuilt: Float[Tensor, "b c H W"]
    ) -> Mapping[str, Float[Tensor, " b"]]:
        """Mean absolute error, PSNR (dB), perceptual distance."""
        rebuilt = rebuilt.clamp(-1, 1)
        measures = {"l1": (real - rebuilt).abs().mean((1, 2, 3)), "psnr": psnr(real, rebuilt)}
        if self.distance is not None:
            measures["perceptual"] = self.distance(real, rebuilt)
        return measures

    def show(self, values: Float[Tensor, "b c H W"]) -> UInt8[Tensor, "b shown H W"]:
        """See Content."""
        return images.to_uint8(images.visible(values))


class Segmentations:
    """A channel a class, 0 or 1, in; logits out: binary cross-entropy of each channel."""

    def __init__(self, losses: LossSettings, classes: int) -> None:
        self.losses, self.classes = losses, classes

    def inputs(self, batch: Batch) -> Float[Tensor, "b c H W"]:
        """See Content."""
        assert batch.segmentations is not None, "a tokenizer of segmentations is trained on label maps"
        return images.one_hot(batch.segmentations, self.classes)

    def difference(
        self, real: Float[Tensor, "b c H W"], rebuilt: Float[Tensor, "b c H W"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """See Content."""
        bce = F.binary_cross_entropy_with_logits(rebuilt, real)
        return self.losses.bce * bce, {"bce": bce}

    def measures(
        self, real: Float[Tensor, "b c H W"], rebuilt: Float[Tensor, "b c H W"]
    ) -> Mapping[str, Float[Tensor, " b"]]:
        """Mean binary cross-entropy, and the share of pixels whose likeliest class is the right one."""
        bce = F.binary_cross_entropy_with_logits(rebuilt, real, reduction="none").mean((1, 2, 3))
        right = (real.argmax(1) == rebuilt.argmax(1)).float().mean((1, 2))
        return {"bce": bce, "accuracy": right}

    def show(self, values: Float[Tensor, "b c H W"]) -> UInt8[Tensor, "b 3 H W"]:
        """The likeliest class of each pixel, coloured."""
        return images.colour_labels(values.argmax(1))


def content(
    kind: str, losses: LossSettings, distance: nn.Module | None, classes: int
) -> Pictures | Segmentations:
    """The content of a tokenizer by the name in a recipe. classes: channels of a segmentation."""
    if kind == "segmentation":
        return Segmentations(losses, classes)
    return Pictures(losses, distance, of_maps=kind == "map")
