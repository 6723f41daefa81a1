"""The networks that the sampling benchmarks draw with: random weights, as speed does not hang on them."""

from collections.abc import Callable
from typing import Any

import torch
from baselines import gpt_2021
from torch import Tensor

from smalti.conditions import ConditionSettings
from smalti.conditions.context import Context
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors import PriorSettings
from smalti.priors.gpt import GPTSettings
from smalti.priors.neighbourhood import NeighbourhoodSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

CODES = 1024
SIDE = 16  # cells of a training crop and of the window
FACTOR = 2  # pixels a cell
CONDITIONS: dict[str, ConditionSettings] = {
    "class": LabelSettings(classes=8),  # one token
    "map": MapSettings(shared=True),  # a token a cell: 256 of a window
}


def generator(
    *, layers: int, width: int, heads: int = 8, side: int = SIDE, condition: str = "class"
) -> Pipeline:
    """A prior of kind gpt over side x side cells; its tokenizer is as small as can be."""
    model = _generator(GPTSettings(layers=layers, heads=heads, width=width), side, condition)
    with torch.no_grad():  # scores that differ by more than rounding does, positions that count
        model.prior.positions.normal_(std=0.1)
        model.prior.head.weight.normal_(std=0.1)
    return model


def neighbourhood(
    *, layers: int, width: int, heads: int = 8, radius: int = 7, skew: int = 2, condition: str = "class"
) -> Pipeline:
    """The same with a prior of relative positions, whose cells see so many cells each way."""
    settings = NeighbourhoodSettings(layers=layers, heads=heads, width=width, radius=radius, skew=skew)
    model = _generator(settings, SIDE, condition)
    with torch.no_grad():
        model.prior.head.weight.normal_(std=0.1)
    return model


def _generator(prior: PriorSettings, side: int, condition: str) -> Pipeline:
    torch.manual_seed(0)
    network = NetworkSettings(
        width=8, blocks=1, attention_levels=(), mid_attention=False, latent_channels=8, code_dim=4,
        groups=4, multipliers=(1, 1),
    )  # fmt: skip
    codebook = VectorQuantizerSettings(codebook_size=CODES)
    settings = PipelineSettings(prior=prior, condition=CONDITIONS[condition], grid=(side, side))
    return Pipeline(settings, Tokenizer(TokenizerSettings(network=network, quantizer=codebook))).eval()


def told(model: Pipeline, grid: tuple[int, int]) -> dict[str, Any]:
    """A condition for a canvas of so many cells: a class, or a map of its size."""
    if model.condition.argument == "label":
        return {"label": 3}
    noise = torch.rand(1, 3, grid[0] * FACTOR, grid[1] * FACTOR, generator=torch.Generator().manual_seed(2))
    return {"map": (noise * 2 - 1).to(model.order.device)}


def prompt(model: Pipeline, grid: tuple[int, int]) -> Context:
    """That condition, encoded."""
    (value,) = told(model, grid).values()
    return model.condition.context(value, num=1, grid=grid, device=model.order.device)


def prefixes(model: Pipeline, grid: tuple[int, int]) -> Callable[[int, int], Tensor]:
    """Its tokens (1 m) for the window at (top, left)."""
    whole = prompt(model, grid)
    return lambda top, left: whole.window(top, left, SIDE, SIDE)


def baseline(model: Pipeline) -> gpt_2021.GPT:
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
