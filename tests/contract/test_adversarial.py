"""The adversarial part: when the discriminator is felt, what both want, one lambda for all processes."""

import math
import os
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from smalti import config
from smalti.errors import UserError
from smalti.losses import OBJECTIVES, at_images
from smalti.losses.adaptive_weight import adaptive_weight
from smalti.losses.adversarial import AdversarialSettings
from smalti.losses.patchgan import ActNorm, PatchGAN, PatchGANSettings


def test_schedule_of_2021():
    settings = AdversarialSettings(start=10)
    assert [settings.factor(step) for step in (0, 9, 10, 11)] == [0, 0, 1, 1]
    assert [settings.discriminator_trains(step) for step in (0, 9, 10, 11)] == [False, False, True, True]


def test_schedule_with_a_ramp_and_a_discriminator_that_begins_alone():
    settings = AdversarialSettings(start=10, discriminator_start=6, ramp=4)
    assert [settings.factor(step) for step in range(9, 15)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert [settings.discriminator_trains(step) for step in (5, 6, 10)] == [False, True, True]
    assert [replace(settings, ramp=1).factor(step) for step in (9, 10)] == [0, 1]


def test_a_discriminator_that_is_felt_untrained_is_refused():
    with pytest.raises(UserError, match="discriminator_start=11 with start=10"):
        AdversarialSettings(start=10, discriminator_start=11)
    with pytest.raises(UserError, match="discriminator_start=11"):
        config.parse({"start": 10, "discriminator_start": 11}, AdversarialSettings)


def test_settings_survive_a_file():
    settings = AdversarialSettings(objective="vanilla", patchgan=PatchGANSettings(norm="act", layers=2))
    assert config.parse(config.dump(settings), AdversarialSettings) == settings
    with pytest.raises(UserError, match="objective, got 'wgan'; input should be 'hinge', 'vanilla' or"):
        config.parse({"objective": "wgan"}, AdversarialSettings)


def softplus(x):
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("hinge", 0.5 * ((0 + 1.5) / 2 + (1.2 + 0) / 2), 0.9),
        ("vanilla", 0.25 * (softplus(-2) + softplus(0.5) + softplus(0.2) + softplus(-2)), 0.9),
        (
            "non_saturating",
            0.5 * (softplus(-2) + softplus(0.5) + softplus(0.2) + softplus(-2)),
            0.5 * (softplus(-0.2) + softplus(2)),
        ),
    ],
)
def test_objectives_by_hand(name, discriminator, generator):
    real = torch.tensor([2.0, -0.5]).view(2, 1, 1, 1)
    fake = torch.tensor([0.2, -2.0]).view(2, 1, 1, 1)
    assert OBJECTIVES[name].discriminator(real, fake).item() == pytest.approx(discriminator)
    assert OBJECTIVES[name].generator(fake).item() == pytest.approx(generator)
    assert OBJECTIVES[name].discriminator(real.bfloat16(), fake.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_each_side_pulls_its_own_way(objective):
    real, fake = torch.zeros(2, 1, 3, 3, requires_grad=True), torch.zeros(2, 1, 3, 3, requires_grad=True)
    objective.discriminator(real, fake).backward()
    assert (real.grad < 0).all(), "the discriminator wants higher scores for real"
    assert (fake.grad > 0).all(), "and lower ones for fake"
    fake.grad = None
    objective.generator(fake).backward()
    assert (fake.grad < 0).all(), "the generator wants higher scores for fake"


def test_lambda_by_hand():
    layer = torch.tensor([3.0, -1.0], requires_grad=True)
    images = layer * torch.tensor([2.0, 4.0])
    reconstruction, adversarial = torch.tensor([1.5, 1.0]), torch.tensor([1.0, 0.0])
    weight = adaptive_weight(images, reconstruction, adversarial, layer, delta=0.5)
    assert weight.item() == pytest.approx(5 / 2.5)
    assert not weight.requires_grad
    images.sum().backward()  # the graph is still there
    images = layer * torch.tensor([2.0, 4.0])
    weight = adaptive_weight(images, 1e4 * reconstruction, torch.zeros(2), layer)
    assert weight.item() == pytest.approx(1e4), "never beyond clamp"


def test_lambda_inside_autocast_is_fp32():
    layer = torch.tensor([1.0, 2.0], requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight = adaptive_weight(layer * 2, torch.full((2,), 1.001), torch.full((2,), 3.0), layer)
    assert weight.dtype == torch.float32
    assert weight.item() == pytest.approx(1.001 / 3, rel=1e-4)


def test_a_carried_loss_hands_on_its_gradient_and_nothing_else():
    weights = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def loss(images):
        return images.square().mean()

    (expected,) = torch.autograd.grad(3 * loss(weights * 2), weights)
    images = weights * 2
    leaf = images.detach().requires_grad_()
    value = loss(leaf)
    carried = at_images.carry(images, value, at_images.gradient(value, leaf))
    assert carried.equal(value)
    (3 * carried).backward()
    torch.testing.assert_close(weights.grad, expected)
    assert leaf.grad is None


def test_gradients_at_the_images_survive_fp16():
    images = torch.ones(1, 3, 512, 512, dtype=torch.float16, requires_grad=True)
    loss = (images * 0.01).mean(dtype=torch.float32)  # 0.01 / 786432, below fp16's smallest number
    expected = torch.full((1, 3, 512, 512), 0.01 / images.numel())
    torch.testing.assert_close(at_images.gradient(loss, images), expected, rtol=1e-3, atol=0.0)


@pytest.mark.parametrize(
    ("layers", "cells", "parameters"), [(1, 126, 136513), (2, 62, 663361), (3, 30, 2765633), (4, 14, 6960961)]
)
def test_discriminator_has_the_published_size(layers, cells, parameters):
    discriminator = PatchGAN(PatchGANSettings(layers=layers))
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == parameters
    small = PatchGAN(PatchGANSettings(layers=layers, width=1))
    assert small(torch.zeros(1, 3, 256, 256)).shape == (1, 1, cells, cells)


@pytest.mark.parametrize("norm", ["batch", "act"])
def test_discriminator_starts_from_its_seed_alone(norm):
    settings = PatchGANSettings(width=2, layers=2, norm=norm)
    first, second = (PatchGAN(settings, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    second.train()(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    second.reset(torch.Generator().manual_seed(5))
    for name, value in first.state_dict().items():
        assert value.equal(second.state_dict()[name]), name
    second.reset(torch.Generator().manual_seed(6))
    assert not second.main[0].weight.equal(first.main[0].weight)


def halves():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 2, 4, 4, generator=generator) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1)


def lambda_of(batch):
    layer = torch.ones(2, requires_grad=True)
    weighted = batch * layer.view(1, 2, 1, 1)
    losses = weighted.square().mean(), weighted.mean() + weighted.pow(3).mean()
    gradients = [at_images.gradient(loss, weighted, keep=True) for loss in losses]
    return adaptive_weight(weighted, *gradients, layer)


def one_process(rank, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    meet, patience = f"file://{folder}/meet", timedelta(minutes=4)
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=patience)
    batch, norm = halves()[rank], ActNorm(2)
    norm.train()(batch)
    torch.save({"lambda": lambda_of(batch), **norm.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_processes_agree_on_lambda_and_on_the_start_of_act_norm(tmp_path, monkeypatch):
    other = mp.get_context("spawn").Process(target=one_process, args=(1, str(tmp_path)), daemon=True)
    other.start()
    with monkeypatch.context() as patched:
        patched.setenv("RANK", "0")  # and away again afterwards
        patched.setenv("WORLD_SIZE", "1")
        one_process(0, str(tmp_path))
    other.join()
    assert other.exitcode == 0
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    whole, norm = halves().flatten(0, 1), ActNorm(2)
    norm.train()(whole)
    expected = {"lambda": lambda_of(whole), **norm.state_dict()}
    for result in results:
        torch.testing.assert_close(result, expected)
