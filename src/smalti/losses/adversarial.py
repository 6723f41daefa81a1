"""When and how strongly the critic is felt."""

from typing import Annotated

from smalti.config import Count, Weight, settings
from smalti.errors import UserError
from smalti.losses import OBJECTIVES
from smalti.losses.patchgan import PatchGANSettings
from smalti.schema import Named


@settings
class AdversarialSettings:
    """The adversarial part of a tokenizer's loss. Steps are optimizer steps, counted from 0.

    The generator's term is weight * factor(step) * lambda * objective; lambda is the adaptive weight, or 1.
    """

    objective: Annotated[str, Named(OBJECTIVES)] = "hinge"
    start: Count = 10000  # the first step at which the generator feels the critic
    critic_start: Count | None = None  # the first step at which the critic trains; None: start, as in 2021
    ramp: Count = 0  # steps from start over which the weight rises to its full height; 0: at once, as in 2021
    weight: Weight = 0.8
    adaptive: bool = True  # lambda gives both losses an equal say in the decoder's last layer
    delta: Weight = 1.0e-4  # see losses/adaptive_weight.py
    clamp: Weight = 1.0e4
    patchgan: PatchGANSettings = PatchGANSettings()

    def __post_init__(self) -> None:
        if self.critic_start is not None and self.critic_start > self.start:
            got = f"critic_start={self.critic_start} with start={self.start}"
            raise UserError("a critic that trains before it is felt", got, "adversarial.critic_start=null")

    def factor(self, step: int) -> float:
        """The share of the weight that holds at a step: 0 before start, 1 from start + ramp on."""
        if step < self.start:
            return 0.0
        return min(1.0, (step - self.start + 1) / max(self.ramp, 1))

    def critic_trains(self, step: int) -> bool:
        """Whether the critic takes a step: alone from critic_start, against the generator from start."""
        return step >= (self.start if self.critic_start is None else self.critic_start)
