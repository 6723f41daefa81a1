"""What a tokenizer is trained to make small: the terms of its losses, distances and objectives by name."""

from collections.abc import Callable, Sequence
from typing import Any

from smalti.losses.adversarial import adversarial_terms
from smalti.losses.differences import L1, L2, CrossEntropy
from smalti.losses.distance import Distance
from smalti.losses.hed import HED
from smalti.losses.lpips import LPIPS, LPIPSAlex
from smalti.losses.objectives import OBJECTIVES
from smalti.losses.perceptual import Perceptual
from smalti.losses.protocol import LossTerm

# perceptual ones, by the name that numbers carry
DISTANCES: dict[str, type[Distance]] = {"lpips_vgg": LPIPS, "lpips_alex": LPIPSAlex, "hed": HED}

# by the key of `LossSettings`: (what stands there, what is rebuilt) -> the terms, none where it asks for none
TERMS: dict[str, Callable[[Any, str], Sequence[LossTerm]]] = {
    "l1": L1.build,
    "l2": L2.build,
    "bce": CrossEntropy.build,
    "perceptual": Perceptual.build,
    "adversarial": adversarial_terms,
}

__all__ = ["DISTANCES", "OBJECTIVES", "TERMS"]
