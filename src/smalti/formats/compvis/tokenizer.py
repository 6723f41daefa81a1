"""Tokenizers of the 2021 code and of latent-diffusion: state dict and yaml to a Tokenizer, and back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from smalti.errors import UserError
from smalti.formats.compvis import claims, codebook, network
from smalti.formats.ledger import Ledger, fill
from smalti.formats.own import Own, own_tensors
from smalti.losses.patchgan import PatchGANSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

ANCHOR = "encoder.conv_in.weight"  # a name that every tokenizer has
SMALL = ("quant_conv", "post_quant_conv")  # which some KL models do without
DISCRIMINATOR, COLOURS = "loss.discriminator.", "colorize"
_DROPPED = {  # beginning of a name -> what it is
    "loss.perceptual_loss.": "the perceptual loss (LPIPS)",
    "loss.logvar": "the learned variance of the loss",
    "loss.": "other parts of the loss",
    COLOURS: "colours that segmentation maps are shown in",
    "model_ema.": "averaged copies of the weights",
}
_SEEN = (1, 3, 4)  # channels of images; more of them are a segmentation's labels


def read(
    book: Ledger, prefix: str, model: Mapping[str, Any], kept: Own
) -> tuple[Tokenizer, dict[str, Tensor]]:
    """Return the tokenizer whose tensors have names with this prefix, and its discriminator, if there is one.

    model: its {target, params}; empty where there is no yaml. kept: what of it the yaml has no word for.
    Crosses off all names with the prefix.
    """
    discriminator = book.below(prefix + DISCRIMINATOR)
    has_colours = prefix + COLOURS in book
    for name, why in _DROPPED.items():
        book.drop(prefix + name, why)
    state = {codebook.modern(n) if n.startswith("quantize.") else n: t for n, t in book.below(prefix).items()}
    if network.lacks_small_convolutions(state):
        state = network.with_small_convolutions(state, *SMALL)
    where = book.where + (f" ({prefix.rstrip('.')})" if prefix else "")
    found = kept.tokenizer(settings(state, model, where, has_colours=has_colours), where)
    theirs = codebook.names(found.quantizer)
    tokenizer = Tokenizer(found)
    weights = kept.fill(tokenizer, ours(state, found))
    fill(tokenizer, weights, lambda name: prefix + theirs.get(name, name), where)
    return tokenizer.eval(), discriminator


def settings(
    state: Mapping[str, Tensor], model: Mapping[str, Any], where: str, *, has_colours: bool = False
) -> TokenizerSettings:
    """Return the settings of a state dict, by shapes and yaml. UserError where the two disagree."""
    said = claims.params(model)
    sizes = network.find(state, claims.section(said, "ddconfig"), where)
    labels = said.get("image_key") == "segmentation" or claims.target(model) == "VQSegmentationModel"
    labels |= has_colours or sizes.in_channels not in _SEEN
    return TokenizerSettings(
        network=sizes,
        quantizer=codebook.find(state, model, where),
        content="segmentation" if labels else "image",
    )


def ours(state: Mapping[str, Tensor], found: TokenizerSettings) -> dict[str, Tensor]:
    """Return a state dict of theirs under our names."""
    back = {theirs: ours for ours, theirs in codebook.names(found.quantizer).items()}
    return {back.get(name, name): tensor for name, tensor in state.items()}


def theirs(tokenizer: Tokenizer) -> dict[str, Tensor]:
    """Return the tensors of a tokenizer of ours under the names of 2021."""
    found, alone = codebook.names(tokenizer.settings.quantizer), own_tensors(tokenizer)
    state = {name: tensor.detach() for name, tensor in tokenizer.state_dict().items() if name not in alone}
    return {found.get(name, name): tensor for name, tensor in state.items()}


def used_file(prefix: str) -> str:
    """Return the file in which their class looks for the table of used codes of a stage."""
    return f"{prefix.removesuffix('_model.')}_used.npy" if prefix else codebook.USED


def colours(how: TokenizerSettings) -> dict[str, Tensor]:
    """Return what their classes want of a tokenizer of segmentations besides, and load strictly.

    Else nothing.

    Numbers as they draw them, with a seed of ours: they colour the maps of their logs and do nothing else.
    """
    if how.content != "segmentation":
        return {}
    drawn = torch.randn(3, how.network.in_channels, 1, 1, generator=torch.Generator().manual_seed(0))
    return {COLOURS: drawn}


def config(how: TokenizerSettings, resolution: int, *, discriminator: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the {target, params} of a tokenizer of ours.

    UserError for one that the 2021 code cannot hold.
    """
    if not isinstance(how.network, NetworkSettings):
        raise UserError("a tokenizer with the networks of 2021", how.network.kind, "keep the model folder")
    if how.image_range != "-1..1":
        remedy = "keep the model folder: their code has no setting for it"
        raise UserError("a tokenizer for images in [-1, 1]", f"one for {how.image_range}", remedy)
    target = codebook.target(how.quantizer)
    params = codebook.params(how.quantizer, how.network.code_dim)
    if how.content == "segmentation":
        target = target.replace("VQModel", "VQSegmentationModel")
        count = "n_labels" if target.endswith("SegmentationModel") else "colorize_nlabels"
        params |= {"image_key": "segmentation", count: how.network.in_channels}
    double_z = how.quantizer.kind == "gaussian"
    params["ddconfig"] = network.ddconfig(how.network, resolution, double_z=double_z)
    params["lossconfig"] = _loss(discriminator, double_z)
    return {"base_learning_rate": 4.5e-6, "target": target, "params": params}


def _loss(discriminator: Mapping[str, Tensor], double_z: bool) -> dict[str, Any]:
    if not discriminator:
        return {"target": "torch.nn.Identity" if double_z else "taming.modules.losses.DummyLoss"}
    sizes = PatchGANSettings.of(discriminator)
    words: dict[str, Any] = {"disc_start": 0, "disc_in_channels": discriminator["main.0.weight"].shape[1]}
    words |= {"disc_ndf": sizes.width, "disc_num_layers": sizes.layers, "use_actnorm": sizes.norm == "act"}
    package = "taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator"
    return {
        "target": "ldm.modules.losses.LPIPSWithDiscriminator" if double_z else package,
        "params": words,
    }
