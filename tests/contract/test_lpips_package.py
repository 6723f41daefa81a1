"""LPIPS is the distance of the `lpips` package: same weights, same images, same number.

The package takes VGG16 from torchvision, which this project does not install (it would bring CUDA packages
with it): a stand-in gives the same layers with random weights. Needs `pip install --no-deps lpips`, as
`make test` does.
"""

import sys
import types

import pytest
import torch
from torch import nn

from smalti.losses.lpips import LPIPS
from smalti.losses.vgg import VGG16

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # widths


def _features() -> nn.Sequential:
    """The convolutional part of VGG16 (arXiv:1409.1556, table 1, D), in torchvision's numbering."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in STAGES:
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


@pytest.fixture
def package(monkeypatch):
    """The package, with a torchvision that knows VGG16's layers."""
    models = types.ModuleType("torchvision.models")
    models.vgg16 = lambda pretrained: types.SimpleNamespace(features=_features())
    torchvision = types.ModuleType("torchvision")
    torchvision.models = models
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    return pytest.importorskip("lpips", reason="pip install --no-deps lpips")


@pytest.mark.parametrize("size", [(32, 32), (48, 80)])
def test_same_number_as_the_package(package, size):
    torch.manual_seed(0)
    theirs = package.LPIPS(pretrained=False, pnet_rand=True, net="vgg", verbose=False)
    for head in theirs.lins:  # as trained heads: none is negative
        head.model[-1].weight.data.abs_()
    convolutions = [module for module in theirs.net.modules() if isinstance(module, nn.Conv2d)]
    ours = LPIPS(
        VGG16([(layer.weight.detach(), layer.bias.detach()) for layer in convolutions]),
        [head.model[-1].weight.detach().flatten() for head in theirs.lins],
    )
    a, b = torch.rand(2, 2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = theirs(a, b).flatten()
    assert expected.min() > 1e-6, "images that differ"
    torch.testing.assert_close(ours(a, b), expected, rtol=1e-4, atol=1e-7)
