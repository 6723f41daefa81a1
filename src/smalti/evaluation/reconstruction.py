"""How near a picture's reconstruction is to it, one number a picture."""

import torch
from jaxtyping import Float
from torch import Tensor

from smalti import images
from smalti.errors import UserError

# SSIM's window, 11 x 11 with sigma 1.5, and its (K1 L)^2 and (K2 L)^2, as Wang et al. 2004 have them
_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def psnr(a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1], over their 8-bit values; 100 at most.

    A mean of these is a mean of PSNRs, not the PSNR of the mean error.
    """
    error = (_eight_bit(a) - _eight_bit(b)).square().mean((1, 2, 3))
    return (-10 * error.clamp(min=1e-10).log10()).float()


def ssim(a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Structural similarity of pictures in [-1, 1], over 8-bit values; the mean of the channels' own.

    As the papers have it (Wang et al. 2004, doi:10.1109/TIP.2003.819861): a Gaussian window of 11 pixels,
    sigma 1.5, and only windows that lie wholly inside the picture. Equal to scikit-image's with
    gaussian_weights=True, use_sample_covariance=False, data_range=255. Raises UserError below 11 pixels.
    """
    if min(a.shape[2:]) <= 2 * _RADIUS:
        raise UserError(
            f"pictures of at least {2 * _RADIUS + 1} x {2 * _RADIUS + 1} pixels, SSIM's window",
            f"{a.shape[2]} x {a.shape[3]}",
            "take larger pictures, or psnr, which has no window",
        )
    # float64: in float32 E[x^2] - E[x]^2 of a bright flat picture is wrong by more than its noise
    x, y = _eight_bit(a), _eight_bit(b)
    mean_x, mean_y = _windows(x), _windows(y)
    spread_x, spread_y = _windows(x * x) - mean_x**2, _windows(y * y) - mean_y**2
    shared = _windows(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) * (2 * shared + _C2)
    likeness /= (mean_x**2 + mean_y**2 + _C1) * (spread_x + spread_y + _C2)
    return likeness.mean((1, 2, 3)).float()


def _windows(values: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c y x"]:
    """Gaussian means over the windows inside. Sums of shifted views: torch's convolutions are slow here."""
    steps = torch.arange(-_RADIUS, _RADIUS + 1).double()
    weights = torch.softmax(-(steps**2) / (2 * _SIGMA**2), 0).tolist()
    for axis in (2, 3):
        inside = values.shape[axis] - 2 * _RADIUS
        views = [values.narrow(axis, start, inside) for start in range(len(weights))]
        values = torch.zeros_like(views[0])
        for view, weight in zip(views, weights, strict=True):
            values.add_(view, alpha=weight)
    return values


def _eight_bit(pictures: Tensor) -> Tensor:
    """What a saved picture holds, in [0, 1]."""
    return images.to_uint8(pictures).double() / 255
