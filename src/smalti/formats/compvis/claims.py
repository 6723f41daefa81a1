"""What a yaml says of a model, held against what the tensors' shapes say."""

import math
from collections.abc import Mapping
from typing import Any

from smalti.config import MOST
from smalti.errors import UserError

OTHER_MODEL = "the yaml is of another model: give the right one with --config"
# names under which a yaml of theirs gives a number that is read, and a list of them
_WHOLE = {"ch", "num_res_blocks", "resolution", "in_channels", "out_ch", "z_channels"}
_WHOLE |= {"n_embed", "embed_dim", "sos_token", "n_classes", "downsample_cond_size", "no_object_classes"}
_WHOLE |= {"n_layer", "n_head", "n_embd", "vocab_size", "block_size", "n_unmasked", "H", "W"}
_WHOLE |= {"no_tokens", "max_objects_per_image"}
_NUMBERS = {"dropout", "kl_weight", "pkeep", "embd_pdrop", "resid_pdrop", "attn_pdrop"}
_LISTS = {"ch_mult", "attn_resolutions"}


def model_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mapping {target, params} of the model, from a project's yaml or from that mapping itself."""
    return section(config, "model") or config


def check_kinds(mapping: Mapping[str, Any]) -> None:
    """UserError for what should be a number, or a list of them, and is not, however deep in a yaml."""
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            check_kinds(value)
        elif name in _LISTS and not (isinstance(value, list) and all(map(_is_whole, value))):
            raise UserError(f"a list of numbers for {name} in the yaml", _brief(value), "mend the yaml")
        elif (name in _NUMBERS and not _is_number(value)) or (name in _WHOLE and not _is_whole(value)):
            raise UserError(f"a number for {name} in the yaml", _brief(value), "mend the yaml")


def section(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping within a mapping, empty where there is none."""
    found = mapping.get(key)
    return found if isinstance(found, Mapping) else {}


def params(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the constructor's arguments of a {target, params} mapping."""
    return section(mapping, "params")


def inner(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the arguments of a {target, params} mapping that stands under a key."""
    return section(section(said, key), "params")


def target(mapping: Mapping[str, Any]) -> str:
    """Return the class that a {target, params} mapping names, without its module.

    Empty where it names none.
    """
    return str(mapping.get("target", "")).rsplit(".", 1)[-1]


def check(claims: Mapping[str, Any], found: Mapping[str, Any], where: str) -> None:
    """UserError for the first value that the yaml gives otherwise than the weights do."""
    for name, value in found.items():
        said = claims.get(name, value)
        if said != value:
            expected = f"weights with {name} {_brief(said)}, as the yaml says"
            raise UserError(expected, f"{_brief(value)} in {where}", OTHER_MODEL)


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))  # of words too: YAML takes 1e-8, without a point, for one
    except (TypeError, ValueError, OverflowError):
        return False


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) <= MOST


def are_sides(value: Any) -> bool:
    """Return whether it is a list of rows and columns."""
    return isinstance(value, list) and len(value) == 2 and all(_is_whole(one) and one > 0 for one in value)


def _brief(value: Any) -> str:
    return str(value)[:60]
