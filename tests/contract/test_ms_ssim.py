"""MS-SSIM, PSNR and perplexity have other packages' values; bits a pixel are what a hand counts."""

import math

import numpy as np
import pytest
import torch
from test_evaluation import image, noisy

from smalti.errors import UserError
from smalti.metrics.codes import bits_per_pixel
from smalti.metrics.reconstruction import ms_ssim, psnr, ssim
from smalti.quantizers.usage import perplexity, usage


def pair(height, width):
    a = image(height, width)
    return a, 0.6 * a + 0.1 + 0.1 * noisy(*a.shape)


# piq 0.8.0's multi_scale_ssim and scikit-image 0.26's peak_signal_noise_ratio, of the 8-bit values
@pytest.mark.parametrize(
    ("height", "width", "likeness", "ratio"),
    [
        (176, 192, 0.880468235, 15.29248085),
        (256, 208, 0.881934440, 15.27168593),
        (176, 320, 0.882254495, 15.27803913),
    ],
)
def test_values(height, width, likeness, ratio):
    assert ms_ssim(*pair(height, width)).item() == pytest.approx(likeness, abs=1e-6)
    assert psnr(*pair(height, width)).item() == pytest.approx(ratio, abs=1e-5)


def test_odd_sides_lose_their_last_row_and_column():
    """Where packages differ: piq repeats the first row (.880662), pytorch-msssim adds zeros (.881850)."""
    a, b = pair(181, 199)
    assert ms_ssim(a, b).item() == pytest.approx(0.880348, abs=1e-6)
    assert ms_ssim(a, b).item() == pytest.approx(0.880662, rel=1e-3)


def test_one_number_an_image_the_mean_of_its_channels_never_negative():
    a, b = pair(176, 180)
    alone = torch.stack([ms_ssim(a[:, [channel]], b[:, [channel]]) for channel in range(3)])
    assert torch.equal(
        ms_ssim(torch.cat((a, b)), torch.cat((b, b))), torch.cat((alone.mean(0), torch.ones(1)))
    )
    assert ssim(a, -a).item() < 0
    assert ms_ssim(a, -a).item() == 0


@pytest.mark.parametrize("sides", [(175, 300), (300, 175)])
def test_images_below_its_coarsest_window_are_refused(sides):
    with pytest.raises(
        UserError, match=f"at least 176 x 176 pixels.*got {sides[0]} x {sides[1]}; take larger"
    ):
        ms_ssim(*pair(*sides))


def test_bits_per_pixel():
    assert bits_per_pixel(16 * math.log(1024), 64) == pytest.approx(16 * 10 / 64)


def test_perplexity_of_codes():  # scipy 1.17.1's exp(stats.entropy)
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 40, (3, 8, 9)) ** 2 // 40)
    assert perplexity(codes, 64) == pytest.approx(25.0990304173, rel=1e-9)
    assert usage(codes, 64) == 30 / 64
