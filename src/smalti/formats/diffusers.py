"""Folders of diffusers' VQModel and AutoencoderKL: config.json + diffusion_pytorch_model.safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import MinLen
from torch import Tensor

from smalti.config import Count, Positive, dump, parse, settings
from smalti.errors import UserError
from smalti.files import save_tensors
from smalti.formats.compvis import codebook
from smalti.formats.compvis import network as networks
from smalti.formats.compvis.claims import section
from smalti.formats.compvis.tokenizer import SMALL, theirs
from smalti.formats.layout import build, line, state_2021
from smalti.formats.ledger import Ledger
from smalti.formats.naming import Naming
from smalti.formats.own import SECTION, Own, own_tensors
from smalti.formats.protocol import Imported, Wanted
from smalti.formats.source import Source, read_safetensors
from smalti.pipeline import Pipeline
from smalti.quantizers.gaussian import GaussianSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
OURS, OUR_TENSORS = f"_{SECTION}", "smalti.safetensors"  # diffusers passes keys with _ and other files over
ANCHOR = "encoder.down_blocks.0.resnets.0.conv1.weight"  # a name that each such model has
_CODEBOOK, _ASYMMETRIC = "quantize.embedding.weight", "decoder.condition_encoder."
_KINDS = {"vq": "VQModel", "gaussian": "AutoencoderKL"}
_Down = Literal["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]
_Up = Literal["UpDecoderBlock2D", "AttnUpDecoderBlock2D"]
_DOWN: _Down = "DownEncoderBlock2D"
_DOWN_ATTENTION: _Down = "AttnDownEncoderBlock2D"
_UP: _Up = "UpDecoderBlock2D"
_UP_ATTENTION: _Up = "AttnUpDecoderBlock2D"
_PIECES = (
    ("encoder.down.#.block.", "encoder.down_blocks.#.resnets."),
    ("encoder.down.#.attn.", "encoder.down_blocks.#.attentions."),
    ("encoder.down.#.downsample.", "encoder.down_blocks.#.downsamplers.0."),
    ("decoder.up.~.block.", "decoder.up_blocks.~.resnets."),
    ("decoder.up.~.attn.", "decoder.up_blocks.~.attentions."),
    ("decoder.up.~.upsample.", "decoder.up_blocks.~.upsamplers.0."),
    ("mid.block_1.", "mid_block.resnets.0."),
    ("mid.block_2.", "mid_block.resnets.1."),
    ("mid.attn_1.", "mid_block.attentions.0."),
    ("nin_shortcut.", "conv_shortcut."),
    ("norm_out.", "conv_norm_out."),
    ("norm.", "group_norm."),
)
_ATTENTION = (("q.", "to_q."), ("k.", "to_k."), ("v.", "to_v."), ("proj_out.", "to_out.0."))
_OLD_ATTENTION = (("q.", "query."), ("k.", "key."), ("v.", "value."), ("proj_out.", "proj_attn."))


@settings
class ModelConfig:
    """What config.json says of the networks; defaults are diffusers' own, for keys that older files lack."""

    in_channels: Positive = 3
    out_channels: Positive = 3
    down_block_types: tuple[_Down, ...] = (_DOWN,)
    up_block_types: tuple[_Up, ...] = (_UP,)
    block_out_channels: Annotated[tuple[Positive, ...], MinLen(1)] = (64,)
    layers_per_block: Positive = 1
    act_fn: Literal["silu", "swish"] = "silu"
    latent_channels: Positive = 3
    norm_num_groups: Positive = 32
    mid_block_add_attention: bool = True
    num_vq_embeddings: Count = 256  # VQModel alone, as the next two
    vq_embed_dim: Positive | None = None  # None: latent_channels
    norm_type: Literal["group"] = "group"
    use_quant_conv: bool = True  # AutoencoderKL alone, as the next one
    use_post_quant_conv: bool = True


def recognises(source: Source) -> bool:
    """Return whether config.json names one of the two classes, or none and the tensors have their names."""
    named = source.config.get("_class_name")
    return _class(source) in _KINDS.values() if named else ANCHOR in source.tensors


def describe(source: Source) -> str:
    """Return class, factor, codes and channels, in one line."""
    return line(f"diffusers {_class(source)}", _settings(source))


def read(source: Source, wanted: Wanted) -> Imported:
    """Return the tokenizer. UserError for networks that ours do not have, and for tensors that do not fit."""
    found = _settings(source)
    assert isinstance(found.network, NetworkSettings), "diffusers' networks are those of 2021"
    book, naming = Ledger(source.tensors, str(source.weights)), _naming_of(source)
    state = networks.with_small_convolutions(_state(book, naming), *_lacking(source))
    kept = _kept(source)
    model = build(state, kept.tokenizer(found, book.where), naming, book.where, kept)
    metadata = {"class": _class(source)}
    metadata |= {
        key: source.config[key] for key in ("scaling_factor", "shift_factor") if source.config.get(key)
    }
    return Imported(model=model, metadata=metadata, dropped=book.finish())


