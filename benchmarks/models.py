"""The networks that the sampling benchmarks draw with: random weights, as speed does not hang on them."""

import torch
from baselines import gpt_2021

from smalti.conditions.label import LabelSettings
from smalti.generator import Generator, GeneratorSettings
from smalti.priors import PriorSettings
from smalti.priors.gpt import GPTSettings
from smalti.priors.neighbourhood import NeighbourhoodSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

CODES = 1024
SIDE = 16  # cells of a training crop and of the window


def generator(*, layers: int, width: int, heads: int = 8) -> Generator:
    """A class-conditional prior of kind gpt over 16 x 16 cells; its tokenizer is as small as can be."""
    model = _generator(GPTSettings(layers=layers, heads=heads, width=width))
    with torch.no_grad():  # scores that differ by more than rounding does, positions that count
        model.prior.positions.normal_(std=0.1)
        model.prior.head.weight.normal_(std=0.1)
    return model


def neighbourhood(*, layers: int, width: int, heads: int = 8) -> Generator:
    """The same with a prior of relative positions and a radius of 7 cells."""
    model = _generator(NeighbourhoodSettings(layers=layers, heads=heads, width=width))
    with torch.no_grad():
        model.prior.head.weight.normal_(std=0.1)
    return model


def _generator(prior: PriorSettings) -> Generator:
    torch.manual_seed(0)
    network = NetworkSettings(
        width=8, blocks=1, attention_levels=(), mid_attention=False, latent_channels=8, code_dim=4,
        groups=4, multipliers=(1, 1),
    )  # fmt: skip
    codebook = VectorQuantizerSettings(codebook_size=CODES)
    settings = GeneratorSettings(
        prior=prior,
        condition=LabelSettings(classes=8),
        grid=(SIDE, SIDE),
    )
    return Generator(settings, Tokenizer(TokenizerSettings(network=network, quantizer=codebook))).eval()


def baseline(model: Generator) -> gpt_2021.GPT:
    """The same network as the 2021 code has it."""
    prior = model.settings.prior
    assert isinstance(prior, GPTSettings)
    found = gpt_2021.GPT(
        vocabulary=CODES, block=len(model.prior.positions), layers=prior.layers, heads=prior.heads,
        width=prior.width,
    )  # fmt: skip
    missing, unexpected = found.load_state_dict(gpt_2021.weights_of(model.prior.state_dict()), strict=False)
    assert not unexpected
    assert all(name.endswith("mask") for name in missing)
    return found.to(model.order.device).eval()
