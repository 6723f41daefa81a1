"""A step of training a VQGAN, both networks, against the 2021 code's step, which runs the autoencoder twice.

Same weights, same images, fp32. The losses of the first step are held against each other (within 1e-5) with
a two-forward step whose learning rate is 0, so that its discriminator sees the reconstruction that ours sees.
LPIPS has weights drawn at random, which cost what trained ones cost. Peak memory is that of the first step.
Beside it: our step in bf16, and with activations computed again in place of kept.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from baselines.network_2021 import VQModel2021
from baselines.two_forward_step import TwoForwardStep
from common import Options, compare, options, report
from memory import megabytes, peak

from smalti.data.folder import FolderSettings
from smalti.data.protocol import Batch
from smalti.losses.adversarial import AdversarialSettings
from smalti.losses.lpips import LPIPS
from smalti.losses.patchgan import PatchGAN
from smalti.losses.perceptual import Perceptual, PerceptualSettings
from smalti.losses.terms import LossSettings, terms
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training.optimization import Optimizers
from smalti.training.settings import OptimizerSettings, TokenizerTraining
from smalti.training.tokenizer_task import TokenizerTask

LR = 4.5e-6
CLOSE = 1e-5
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "fp32, recomputed": {"recompute": True},
}
NAMES = {"generator_loss": "autoencoder", "discriminator_loss": "discriminator"}


def recipe(size: int, batch: int, width: int) -> TokenizerTraining:
    """What the 2021 code trained, discriminator felt from the first step."""
    return TokenizerTraining(
        data=FolderSettings(root=Path("none")),
        size=size,
        batch=batch,
        steps=1000,
        optimizer=OptimizerSettings(lr=LR, betas=(0.5, 0.9)),
        network=NetworkSettings(width=width),
        quantizer=VectorQuantizerSettings.legacy(codebook_size=1024),
        losses=LossSettings(
            perceptual=PerceptualSettings(kind="none"), adversarial=AdversarialSettings(start=0)
        ),
        ema=0.0,
    )


class Ours:
    """Our step, as the loop makes it, without the loop."""

    def __init__(self, training: TokenizerTraining, device: torch.device) -> None:
        torch.manual_seed(0)
        tokenizer = Tokenizer(TokenizerSettings(network=training.network, quantizer=training.quantizer))
        discriminator = PatchGAN(training.losses.adversarial.patchgan)
        losses = [*terms(training.losses, training.content), Perceptual(distance())]
        parts = (part.to(device) for part in (tokenizer, discriminator))
        self.task = TokenizerTask(training, *parts, [term.to(device) for term in losses])
        rates = dict.fromkeys(self.task.networks, training.optimizer)
        self.optimizers = Optimizers(self.task.networks, rates, training, device)

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        with self.optimizers.autocast():
            losses = self.task.losses(Batch(images=images), 0)
        self.optimizers.backward(losses.minimise, 1.0)
        told = {name: loss.detach() for name, loss in losses.minimise.items()}
        self.optimizers.step(told, 0)
        return told | dict(losses.statistics)


def theirs(training: TokenizerTraining, weights: TokenizerTask, lr: float) -> TwoForwardStep:
    """The 2021 step with the weights of ours."""
    device = weights.tokenizer.last_layer.device
    autoencoder = VQModel2021(training.network, weights.tokenizer.codebook_size)
    autoencoder.load_state_dict(weights.tokenizer.state_dict())
    discriminator = PatchGAN(training.losses.adversarial.patchgan)
    discriminator.load_state_dict(weights.discriminator.state_dict())
    parts = (autoencoder.to(device), discriminator.to(device), distance().to(device))
    return TwoForwardStep(*parts, lr=lr, start=0)


def distance() -> LPIPS:
    return LPIPS.untrained(torch.Generator().manual_seed(0))


def measure(training: TokenizerTraining, given: Options) -> Iterator[dict[str, Any]]:
    """Rows of one size."""
    height, images = training.sizes[0][0], images_of(training, given.device)
    resting, plain = theirs(training, Ours(training, given.device).task, 0.0), Ours(training, given.device)
    told, expected = plain(images), resting.step(images)
    difference = max(abs(expected[old] - told[new]).item() for old, new in NAMES.items())
    assert difference < CLOSE, f"the first step's losses differ by {difference}"
    del resting
    base = theirs(training, plain.task, LR)
    size = {"pixels": height, "batch": training.batch, "width": training.network.width}
    their_memory = alone(training, given.device, "2021")
    for name in list(VARIANTS)[: 2 if given.figures else None]:
        changes = VARIANTS[name]
        ours = partial(Ours(replace(training, **changes), given.device), images)
        found = compare(ours, partial(base.step, images), 3 if given.short or given.figures else 7)
        memory = {"our peak MB": alone(training, given.device, name), "their peak MB": their_memory}
        yield {
            **size, "ours": name, "against": "2021, fp32", "times faster": found, **memory,
            "first losses differ by": difference,
        }  # fmt: skip


def alone(training: TokenizerTraining, device: torch.device, side: str) -> float | None:
    """Peak MB of the first step of a side, in a process that has done nothing before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return megabytes(pool.submit(_first_step, training, device, side, torch.get_num_threads()).result())


def _first_step(training: TokenizerTraining, device: torch.device, side: str, threads: int) -> int | None:
    torch.set_num_threads(threads)
    noise = images_of(training, device)
    ours = Ours(replace(training, **VARIANTS.get(side, {})), device)
    if side == "2021":
        return peak(partial(theirs(training, ours.task, LR).step, noise))
    return peak(partial(ours, noise))


def images_of(training: TokenizerTraining, device: torch.device) -> torch.Tensor:
    """A batch of noise."""
    chance = torch.Generator().manual_seed(1)
    return (torch.rand(training.batch, 3, *training.sizes[0], generator=chance) * 2 - 1).to(device)


def main() -> None:
    """Command line."""
    given = options(__doc__)
    sizes = (
        [(64, 2, 64)] if given.short else [(256, 2, 128)] if given.figures else [(128, 4, 128), (256, 2, 128)]
    )
    rows = (row for size in sizes for row in measure(recipe(*size), given))
    report("train_step", rows, given.out, device=given.device)


if __name__ == "__main__":
    main()