def write(model: Tokenizer | Pipeline, out: Path, discriminator: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Write a folder that diffusers loads, into `out`. It has no place for a discriminator.

    UserError for a model whose output diffusers' classes could not give.
    """
    if not isinstance(model, Tokenizer):
        remedy = "smalti export MODEL/tokenizer"
        raise UserError("a tokenizer: diffusers has no class for this prior", "a generator", remedy)
    network = _held(model.settings)
    naming = _naming(network, _ATTENTION)
    state = theirs(model)
    without = [name for name in SMALL if _changes_nothing(model, state, name)]
    state = {name: tensor for name, tensor in state.items() if name.partition(".")[0] not in without}
    tensors = {naming.theirs(name): tensor for name, tensor in state.items()}
    weights = {name: _linear(name, tensor) for name, tensor in tensors.items()}
    save_tensors(weights, out / WEIGHTS, metadata={"format": "pt"})
    alone = own_tensors(model)
    if alone:
        save_tensors(alone, out / OUR_TENSORS)
    metadata = {**_config(model.settings, network, without), OURS: {"settings": dump(model.settings)}}
    (out / CONFIG).write_text(json.dumps(metadata, indent=2) + "\n")
    return ()


def _kept(source: Source) -> Own:
    """Return what our own writer left, nothing in the folders of others."""
    said, file = section(source.config, OURS), source.weights.with_name(OUR_TENSORS)
    return Own(section(said, "settings"), read_safetensors(file) if file.is_file() else {})


def _class(source: Source) -> str:
    """Return the class's name; flax's classes have the same networks. Without a config by the tensors."""
    named = str(source.config.get("_class_name", "")).removeprefix("Flax")
    return named or _KINDS["vq" if _CODEBOOK in source.tensors else "gaussian"]


def _lacking(source: Source) -> list[str]:
    """Return which small convolutions a model does without, by its config, else by its tensors."""
    if _class(source) != _KINDS["gaussian"]:
        return []
    there = {name: f"{name}.weight" in source.tensors for name in SMALL}
    if not source.config.get("_class_name"):
        return [name for name in SMALL if not there[name]]
    without = [name for name in SMALL if not source.config.get(f"use_{name}", True)]
    for name in without:
        if there[name]:
            expected, got = f"no {name} in {source.weights}", f"use_{name} false, and its weights"
            raise UserError(expected, got, f"mend {source.settings}")
    return without


def _changes_nothing(model: Tokenizer, state: Mapping[str, Tensor], name: str) -> bool:
    """Return whether a small convolution of a KL model gives what it gets, as theirs gives without it."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    is_one = weight.shape[0] == weight.shape[1] and weight[..., 0, 0].equal(torch.eye(len(weight)).to(weight))
    return model.settings.quantizer.kind == "gaussian" and is_one and not bias.any()


def _settings(source: Source) -> TokenizerSettings:
    return _by_config(source) if source.config.get("_class_name") else _by_shapes(source)


def _by_shapes(source: Source) -> TokenizerSettings:
    """Return what holds without a config: what the tensors tell, for the rest what published models have."""
    where = str(source.weights)
    if any(name.startswith(_ASYMMETRIC) for name in source.tensors):
        raise unread("AsymmetricAutoencoderKL", where)
    state = _state(Ledger(source.tensors, where), _naming_of(source))
    found = networks.find(networks.with_small_convolutions(state, *_lacking(source)), {}, where)
    codes = state.get(_CODEBOOK)
    quantizer = (
        GaussianSettings() if codes is None else VectorQuantizerSettings.legacy(codebook_size=len(codes))
    )
    return TokenizerSettings(network=found, quantizer=quantizer)


def unread(name: str, where: str) -> UserError:
    """Return the error for one of diffusers' classes that cannot be read."""
    return UserError(
        f"{' or '.join(_KINDS.values())} of diffusers'", f"{name} in {where}", "this class cannot be read"
    )


def _by_config(source: Source) -> TokenizerSettings:
    kind = _class(source)
    known = {key: source.config[key] for key in ModelConfig.__dataclass_fields__ if key in source.config}
    said: ModelConfig = parse(known, ModelConfig, where=str(source.settings))
    first, levels = said.block_out_channels[0], len(said.block_out_channels)
    if any(width % first for width in said.block_out_channels):
        got = ", ".join(map(str, said.block_out_channels))
        raise UserError("block_out_channels that are multiples of the first", got, "it cannot be carried")
    attention = [kind == _DOWN_ATTENTION for kind in said.down_block_types]
    above = [kind == _UP_ATTENTION for kind in said.up_block_types]
    if len(attention) != levels or above != attention[::-1]:
        got = f"{', '.join(said.down_block_types)} and {', '.join(said.up_block_types)}"
        expected = f"{levels} down_block_types, and up_block_types with attention at the same levels"
        raise UserError(expected, got, "it cannot be carried")
    is_kl = kind == _KINDS["gaussian"]
    network = NetworkSettings(
        in_channels=said.in_channels,
        out_channels=said.out_channels,
        width=first,
        multipliers=tuple(width // first for width in said.block_out_channels),
        blocks=said.layers_per_block,
        attention_levels=tuple(level for level in range(levels) if attention[level]),
        mid_attention=said.mid_block_add_attention,
        latent_channels=said.latent_channels,
        code_dim=said.latent_channels if is_kl else said.vq_embed_dim or said.latent_channels,
        groups=said.norm_num_groups,
    )
    codes = VectorQuantizerSettings.legacy(codebook_size=said.num_vq_embeddings)  # diffusers' own weights too
    return TokenizerSettings(network=network, quantizer=GaussianSettings() if is_kl else codes)


def _naming_of(source: Source) -> Naming:
    """Return the naming of a file: by its levels, and by the words of its release for attention."""
    old = any(name.endswith(".query.weight") for name in source.tensors)
    levels = {name.split(".")[2] for name in source.tensors if name.startswith("encoder.down_blocks.")}
    return Naming((*_PIECES, *(_OLD_ATTENTION if old else _ATTENTION)), levels=len(levels))


def _state(book: Ledger, naming: Naming) -> dict[str, Tensor]:
    """Return all tensors under the names of 2021; crosses them off."""
    return {name: _conv(name, tensor) for name, tensor in state_2021(book, naming).items()}


def _naming(network: NetworkSettings, attention: tuple[tuple[str, str], ...]) -> Naming:
    return Naming((*_PIECES, *attention), levels=len(network.multipliers))


def _conv(name: str, tensor: Tensor) -> Tensor:
    """Return an attention's matrix as the 1x1 convolution that it is."""
    return tensor[..., None, None] if _is_matrix(name, _ATTENTION, 0) and tensor.dim() == 2 else tensor


def _linear(name: str, tensor: Tensor) -> Tensor:
    return tensor[..., 0, 0] if _is_matrix(name, _ATTENTION, 1) else tensor


def _is_matrix(name: str, attention: tuple[tuple[str, str], ...], side: int) -> bool:
    return any(name.endswith(f".{pair[side]}weight") for pair in attention)


def _held(how: TokenizerSettings) -> NetworkSettings:
    """Return the networks, if diffusers' classes give what ours give; UserError says what they cannot."""
    network, quantizer = how.network, how.quantizer
    if not isinstance(network, NetworkSettings):
        raise _cannot("the networks of 2021", f"network.kind={network.kind}")
    kl = isinstance(quantizer, GaussianSettings)
    plain = isinstance(quantizer, VectorQuantizerSettings) and not quantizer.cosine
    checks = {
        f"quantizer.kind={quantizer.kind}{', cosine' * (quantizer.kind == 'vq')}": kl or plain,
        f"content={how.content}": how.content == "image",
        f'image_range="{how.image_range}"': how.image_range == "-1..1",
        f"network.attention={network.attention}": network.attention == "after_each",
        f"network.multipliers={list(network.multipliers)}": network.multipliers[0] == 1,
        "network.resample_with_conv=false": network.resample_with_conv,
        f"network.code_dim={network.code_dim}, latent_channels={network.latent_channels}": (
            not kl or network.code_dim == network.latent_channels
        ),
    }
    for name, fits in checks.items():
        if not fits:
            raise _cannot("a tokenizer as diffusers has them", name, or_2021=codebook.knows(quantizer))
    return network


def _cannot(expected: str, got: str, *, or_2021: bool = True) -> UserError:
    return UserError(expected, got, "keep the model folder" + ", or try --format compvis" * or_2021)


def _config(how: TokenizerSettings, network: NetworkSettings, without: list[str]) -> dict[str, Any]:
    levels = range(len(network.multipliers))
    attention = [level in network.attention_levels for level in levels]
    metadata = {
        "_class_name": _KINDS[how.quantizer.kind],
        "in_channels": network.in_channels,
        "out_channels": network.out_channels,
        "down_block_types": [_DOWN_ATTENTION if with_it else _DOWN for with_it in attention],
        "up_block_types": [_UP_ATTENTION if with_it else _UP for with_it in reversed(attention)],
        "block_out_channels": list(network.widths),
        "layers_per_block": network.blocks,
        "act_fn": "silu",
        "latent_channels": network.latent_channels,
        "norm_num_groups": network.groups,
        "mid_block_add_attention": network.mid_attention,
    }
    if isinstance(how.quantizer, VectorQuantizerSettings):
        metadata |= {"num_vq_embeddings": how.quantizer.codebook_size, "vq_embed_dim": network.code_dim}
    return metadata | {f"use_{name}": False for name in without}
