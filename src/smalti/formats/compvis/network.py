"""Encoder and decoder of 2021: their sizes, from shapes and yaml to settings and back.

The names of their tensors are ours: see tokenizer/blocks.py.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from smalti.errors import UserError
from smalti.formats.compvis import claims
from smalti.tokenizer import NetworkSettings

GROUPS = 32  # of every group norm of the 2021 code
_LINEAR = "to_qkv.weight"  # linear attention, which has tensors of its own


def find(state: Mapping[str, Tensor], ddconfig: Mapping[str, Any], where: str) -> NetworkSettings:
    """Return the settings of a state dict's networks, by its shapes; what these do not tell, by the yaml.

    ddconfig: empty where there is no yaml. UserError where it says otherwise than the shapes.
    """
    if any(name.endswith(_LINEAR) for name in state):
        remedy = "of latent-diffusion's first stages those with vanilla or no attention can be read"
        raise UserError(f"attn_type vanilla or none in {where}", "linear", remedy)
    width = _shape(state, "encoder.conv_in.weight", where)[0]
    levels = range(_count(state, "encoder.down."))
    widths = [_shape(state, f"encoder.down.{level}.block.0.conv2.weight", where)[0] for level in levels]
    if not levels or any(one % width for one in widths):
        got = f"channels {widths} after {width}"
        raise UserError(
            f"levels whose channels are multiples of the first ones in {where}", got, "another file"
        )
    down = [f"encoder.down.{level}.downsample.conv.weight" in state for level in levels[:-1]]
    found = NetworkSettings(
        in_channels=_shape(state, "encoder.conv_in.weight", where)[1],
        out_channels=_shape(state, "decoder.conv_out.weight", where)[0],
        width=width,
        multipliers=tuple(one // width for one in widths),
        blocks=_count(state, "encoder.down.0.block."),
        attention_levels=tuple(n for n in levels if f"encoder.down.{n}.attn.0.q.weight" in state),
        mid_attention="encoder.mid.attn_1.q.weight" in state,
        latent_channels=_shape(state, "decoder.conv_in.weight", where)[1],
        code_dim=_shape(state, "post_quant_conv.weight", where)[1],
        dropout=float(ddconfig.get("dropout", 0.0)),
        resample_with_conv=all(down) if down else bool(ddconfig.get("resamp_with_conv", True)),
        groups=GROUPS,
    )
    _check(ddconfig, found, where)
    return found


def ddconfig(network: NetworkSettings, resolution: int, *, double_z: bool) -> dict[str, Any]:
    """Return the yaml's words for settings of ours. UserError for networks that the 2021 code does not have.

    resolution: of training crops, by which the yaml names the levels that have attention.
    """
    if network.groups != GROUPS:
        got = f"groups={network.groups}"
        raise UserError(f"a network with groups={GROUPS}, as the 2021 code has", got, "train with groups=32")
    if network.attention_levels and not network.mid_attention:
        got = f"attention_levels {list(network.attention_levels)} without mid_attention"
        raise UserError("attention in the middle too, or none at all", got, "this network has no such yaml")
    if network.attention != "after_each":
        remedy = "smalti export --format diffusers cannot hold it either: keep the model folder"
        raise UserError("attention=after_each, as the 2021 code has", network.attention, remedy)
    words = {
        "double_z": double_z,
        "z_channels": network.latent_channels,
        "resolution": resolution,
        "in_channels": network.in_channels,
        "out_ch": network.out_channels,
        "ch": network.width,
        "ch_mult": list(network.multipliers),
        "num_res_blocks": network.blocks,
        "attn_resolutions": [resolution >> level for level in network.attention_levels],
        "dropout": network.dropout,
    }
    words |= {} if network.resample_with_conv else {"resamp_with_conv": False}
    return words if network.mid_attention else {**words, "attn_type": "none"}


def with_small_convolutions(state: Mapping[str, Tensor], *which: str) -> dict[str, Tensor]:
    """Return a state dict with the small convolutions that it lacks, as ones that change nothing.

    which: names of those that its model does not have: quant_conv, post_quant_conv.
    """
    widths = {"quant_conv": ("encoder.conv_out.weight", 0), "post_quant_conv": ("decoder.conv_in.weight", 1)}
    found = dict(state)
    for name in which:
        beside, axis = widths[name]
        if f"{name}.weight" not in state and beside in state and state[beside].dim() == 4:
            width, kind = state[beside].shape[axis], state[beside].dtype
            found[f"{name}.weight"] = torch.eye(width, dtype=kind)[..., None, None]
            found[f"{name}.bias"] = torch.zeros(width, dtype=kind)
    return found


def lacks_small_convolutions(state: Mapping[str, Tensor]) -> bool:
    """Return whether it is of a KL model that has neither.

    Whose encoder gives twice what the decoder takes.
    """
    if any(name.startswith(("quantize.", "quant_conv.", "post_quant_conv.")) for name in state):
        return False
    shapes = [
        state[name].shape for name in ("encoder.conv_out.weight", "decoder.conv_in.weight") if name in state
    ]
    return [len(shape) for shape in shapes] == [4, 4] and shapes[0][0] == 2 * shapes[1][1]


def _check(ddconfig: Mapping[str, Any], found: NetworkSettings, where: str) -> None:
    sizes = {
        "ch": found.width,
        "ch_mult": list(found.multipliers),
        "num_res_blocks": found.blocks,
        "z_channels": found.latent_channels,
        "in_channels": found.in_channels,
        "out_ch": found.out_channels,
        "resamp_with_conv": found.resample_with_conv,
    }
    ddconfig = {**ddconfig, **({"ch_mult": list(ddconfig["ch_mult"])} if "ch_mult" in ddconfig else {})}
    claims.check(ddconfig, sizes, where)
    if "resolution" not in ddconfig or "attn_resolutions" not in ddconfig:
        return
    sides = {level: int(ddconfig["resolution"]) >> level for level in range(len(found.multipliers))}
    kind = ddconfig.get("attn_type", "vanilla")
    levels = [
        level for level, side in sides.items() if side in ddconfig["attn_resolutions"] and kind != "none"
    ]
    said = {"attention at levels": levels, "attention in the middle": kind != "none"}
    has = {
        "attention at levels": list(found.attention_levels),
        "attention in the middle": found.mid_attention,
    }
    claims.check(said, has, where)


def _shape(state: Mapping[str, Tensor], name: str, where: str) -> tuple[int, ...]:
    if name not in state or state[name].dim() != 4:
        got = f"{name} {tuple(state[name].shape)}" if name in state else "none"
        remedy = "the file is incomplete, or of another kind of model"
        raise UserError(f"{name} with four axes in {where}", got, remedy)
    return tuple(state[name].shape)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbers follow the prefix, counted from 0."""
    numbers = {name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)}
    return len(numbers)
