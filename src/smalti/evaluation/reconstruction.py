"""How near a picture's reconstruction is to it, one number a picture."""

import torch
from jaxtyping import Float
from torch import Tensor

from smalti import images
from smalti.errors import optional


def psnr(a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1], over their 8-bit values; 100 where equal.

    A mean of these is a mean of PSNRs, not the PSNR of the mean error.
    """
    error = (_eight_bit(a) - _eight_bit(b)).square().mean((1, 2, 3))
    return (-10 * error.clamp(min=1e-10).log10()).float()


def ssim(a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Structural similarity of pictures in [-1, 1], over 8-bit values; Gaussian window of 11, sigma 1.5."""
    functional = optional("torchmetrics.functional.image", extra="eval")
    values = functional.structural_similarity_index_measure(
        _eight_bit(a).float(), _eight_bit(b).float(), data_range=1.0, reduction="none"
    )
    return torch.as_tensor(values).view(len(a))


def _eight_bit(pictures: Tensor) -> Tensor:
    """What a saved picture holds, in [0, 1]."""
    return images.to_uint8(pictures).double() / 255
