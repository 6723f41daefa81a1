"""Does a training run go the way of the 2021 code, step by step?

Theirs runs the autoencoder a second time for the discriminator, after it was updated; ours once for both. So
the test calls our losses twice a batch and uses one network's loss of each call. Tolerances are those that
came with the curves: ten times what fp32 loses against fp64, or one thread against two.
"""

import zlib
from pathlib import Path

import pytest
import torch

from smalti.data.folder import FolderSettings
from smalti.data.protocol import Batch
from smalti.losses.adversarial import AdversarialSettings
from smalti.losses.lpips import LPIPS
from smalti.losses.patchgan import PatchGAN, PatchGANSettings
from smalti.losses.perceptual import Perceptual, PerceptualSettings
from smalti.losses.terms import LossSettings, terms
from smalti.losses.vgg import VGG16
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings
from smalti.training.optimization import build
from smalti.training.settings import OptimizerSettings, TokenizerTraining
from smalti.training.tokenizer_task import TokenizerTask

NETWORK = NetworkSettings(
    width=32, multipliers=(1, 2, 1), blocks=1, attention_levels=(2,), latent_channels=16, code_dim=16
)
DISCRIMINATOR = PatchGANSettings(width=16, layers=2)
RATE = OptimizerSettings(lr=4.5e-6, betas=(0.5, 0.9))
STEPS = 30


def lpips(case) -> LPIPS:
    """LPIPS with weights drawn anew from the parameters' names: 58 MB that are not stored."""
    drawn = []
    for name, metadata in case["weights"]["parameters_in_order_with_checks"].items():
        shape = metadata["shape"]
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
        if name.startswith("lin"):
            drawn.append((noise.abs() / shape[1]).flatten())
        else:
            drawn.append(noise * ((2 / (shape[1] * 9)) ** 0.5 if name.endswith("weight") else 0.1))
    return LPIPS(VGG16(list(zip(drawn[:-5:2], drawn[1:-5:2], strict=True))), drawn[-5:])


def recipe(start: int) -> TokenizerTraining:
    """What the golden run trained; start: of the discriminator."""
    return TokenizerTraining(
        data=FolderSettings(root=Path("unused")),
        size=32,
        batch=2,
        steps=STEPS,
        optimizer=RATE,
        network=NETWORK,
        quantizer=VectorQuantizerSettings.legacy(codebook_size=64),
        losses=LossSettings(
            perceptual=PerceptualSettings(kind="none"),
            adversarial=AdversarialSettings(start=start, weight=0.8, patchgan=DISCRIMINATOR),
        ),
    )


@pytest.fixture
def task(golden) -> TokenizerTask:
    found = golden("vqgan").imported()
    assert found.model.settings.network == NETWORK
    discriminator = PatchGAN(DISCRIMINATOR)
    discriminator.load_state_dict(found.discriminator)
    losses = [*terms(recipe(start=10).losses, "image"), Perceptual(lpips(golden("lpips").case))]
    return TokenizerTask(recipe(start=10), found.model, discriminator, losses)


def test_the_curve_of_2021(golden, task):
    case = golden("training_vqgan")
    pool = case.tensors["pool"].permute(0, 3, 1, 2).float() / 127.5 - 1
    optimizers = {name: build(network, RATE) for name, network in task.networks.items()}
    curves = {}

    def note(step, name, value, scale=1.0):
        curves.setdefault(name, {})[step] = value.detach() * scale

    for step in range(STEPS):
        batch = Batch(images=pool[[2 * step % 16, (2 * step + 1) % 16]])
        found = task.losses(batch, step)
        found.minimise["autoencoder"].backward()
        optimizers["autoencoder"].step()
        optimizers["autoencoder"].zero_grad()
        assert torch.equal(found.codes.flatten(), case.tensors["lpips_eval.codes_generator_pass"][step])
        note(step, "generator_loss", found.minimise["autoencoder"])
        note(step, "log.nll_loss", found.statistics["reconstruction"])
        note(step, "log.p_loss", found.statistics["perceptual"])
        note(step, "log.quant_loss", found.statistics["quantizer"])
        if step >= 10:
            note(step, "log.d_weight", found.statistics["adaptive_weight"], scale=0.8)
            note(step, "log.g_loss", found.statistics["adversarial"])
        if (
            step < 10
        ):  # theirs moves the discriminator from the start, by gradients of zero: Adam counts these steps
            for parameter in task.networks["discriminator"].parameters():
                parameter.grad = torch.zeros_like(parameter)
        else:
            perceptual = task.terms.pop()  # dear, and the discriminator's loss is without it
            again = task.losses(batch, step)
            task.terms.append(perceptual)
            again.minimise["discriminator"].backward()
            note(step, "discriminator_loss", again.minimise["discriminator"])
            note(step, "log.logits_real", again.statistics["logits_real"])
            note(step, "log.logits_fake", again.statistics["logits_fake"])
        optimizers["discriminator"].step()
        optimizers["discriminator"].zero_grad()
    for name, curve in curves.items():
        case.close(torch.stack(list(curve.values())), f"lpips_eval.{name}", rows=list(curve))
    assert len(curves) == 9
    final = case.tensors["lpips_eval.final.decoder.conv_out.weight"]
    torch.testing.assert_close(task.tokenizer.last_layer.detach(), final, atol=5e-7, rtol=0.0)
