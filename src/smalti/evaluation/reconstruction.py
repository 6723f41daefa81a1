"""How near a copy is to its picture, pixel by pixel. Axes: b batch, c image channels, H W pixels.

Both numbers are taken from pictures rounded to 8 bits, as they would be saved, one for each picture.
"""

from jaxtyping import Float
from torch import Tensor

from smalti import errors
from smalti.images import to_uint8


def psnr(a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio of pictures in [-1, 1], in decibels; infinite for equal pictures."""
    errors_squared = (_rounded(a) - _rounded(b)).square().mean((1, 2, 3))
    return -10 * errors_squared.log10()


def ssim(a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Structural similarity of pictures in [-1, 1] of at least 11 x 11 pixels, at most 1.

    Gaussian window of 11 with sigma 1.5, data range 1, mean over channels: the paper's settings (Wang et al.
    2004), by torchmetrics.
    """
    functional = errors.optional("torchmetrics.functional.image", extra="eval")
    values: Tensor = functional.structural_similarity_index_measure(
        _rounded(a), _rounded(b), data_range=1.0, sigma=1.5, reduction="none"
    )
    return values


def _rounded(images: Tensor) -> Tensor:
    """In [0, 1]."""
    return to_uint8(images).float() / 255
