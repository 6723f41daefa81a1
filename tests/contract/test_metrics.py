"""Every metric keeps its protocol: parts of the images one after another give the numbers of all."""

import pytest
import torch
from test_training import CPU, batch, tokenizer_training

from smalti.metrics import METRICS
from smalti.metrics.protocol import Mean, Measured
from smalti.priors.protocol import Nats
from smalti.training.tokenizer_task import TokenizerTask


class Distance(torch.nn.Module):
    def forward(self, real, fake):
        return (real - fake).square().amax((1, 2, 3))


def means(images):
    return images.mean((2, 3))


GIVEN = {"perceptual": (Distance(),), "frechet": (means, "means-FD"), "usage": (8,)}
# of the images and codes below; PSNR and SSIM are those of test_evaluation.py
NUMBERS = {
    "l1": {"l1": 0.69542},
    "psnr": {"psnr": 7.44479},
    "ssim": {"ssim": -0.02417},
    "bce": {"bce": 0.73800},
    "accuracy": {"accuracy": 0.32083},
    "perceptual": {"perceptual": 3.85165},
    "frechet": {"means-FD": 0.00654},
    "usage": {"codebook_usage": 0.625, "codebook_perplexity": 4.81462},
    "nats": {"nats_per_token": 1.75},
}


def made(kind: str):
    return METRICS[kind](*GIVEN.get(kind, ()))


def parts(*sizes: int) -> list[Measured]:
    chance = torch.Generator().manual_seed(0)
    real, fake = (torch.rand(4, 3, 12, 20, generator=chance) * 2 - 1 for _ in range(2))
    codes = torch.randint(0, 5, (4, 3, 5), generator=chance)
    split = [tensor.split(sizes) for tensor in (real, fake * 1.1, codes)]
    nats = [Nats(15.0, 15), Nats(90.0, 45)] if len(sizes) == 2 else [Nats(105.0, 60)]
    return [Measured(real=a, fake=b, codes=c, nats=n) for a, b, c, n in zip(*split, nats, strict=True)]


@pytest.mark.parametrize("kind", METRICS)
def test_parts_give_the_numbers_of_the_whole(kind):
    found = []
    for sizes in ((4,), (1, 3)):
        metric = made(kind)
        for part in parts(*sizes):
            metric.update(part)
        found.append(metric.compute())
    assert metric.name
    assert found[0] == pytest.approx(NUMBERS[kind], abs=1e-5)
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    assert all(type(number) is float for number in found[0].values())


def test_each_is_asked_for_where_it_can_be_computed():
    def asked(*about) -> list[str]:
        return [kind for kind, member in METRICS.items() for _ in member.of(*about)]

    assert asked("image", 8, {}) == ["l1", "psnr", "usage"]
    assert asked("map", 0, {"one": Distance(), "two": Distance()}) == [
        "l1",
        "psnr",
        "perceptual",
        "perceptual",
    ]
    assert asked("segmentation", 8, {}) == ["bce", "accuracy", "usage"]
    for content in ("image", "segmentation"):
        found = [one for member in METRICS.values() for one in member.of(content, 0, {})]
        assert len([one for one in found if one.words]) == 1, "what smalti reconstruct tells of an image"


class Bias(Mean):
    """By how much reconstructions are too bright."""

    name, key = "bias", "bias"

    @classmethod
    def of(cls, content, codebook_size, distances):
        return [cls()]

    def values(self, real, fake):
        return (fake - real).mean((1, 2, 3))


def test_a_metric_from_outside_is_in_the_validation(monkeypatch):
    task = TokenizerTask.build(tokenizer_training(None), CPU)
    before = task.validate([batch(0, 1), batch(1, 3)])
    monkeypatch.setitem(METRICS, "bias", Bias)
    found = task.validate([batch(0, 1), batch(1, 3)])
    images = torch.cat([batch(0, 1).images, batch(1, 3).images])
    bias = (task.tokenizer.reconstruct(images) - images).mean().item()
    assert found.pop("bias") == pytest.approx(bias, abs=1e-6)
    assert found == before
