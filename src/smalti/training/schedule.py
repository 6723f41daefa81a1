"""The share of the learning rate that holds at a step: a pure function of the step."""

import math

from smalti.training.settings import OptimizerSettings


def share(step: int, steps: int, settings: OptimizerSettings) -> float:
    """Return what the learning rate of a step (0 .. steps - 1) is multiplied by, in [0, 1].

    Linear warm-up: step 0 has 1 / warmup, step warmup - 1 the whole. Then constant, or half a cosine
    that ends at `final` on the last step (arXiv:1608.03983, eq. 5, one cycle).
    """
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    way = (step - settings.warmup) / max(steps - 1 - settings.warmup, 1)
    cosine = (1 + math.cos(math.pi * min(way, 1.0))) / 2
    return settings.final + (1 - settings.final) * cosine
