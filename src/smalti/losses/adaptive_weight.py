"""The weight that gives reconstruction and discriminator an equal say in the decoder's last layer."""

import torch
from jaxtyping import Float
from torch import Tensor

from smalti import strategy


def adaptive_weight(
    images: Float[Tensor, "..."],
    reconstruction: Float[Tensor, "..."],
    adversarial: Float[Tensor, "..."],
    last_layer: Float[Tensor, "..."],
    *,
    delta: float = 1e-4,
    clamp: float = 1e4,
) -> Float[Tensor, ""]:
    """|gradient of reconstruction| / (|gradient of adversarial| + delta) at most clamp, in fp32, detached.

    reconstruction, adversarial: the gradients of the two losses with respect to the images. From there to
    the last layer, with respect to which the norms are taken, is one layer: what it was given is all that is
    needed, and no loss is passed backward a second time. The images' graph is kept. With several processes
    the gradients are averaged before their norms are taken: the weight is that of the whole batch, the same
    everywhere. Source: arXiv:2012.09841, eq. 7; delta and clamp as in the 2021 code.
    """
    found = [
        torch.autograd.grad(images, last_layer, gradient.to(images.dtype), retain_graph=True)[0].float()
        for gradient in (reconstruction, adversarial)
    ]
    of_reconstruction, of_adversarial = strategy.current().average(torch.stack(found))
    return (of_reconstruction.norm() / (of_adversarial.norm() + delta)).clamp(max=clamp)
