"""The weight that gives reconstruction and critic an equal say in the decoder's last layer."""

import torch
from jaxtyping import Float
from torch import Tensor

from smalti.losses import ranks


def adaptive_weight(
    reconstruction_loss: Float[Tensor, ""],
    adversarial_loss: Float[Tensor, ""],
    last_layer: Float[Tensor, "..."],
    *,
    delta: float = 1e-4,
    clamp: float = 1e4,
) -> Float[Tensor, ""]:
    """|gradient of reconstruction| / (|gradient of adversarial| + delta) at most clamp, in fp32, detached.

    Both gradients are taken with respect to last_layer, and both graphs are kept. With several processes the
    gradients are averaged before their norms are taken: the weight is that of the whole batch, the same
    everywhere. Source: arXiv:2012.09841, eq. 7; delta and clamp as in the 2021 code.
    """
    losses = (reconstruction_loss, adversarial_loss)
    with torch.autocast(last_layer.device.type, enabled=False):
        gradients = [torch.autograd.grad(loss, last_layer, retain_graph=True)[0].float() for loss in losses]
        reconstruction, adversarial = ranks.average(torch.stack(gradients))
        return (reconstruction.norm() / (adversarial.norm() + delta)).clamp(max=clamp)
