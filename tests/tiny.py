"""The smallest networks that are still networks: for tests that train or draw."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from smalti.conditions.computed import COMPUTED
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors import PRIORS
from smalti.priors.causal import Causal
from smalti.priors.protocol import Scope
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.tokens.layout import Layout

CAUSAL = [kind for kind, (_, member) in PRIORS.items() if issubclass(member, Causal)]  # raster order

NETWORK = {
    "width": 8,
    "blocks": 1,
    "attention_levels": (),
    "mid_attention": False,
    "latent_channels": 8,
    "code_dim": 4,
    "groups": 4,
}

TRAINING = {  # a recipe on the images of `photos`, but for its kind and what that needs
    "data": {"kind": "folder", "val_share": 0.2},
    "size": 16,
    "crop": {"resize": "none"},
    "batch": 4,
    "steps": 8,
    "optimizer": {"lr": 1.0e-3},
    "log_every": 1,
}
TOKENIZER_TRAINING = {
    **TRAINING,
    "kind": "tokenizer",
    "network": {**NETWORK, "multipliers": (1, 2)},
    "quantizer": {"codebook_size": 8},
    "losses": {"perceptual": {"kind": "none"}},
}

CODEBOOK = VectorQuantizerSettings(codebook_size=12)
LABELS = LabelSettings(classes=3, names=("brick", "grass", "moon"), dropout=0.1)


def scope_of(*, codebook_size: int, cells, **more) -> Scope:
    """One code a cell of the smallest grid that holds these cells."""
    grid = tuple(1 + max(cell[axis] for cell in cells) for axis in (0, 1))
    return Scope(layout=Layout(grids=(grid,), vocabulary=codebook_size), cells=cells, **more)


@contextmanager
def holding(shelf: dict, members: dict) -> Iterator[None]:
    """Within it a shelf has these members alone; after it its own, in their order."""
    before = dict(shelf)
    shelf.clear()
    shelf.update(members)
    try:
        yield
    finally:
        shelf.clear()
        shelf.update(before)


def once(*words) -> tuple:
    """A command's words without each key=value whose key, or one above it, comes again later."""
    keys = [str(word).partition("=")[0] if "=" in str(word) else None for word in words]
    later = [[f"{key}." for key in keys[index + 1 :] if key] for index in range(len(keys))]
    return tuple(
        word
        for word, key, after in zip(words, keys, later, strict=True)
        if not (key and f"{key}.".startswith(tuple(after)))
    )


def generator(kind="gpt", condition=LABELS, order="row", grid=(4, 4), quantizer=CODEBOOK) -> Pipeline:
    """Factor 2, 12 codes, 8 x 8 pixels a crop; weights strong enough for every input to count."""
    torch.manual_seed(0)
    dim = quantizer.code_dim or NETWORK["code_dim"]
    network = NetworkSettings(**{**NETWORK, "multipliers": (1, 1), "code_dim": dim})
    tokenizer = Tokenizer(TokenizerSettings(network=network, quantizer=quantizer))
    prior = PRIORS[kind][0](layers=1, heads=2, width=16)
    model = Pipeline(PipelineSettings(prior=prior, condition=condition, order=order, grid=grid), tokenizer)
    # no norm stands between a PixelSNAIL's layers: with larger weights it would be sure of everything
    strength = 0.15 if kind == "pixelsnail" else 0.3
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(strength * torch.randn_like(parameter))
    model.fingerprint = "0123456789abcdef"
    return model


def of_images(compute, grid=(4, 4), multipliers=(1, 2)) -> Pipeline:
    """Told a map that is computed so of images; factor 2, 16 codes, of both tokenizers."""

    def tokenizer(channels: int) -> Tokenizer:
        own = {"multipliers": multipliers, "in_channels": channels, "out_channels": channels}
        quantizer = VectorQuantizerSettings(codebook_size=16)
        return Tokenizer(
            TokenizerSettings(network=NetworkSettings(**{**NETWORK, **own}), quantizer=quantizer)
        )

    torch.manual_seed(0)
    channels = COMPUTED[compute.kind][1].channels
    condition = MapSettings(shared=channels == 0, compute=compute, dropout=0.1)
    prior = PRIORS["gpt"][0](layers=1, heads=2, width=16)
    settings = PipelineSettings(prior=prior, condition=condition, grid=grid)
    model = Pipeline(settings, tokenizer(3), tokenizer(channels) if channels else None)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.fingerprint = "fedcba9876543210"
    return model
