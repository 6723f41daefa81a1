"""What discriminator and generator want of the former's logits, in fp32. Logits: "b 1 y x", high for real."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


class Objective(NamedTuple):
    """Two losses, each to be made small."""

    discriminator: Callable[[Tensor, Tensor], Tensor]  # (logits of real, logits of fake) -> scalar
    generator: Callable[[Tensor], Tensor]  # logits of fake -> scalar


def hinge(real: Float[Tensor, "..."], fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the discriminator's: real above 1, fake below -1; what is beyond counts nothing. 2021 code."""
    return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean())


def logistic(real: Float[Tensor, "..."], fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the discriminator's cross-entropy of "is it real?". Source: arXiv:1406.2661, eq. 1."""
    return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()


def half_logistic(real: Float[Tensor, "..."], fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return half of `logistic`, the discriminator's "vanilla" of the 2021 code."""
    return 0.5 * logistic(real, fake)


def negative_score(fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the logit itself, with its sign turned. Source: 2021 code, for hinge and vanilla."""
    return -fake.float().mean()


def non_saturating(fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the generator's cross-entropy of "it is real", steep where that is sure. arXiv:1406.2661."""
    return F.softplus(-fake.float()).mean()


OBJECTIVES: dict[str, Objective] = {
    "hinge": Objective(discriminator=hinge, generator=negative_score),
    "vanilla": Objective(discriminator=half_logistic, generator=negative_score),
    "non_saturating": Objective(discriminator=logistic, generator=non_saturating),
}
