"""How near a reconstruction is to its image or segmentation, one number each."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smalti import imaging
from smalti.errors import UserError
from smalti.metrics.protocol import Mean, Metric

# SSIM's window, 11 x 11 with sigma 1.5, and its (K1 L)^2 and (K2 L)^2, as Wang et al. 2004 have them
_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2
# of MS-SSIM's five scales, each half of the one before, as Wang, Simoncelli and Bovik 2003 have them
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


class _OfImages(Mean):
    @classmethod
    def of(cls, content: str, codebook_size: int, distances: Mapping[str, nn.Module]) -> list[Metric]:
        """See Metric: of images."""
        return [] if content == "segmentation" else [cls()]


class _OfSegmentations(Mean):
    @classmethod
    def of(cls, content: str, codebook_size: int, distances: Mapping[str, nn.Module]) -> list[Metric]:
        """See Metric: of segmentations."""
        return [cls()] if content == "segmentation" else []


class L1(_OfImages):
    """The mean absolute error of images, within the range that they are saved in."""

    name, key = "mean absolute error", "l1"
    better = "lower"

    def values(self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """See Mean."""
        return (real - fake.clamp(-1, 1)).abs().mean((1, 2, 3))


class Psnr(_OfImages):
    """See `psnr`."""

    name, key, words = "PSNR, dB", "psnr", "{:.2f} dB"
    better = "higher"

    def values(self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """See Mean."""
        return psnr(real, fake)


class Ssim(Mean):
    """See `ssim`. Slow, and of no training's validation."""

    name, key = "SSIM", "ssim"
    better, least = "higher", 2 * _RADIUS + 1

    def values(self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """See Mean."""
        return ssim(real, fake)


class MsSsim(Mean):
    """See `ms_ssim`. Slow, and of no training's validation."""

    name, key = "MS-SSIM", "ms_ssim"
    better, least = "higher", (2 * _RADIUS + 1) * 2 ** (len(_WEIGHTS) - 1)

    def values(self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """See Mean."""
        return ms_ssim(real, fake)


class Perceptual(Mean):
    """A distance by the features of a network, of which the name tells."""

    better = "lower"

    def __init__(self, distance: nn.Module, key: str = "perceptual") -> None:
        super().__init__()
        title = getattr(distance, "title", type(distance).__name__)
        self.distance, self.key, self.name = distance, key, f"{title} distance"

    @classmethod
    def of(cls, content: str, codebook_size: int, distances: Mapping[str, nn.Module]) -> list[Metric]:
        """See Metric: all of them."""
        return [cls(distance, key) for key, distance in distances.items()]

    @torch.no_grad()
    def values(self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """See Mean."""
        found: Tensor = self.distance(real, fake.clamp(-1, 1))
        return found


class CrossEntropy(_OfSegmentations):
    """The mean binary cross-entropy of a segmentation's classes."""

    name, key = "binary cross-entropy", "bce"
    better = "lower"

    def values(self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """See Mean."""
        return F.binary_cross_entropy_with_logits(fake, real, reduction="none").mean((1, 2, 3))


class Accuracy(_OfSegmentations):
    """The share of pixels whose likeliest class is the right one."""

    name, key, words = "share of pixels that are right", "accuracy", "{:.1%} of pixels right"
    better = "higher"

    def values(self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """See Mean."""
        return (real.argmax(1) == fake.argmax(1)).float().mean((1, 2))


def psnr(a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Return peak signal-to-noise ratio in dB of images in [-1, 1], over their 8-bit values; 100 at most.

    A mean of these is a mean of PSNRs, not the PSNR of the mean error.
    """
    error = (_eight_bit(a) - _eight_bit(b)).square().mean((1, 2, 3))
    return (-10 * error.clamp(min=1e-10).log10()).float()


def ssim(a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Return structural similarity of images in [-1, 1], over 8-bit values; the mean of the channels' own.

    As the papers have it (Wang et al. 2004, doi:10.1109/TIP.2003.819861): a Gaussian window of 11 pixels,
    sigma 1.5, and only windows that lie wholly inside the image. Equal to scikit-image's with
    gaussian_weights=True, use_sample_covariance=False, data_range=255. Raises UserError below 11 pixels.
    """
    _check_side(a, Ssim.least, "SSIM's window")
    # float64: in float32 E[x^2] - E[x]^2 of a bright flat image is wrong by more than its noise
    mean_x, mean_y, spread, shared = _moments(_eight_bit(a), _eight_bit(b))
    likeness = (2 * mean_x * mean_y + _C1) * (2 * shared + _C2)
    likeness /= (mean_x**2 + mean_y**2 + _C1) * (spread + _C2)
    return likeness.mean((1, 2, 3)).float()


def ms_ssim(a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Return the structural similarity over five scales of images in [-1, 1], over 8-bit values.

    As published (Wang, Simoncelli, Bovik 2003, doi:10.1109/ACSSC.2003.1292216): of SSIM's windows inside the
    image the mean of contrast and structure at each scale, at the coarsest that of luminance as well, each to
    the power of its scale's weight, multiplied. A scale is the means of 2 x 2 pixels of the one before, an
    odd last row or column left out; a negative mean counts as 0; the mean of the channels' own. Equal to
    pytorch-msssim and piq where sides divide by 16; torchmetrics mirrors borders at the coarsest scale, and
    mixes channels before multiplying. Raises UserError below 176 pixels.
    """
    _check_side(a, MsSsim.least, "MS-SSIM's window at its coarsest scale")
    x, y = _eight_bit(a), _eight_bit(b)
    product = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
    for scale, weight in enumerate(_WEIGHTS):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        mean_x, mean_y, spread, shared = _moments(x, y)
        likeness = (2 * shared + _C2) / (spread + _C2)
        if scale == len(_WEIGHTS) - 1:
            likeness *= (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
        product *= likeness.mean((2, 3)).clamp(min=0) ** weight
    return product.mean(1).float()


def _check_side(images: Tensor, least: int, why: str) -> None:
    if min(images.shape[2:]) < least:
        raise UserError(
            f"images of at least {least} x {least} pixels, {why}",
            f"{images.shape[2]} x {images.shape[3]}",
            "take larger images, or psnr, which has no window",
        )


def _moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return of each window inside: both means, the sum of the variances, the covariance."""
    mean_x, mean_y = _windows(x), _windows(y)
    spread_x, spread_y = _windows(x * x) - mean_x**2, _windows(y * y) - mean_y**2
    return mean_x, mean_y, spread_x + spread_y, _windows(x * y) - mean_x * mean_y


def _windows(values: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c y x"]:
    """Return Gaussian means over the windows inside, by shifted views: convolutions are slow here."""
    steps = torch.arange(-_RADIUS, _RADIUS + 1).double()
    weights = torch.softmax(-(steps**2) / (2 * _SIGMA**2), 0).tolist()
    for axis in (2, 3):
        inside = values.shape[axis] - 2 * _RADIUS
        views = [values.narrow(axis, start, inside) for start in range(len(weights))]
        values = torch.zeros_like(views[0])
        for view, weight in zip(views, weights, strict=True):
            values.add_(view, alpha=weight)
    return values


def _eight_bit(images: Tensor) -> Tensor:
    """Return what a saved image holds, in [0, 1]."""
    return imaging.to_uint8(images).double() / 255
