"""Number types of networks: their names, those a device computes in, and the one that is quickest on it."""

from collections.abc import Mapping
from typing import Any, Literal

import torch

from smalti.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
# Weights of a prior from which bf16 pays on a CPU even for one image at a time. With AMX smaller ones were
# slower in it (fp32 took 0.63 of its time at 0.7 million weights, 1.06 at 39 million); without AMX they gain
# 2 to 18 % up to 5 million and 37 % at 15, and in fp32 their images stay as they are (docs/log.md).
LARGE = 25_000_000


def choose(precision: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device) -> Precision:
    """Return what "auto" means on a device: bf16 where it computes in it, else fp32.

    Another one is as it is.
    """
    if precision != "auto":
        return precision
    return "bf16" if computes_bf16(device) else "fp32"


def quickest(device: torch.device) -> torch.dtype:
    """Return what a tokenizer is quickest in on a device; toys lose a millisecond an image by it."""
    return DTYPES[choose("auto", device)]


def quickest_for_prior(device: torch.device, weights: int) -> torch.dtype:
    """Return the same of a prior of so many weights: on a CPU a small one draws more slowly in bf16."""
    return torch.float32 if device.type == "cpu" and weights < LARGE else quickest(device)


def name(dtype: torch.dtype) -> str:
    """Return fp32, bf16 or fp16; another type by torch's own name."""
    return next((short for short, known in DTYPES.items() if known == dtype), str(dtype))


def parse(asked: torch.dtype | str | Any) -> torch.dtype | Literal["auto"]:
    """Return a type by its name here, or one of torch; UserError for another word, and for whole numbers."""
    if asked == "auto":
        return "auto"
    found = DTYPES.get(asked) if isinstance(asked, str) else asked
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        expected = "fp32, bf16, fp16, auto, or a type of torch with a fraction, for dtype"
        raise UserError(expected, str(asked), 'dtype="auto"')
    return found


def of_cache(weights: torch.dtype, device: torch.device) -> torch.dtype:
    """Return what a prior kept in a type holds keys and values of a window in.

    fp32 for bf16 on a CPU without AMX.

    There attention of one place in bf16 takes 1.3 to 4 times as long (torch 2.13; 1 and 8 rows, 64 to 200
    places); attention of several, as in bands, does not.
    """
    in_fp32 = weights is torch.bfloat16 and device.type == "cpu" and not has_amx()
    return torch.float32 if in_fp32 else weights


def beyond_fp16(part: str) -> UserError:
    """Return what to say where a part of a model, kept in fp16, gives numbers that are not finite."""
    expected, remedy = f"a {part} within the range of fp16", "--precision bf16, or dtype='bf16'"
    return UserError(expected, "numbers beyond it", remedy)


def recorded(**parts: torch.dtype) -> dict[str, str]:
    """Return what an image records of the types that a model's parts are kept in; nothing where all is fp32.

    {"precision": "bf16"}, or where they differ {"precision": "prior fp32, tokenizer bf16"}.
    """
    kept = {name(dtype) for dtype in parts.values()}
    if kept == {"fp32"}:
        return {}
    if len(kept) == 1:
        return {"precision": kept.pop()}
    return {"precision": ", ".join(f"{part} {name(dtype)}" for part, dtype in parts.items())}


def computes_bf16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices of bf16 in hardware; False where torch does not tell."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    features = _cpu_features()
    return any(features.get(feature, False) for feature in ("amx_bf16", "avx512_bf16", "arm_bf16"))


def has_amx() -> bool:
    """Return whether the CPU multiplies tiles of bf16, as Intel's do from Sapphire Rapids on."""
    return bool(_cpu_features().get("amx_bf16", False))


def _cpu_features() -> dict[str, Any]:
    """Return what the CPU can do.

    Releases of torch before the public question have a private one for each part.
    """
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is not None:
        return dict(ask())
    parts = {"amx_bf16": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}
    return {feature: getattr(torch.cpu, asked, bool)() for feature, asked in parts.items()}
