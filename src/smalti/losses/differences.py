"""Terms that compare each value of an image, or of a segmentation, with its reconstruction."""

from collections.abc import Mapping

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from smalti.losses.protocol import Logits, LossTerm


class _Weighed(LossTerm):
    of_segmentations = False

    def __init__(self, weight: float) -> None:
        super().__init__()
        self._weight = weight

    @classmethod
    def build(cls, weight: float, content: str) -> list[LossTerm]:
        """Return the term, for the contents that it is for; with weight 0 too: the log has its number."""
        return [cls(weight)] if cls.of_segmentations == (content == "segmentation") else []

    def weight(self, step: int) -> float:
        """See LossTerm."""
        return self._weight


class L1(_Weighed):
    """The mean absolute error of images."""

    def forward(
        self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"], logits: Logits | None, step: int
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """See LossTerm."""
        value = (fake - real).abs().mean()
        return value, {"l1": value}


class L2(_Weighed):
    """The mean squared error of images."""

    def forward(
        self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"], logits: Logits | None, step: int
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """See LossTerm."""
        value = (fake - real).square().mean()
        return value, {"l2": value}


class CrossEntropy(_Weighed):
    """The mean binary cross-entropy of a segmentation's classes: real is 0 or 1, fake are logits."""

    of_segmentations = True

    def forward(
        self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"], logits: Logits | None, step: int
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """See LossTerm."""
        value = F.binary_cross_entropy_with_logits(fake, real)
        return value, {"bce": value}
