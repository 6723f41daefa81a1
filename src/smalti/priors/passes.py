"""Generating in a few passes: how many cells each lays, and what a user may say of that.

Without torch: the shelf offers it to commands, whose help does not wait for that.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

from smalti.config import Few, Weight, settings

# share of cells that is hidden at progress 0 .. 1; in training progress is drawn evenly
HIDDEN: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: math.cos(math.pi / 2 * progress),  # arXiv:2202.04200, section 3.2
    "arccos": lambda progress: math.acos(progress) * 2 / math.pi,  # arXiv:2503.17076
    "square": lambda progress: 1 - progress**2,
}
# guidance at progress 0 .. 1 of drawing, as a share of what it adds
RISING: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: progress,  # arXiv:2301.00704
    "cosine": lambda progress: (1 - math.cos(math.pi * progress)) / 2,  # arXiv:2303.14389
}


Schedule = Literal["cosine", "arccos", "square"]  # the names in HIDDEN


@settings
class Passes:
    """How a canvas is generated in passes."""

    steps: Annotated[Few, "Passes, of which each generates some cells."] = 12
    order: Annotated[
        Literal["confidence", "halton"], "Which cells come first: the surest, or evenly spread ones."
    ] = "confidence"
    confidence_noise: Annotated[Weight, "Of the order by confidence; falls to 0 at the last pass."] = 4.5
    mask_schedule: Annotated[
        Schedule | None, "How many cells a pass leaves; unless given as in training."
    ] = None
    guidance_schedule: Annotated[
        Literal["constant", "linear", "cosine"], "How guidance rises from the first pass to the last."
    ] = "constant"


def portions(unknown: int, steps: int, schedule: str) -> list[int]:
    """Share unknown cells out among at most `steps` passes, by a schedule of HIDDEN; one or more each."""
    steps, left = min(steps, unknown), [unknown]
    for step in range(1, steps + 1):
        hidden = int(unknown * HIDDEN[schedule](step / steps))
        left.append(min(left[-1] - 1, max(steps - step, hidden)))
    return [before - after for before, after in pairwise(left)]
