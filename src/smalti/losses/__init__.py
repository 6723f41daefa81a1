"""What a tokenizer is trained to make small: distances and objectives by name."""

from typing import Any

from smalti.losses.hed import HED
from smalti.losses.lpips import LPIPS
from smalti.losses.objectives import (
    Objective,
    half_logistic,
    hinge,
    logistic,
    negative_score,
    non_saturating,
)

PERCEPTUAL: dict[str, type[Any]] = {"lpips": LPIPS, "hed": HED}

OBJECTIVES: dict[str, Objective] = {
    "hinge": Objective(critic=hinge, generator=negative_score),
    "vanilla": Objective(critic=half_logistic, generator=negative_score),
    "non_saturating": Objective(critic=logistic, generator=non_saturating),
}

__all__ = ["OBJECTIVES", "PERCEPTUAL"]
