"""What a recipe says of the losses of a tokenizer, and the terms that it asks for."""

from smalti.config import Weight, settings
from smalti.losses import TERMS
from smalti.losses.adversarial import AdversarialSettings
from smalti.losses.perceptual import PerceptualSettings
from smalti.losses.protocol import LossTerm


@settings
class LossSettings:
    """What makes a reconstruction good. Pixels are in [-1, 1]; of segmentations bce alone makes sense."""

    l1: Weight = 1.0  # of the mean absolute error
    l2: Weight = 0.0  # of the mean squared error
    bce: Weight = 0.0  # of the mean binary cross-entropy of a segmentation's classes
    perceptual: PerceptualSettings = PerceptualSettings()
    adversarial: AdversarialSettings | None = None


def terms(losses: LossSettings, content: str) -> list[LossTerm]:
    """Return all terms, new, on the CPU. content: what is rebuilt, "image", "map" or "segmentation"."""
    return [term for key, build in TERMS.items() for term in build(getattr(losses, key), content)]
