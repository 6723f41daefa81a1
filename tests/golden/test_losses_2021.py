"""The losses give the numbers of the 2021 code: LPIPS, nll, lambda, both losses and their gradients.

Tolerances are those that came with the tensors: ten times what fp32 loses against fp64.
"""

import math
import zlib

import pytest
import torch
import torch.nn.functional as F

from smalti.losses import OBJECTIVES, at_images
from smalti.losses.adaptive_weight import adaptive_weight
from smalti.losses.adversarial import AdversarialSettings
from smalti.losses.lpips import LPIPS
from smalti.losses.patchgan import PatchGAN, PatchGANSettings
from smalti.losses.vgg import VGG16

VARIANTS = ["hinge", "vanilla", "weights", "no_perceptual", "actnorm"]


def draw(name, shape):
    """The recipe of case.json by which VGG16 and the heads were drawn."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.startswith("lin"):
        return numbers.abs() / shape[1]
    return numbers * (math.sqrt(2 / (shape[1] * 9)) if name.endswith(".weight") else 0.1)


@pytest.fixture(scope="module")
def lpips(golden):
    metadata = golden("lpips").case["weights"]["parameters_in_order_with_checks"]
    weights = {name: draw(name, fact["shape"]) for name, fact in metadata.items()}
    for name, fact in metadata.items():
        assert weights[name].double().sum().item() == pytest.approx(fact["sum"], abs=1e-3)
    trunk = [value for name, value in weights.items() if name.startswith("net.")]
    heads = [value.flatten() for name, value in weights.items() if name.startswith("lin")]
    return LPIPS(VGG16(list(zip(trunk[::2], trunk[1::2], strict=True))), heads)


@pytest.mark.parametrize("shape", ["", "_rect", "_gray"])
def test_lpips(golden, lpips, shape):
    case = golden("lpips")
    a, b = case.tensors["a" + shape], case.tensors["b" + shape].clone().requires_grad_()
    terms = lpips.terms(a, b)
    for stage, term in enumerate(terms):
        case.close(term.view(-1, 1, 1, 1), f"layer{stage}{shape}")
    total = lpips(a, b)
    case.close(total.view(-1, 1, 1, 1), f"total{shape}")
    total.sum().backward()
    case.close(b.grad, f"grad_b{shape}")
    assert lpips(a, a).abs().max() == 0


class Run:
    """One variant of the 2021 loss, said in our terms."""

    def __init__(self, case, variant, lpips):
        self.case, self.variant, self.distance = case, variant, lpips
        self.params = case.case["variants"][variant]["params"]
        params = self.params
        self.settings = AdversarialSettings(
            objective=params.get("disc_loss", "hinge"),
            start=params["disc_start"],
            weight=params.get("disc_weight", 1.0) * params.get("disc_factor", 1.0),
            patchgan=PatchGANSettings(
                width=params["disc_ndf"],
                layers=params["disc_num_layers"],
                norm="act" if params.get("use_actnorm") else "batch",
            ),
        )
        self.objective = OBJECTIVES[self.settings.objective]
        self.image = case.tensors["image"]
        self.layer = case.tensors["last_layer"].clone().requires_grad_()
        self.rebuilt = F.conv2d(case.tensors["features"], self.layer, case.tensors["last_bias"], padding=1)

    def discriminator(self):
        weights = self.case.case["variants"][self.variant].get("discriminator_weights", self.variant)
        prefix = f"{weights.removeprefix('same as ')}.discriminator."
        discriminator = PatchGAN(self.settings.patchgan)
        state = {k.removeprefix(prefix): v for k, v in self.case.tensors.items() if k.startswith(prefix)}
        discriminator.load_state_dict(state)
        return discriminator.train()

    def nll(self):
        pixels = (self.image - self.rebuilt).abs().mean()
        weight = self.params.get("perceptual_weight", 1.0)
        return pixels + weight * self.distance(self.image, self.rebuilt).mean() if weight else pixels

    def balance(self, *losses, **options):
        gradients = [at_images.gradient(loss, self.rebuilt, keep=True) for loss in losses]
        return adaptive_weight(self.rebuilt, *gradients, self.layer, **options)

    def close(self, got, name):
        self.case.close(got, f"{self.variant}.{name}")


@pytest.fixture(params=VARIANTS)
def run(request, golden, lpips):
    return Run(golden("losses"), request.param, lpips)


@pytest.mark.parametrize("step", [0, 9, 10, 11])
def test_generator(run, step):
    nll, felt = run.nll(), run.objective.generator(run.discriminator()(run.rebuilt))
    balance = run.balance(nll, felt)
    quantizer = run.case.tensors["codebook_loss"] * run.params.get("codebook_weight", 1.0)
    loss = nll + run.settings.weight * run.settings.factor(step) * balance * felt + quantizer
    run.close(nll, f"step{step}.log.nll_loss")
    run.close(felt, f"step{step}.log.g_loss")
    run.close(balance, "lambda_before_clamp_and_weight")
    run.close(balance * run.params.get("disc_weight", 1.0), f"step{step}.log.d_weight")
    run.close(loss, f"step{step}.generator_loss")
    loss.backward()
    run.close(run.layer.grad, f"step{step}.grad_last_layer")


def test_lambda_is_clamped(run):
    nll, felt = run.nll(), run.objective.generator(run.discriminator()(run.rebuilt))
    limit = 0.5 * run.case.tensors[f"{run.variant}.lambda_before_clamp_and_weight"].item()
    assert run.balance(nll, felt, clamp=limit).item() == pytest.approx(limit)


@pytest.mark.parametrize("step", [9, 10, 11])
def test_discriminator(run, step):
    name = f"step{step}.discriminator_loss"
    if not run.settings.discriminator_trains(step):
        assert run.case.tensors[f"{run.variant}.{name}"] == 0
        return
    discriminator, share = run.discriminator(), run.params.get("disc_factor", 1.0)
    real, fake = discriminator(run.image), discriminator(run.rebuilt.detach())
    loss = share * run.objective.discriminator(real, fake)
    run.close(loss, name)
    run.close(real.mean(), f"step{step}.log.logits_real")
    run.close(fake.mean(), f"step{step}.log.logits_fake")
    loss.backward()
    if step == 10:
        for weight, value in discriminator.named_parameters():
            run.close(value.grad, f"step10.grad.discriminator.{weight}")
        for after in [key for key in run.case.tensors if key.startswith(f"{run.variant}.step10.after.")]:
            weight = after.partition(".discriminator.")[2]
            run.close(discriminator.state_dict()[weight], after.partition(".")[2])
