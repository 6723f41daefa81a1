"""The adversarial terms: what both networks make of the logits, when, and how strongly."""

from collections.abc import Mapping
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from smalti.config import Count, Weight, settings
from smalti.errors import UserError
from smalti.losses.adaptive_weight import adaptive_weight
from smalti.losses.objectives import OBJECTIVES
from smalti.losses.patchgan import PatchGANSettings
from smalti.losses.protocol import DISCRIMINATOR, Logits, LossTerm
from smalti.schema import Named


@settings
class AdversarialSettings:
    """The adversarial part of a tokenizer's loss. Steps are optimizer steps, counted from 0.

    The generator's term is weight * factor(step) * lambda * objective; lambda is the adaptive weight, or 1.
    """

    objective: Annotated[str, Named(OBJECTIVES)] = "hinge"
    start: Count = 10000  # the first step at which the generator feels the discriminator
    # the first step at which the discriminator trains; None: start, as in 2021
    discriminator_start: Count | None = None
    ramp: Count = 0  # steps from start over which the weight rises to its full height; 0: at once, as in 2021
    weight: Weight = 0.8
    adaptive: bool = True  # lambda gives both losses an equal say in the decoder's last layer
    delta: Weight = 1.0e-4  # see losses/adaptive_weight.py
    clamp: Weight = 1.0e4
    patchgan: PatchGANSettings = PatchGANSettings()

    def __post_init__(self) -> None:
        if self.discriminator_start is not None and self.discriminator_start > self.start:
            got = f"discriminator_start={self.discriminator_start} with start={self.start}"
            raise UserError(
                "a discriminator that trains before it is felt", got, "adversarial.discriminator_start=null"
            )

    def factor(self, step: int) -> float:
        """Return the share of the weight that holds at a step: 0 before start, 1 from start + ramp on."""
        if step < self.start:
            return 0.0
        return min(1.0, (step - self.start + 1) / max(self.ramp, 1))

    def discriminator_trains(self, step: int) -> bool:
        """Return whether the discriminator takes a step, at first alone, from `start` on felt."""
        return step >= (self.start if self.discriminator_start is None else self.discriminator_start)


class GeneratorLoss(LossTerm):
    """What the autoencoder makes of the logits; with the adaptive weight it has as much say as the rest."""

    of_logits = True

    def __init__(self, settings: AdversarialSettings) -> None:
        super().__init__()
        self.settings = settings

    def weight(self, step: int) -> float | None:
        """See LossTerm: from `start` on, rising over `ramp` steps."""
        factor = self.settings.factor(step)
        return self.settings.weight * factor if factor > 0 else None

    def forward(
        self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"], logits: Logits | None, step: int
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """See LossTerm."""
        assert logits is not None, "a term of logits"
        value = OBJECTIVES[self.settings.objective].generator(logits.fake)
        return value, {"adversarial": value}

    def balance(
        self,
        fake: Float[Tensor, "b c H W"],
        reconstruction: Float[Tensor, "b c H W"],
        own: Float[Tensor, "b c H W"],
        last_layer: Float[Tensor, "..."],
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """See LossTerm: lambda of arXiv:2012.09841, equation 7."""
        how, found = self.settings, torch.ones((), device=own.device)
        if how.adaptive:
            found = adaptive_weight(fake, reconstruction, own, last_layer, delta=how.delta, clamp=how.clamp)
        return found, {"adaptive_weight": found}


class DiscriminatorLoss(LossTerm):
    """What the discriminator itself wants: high logits for real images, low ones for reconstructions."""

    network = DISCRIMINATOR
    of_logits = True

    def __init__(self, settings: AdversarialSettings) -> None:
        super().__init__()
        self.settings = settings

    def weight(self, step: int) -> float | None:
        """See LossTerm: from `discriminator_start` on."""
        return 1.0 if self.settings.discriminator_trains(step) else None

    def forward(
        self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"], logits: Logits | None, step: int
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """See LossTerm."""
        assert logits is not None, "a term of logits"
        value = OBJECTIVES[self.settings.objective].discriminator(*logits)
        return value, {"logits_real": logits.real.float().mean(), "logits_fake": logits.fake.float().mean()}


def adversarial_terms(settings: AdversarialSettings | None, content: str) -> list[LossTerm]:
    """Return the terms of both networks; none without settings."""
    return [] if settings is None else [GeneratorLoss(settings), DiscriminatorLoss(settings)]
