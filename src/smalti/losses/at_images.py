"""Gradients of losses where they meet, at the images: each loss is passed backward once for all uses."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from smalti.losses.protocol import LossTerm


def gradient(
    loss: Float[Tensor, ""], images: Float[Tensor, "b c H W"], *, keep: bool = False
) -> Float[Tensor, "b c H W"]:
    """Return the gradient of a loss with respect to the images it was computed from, in fp32.

    keep: the loss's graph is still needed. A mean over many pixels has gradients too small for fp16, so they
    are carried at about the size that a sum's would have; a power of two changes no digit of other types.
    """
    scale = 2.0 ** (images.numel().bit_length() - 1)
    (found,) = torch.autograd.grad(loss * scale, images, retain_graph=keep)
    return found.float() / scale


def meet(
    rebuilt: Float[Tensor, "b c H W"],
    shown: Float[Tensor, "b c H W"],
    reconstruction: Float[Tensor, ""],
    felt: Sequence[tuple[LossTerm, float, Float[Tensor, ""]]],
    last: tuple[Float[Tensor, "b c H W"], Float[Tensor, "..."]],
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Return the loss of the reconstruction and of the terms that are felt beside it, and the terms' numbers.

    felt: terms with their weights and values. All were computed from `shown`, whose graph ends there; the
    loss has that of `rebuilt`. The graph of the values is kept. last: the same images with a graph that
    begins at the weight of the last layer, and that weight: where `balance` looks for gradients, so that it
    passes nothing backward through a network that processes share.
    """
    statistics: dict[str, Tensor] = {}
    own = gradient(reconstruction, shown)
    loss, both = reconstruction, own
    for term, weight, value in felt:
        found = gradient(value, shown, keep=True)
        balance, more = term.balance(last[0], own, found, last[1])
        loss, both = loss + weight * balance * value, both + weight * balance * found
        statistics |= more
    return carry(rebuilt, loss, both), statistics


def carry(
    images: Float[Tensor, "b c H W"], loss: Float[Tensor, ""], gradient: Float[Tensor, "b c H W"]
) -> Float[Tensor, ""]:
    """Return the loss, whose backward pass hands the images this gradient and stops at them."""
    return _Carried.apply(images, loss.detach(), gradient)  # type: ignore[no-untyped-call]


class _Carried(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.dtype = images.dtype
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * outer[0]).to(ctx.dtype), None, None
