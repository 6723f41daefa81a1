"""Number types of networks: their names, those a device computes in, and the one that is quickest on it."""

from collections.abc import Mapping
from typing import Any, Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
# Weights of a prior from which bf16 is quicker on a CPU even for one picture at a time. Measured: fp32 takes
# 0.60 of bf16's time at 2 million weights, 0.89 at 15, 1.19 at 39; for 64 pictures together 1.18 and more.
LARGE = 25_000_000


def choose(precision: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device) -> Precision:
    """What "auto" means on a device: bf16 where it computes in it, else fp32. Another one is as it is."""
    if precision != "auto":
        return precision
    return "bf16" if computes_bf16(device) else "fp32"


def quickest(device: torch.device) -> torch.dtype:
    """What a tokenizer is quickest in, from the size of the demo's up; toys lose a millisecond in bf16."""
    return DTYPES[choose("auto", device)]


def quickest_for_prior(device: torch.device, weights: int) -> torch.dtype:
    """The same of a prior of so many weights: on a CPU a small one draws more slowly in bf16."""
    return torch.float32 if device.type == "cpu" and weights < LARGE else quickest(device)


def name(dtype: torch.dtype) -> str:
    """fp32, bf16 or fp16; another type by torch's own name."""
    return next((short for short, known in DTYPES.items() if known == dtype), str(dtype))


def recorded(**parts: torch.dtype) -> dict[str, str]:
    """What a picture records of the types that a model's parts are kept in; nothing where all is fp32.

    {"precision": "bf16"}, or where they differ {"precision": "prior fp32, tokenizer bf16"}.
    """
    kept = {name(dtype) for dtype in parts.values()}
    if kept == {"fp32"}:
        return {}
    if len(kept) == 1:
        return {"precision": kept.pop()}
    return {"precision": ", ".join(f"{part} {name(dtype)}" for part, dtype in parts.items())}


def computes_bf16(device: torch.device) -> bool:
    """Whether a device multiplies matrices of bf16 in hardware; False where torch does not tell."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    features = _cpu_features()
    return any(features.get(name, False) for name in ("amx_bf16", "avx512_bf16", "arm_bf16"))


def _cpu_features() -> dict[str, Any]:
    """What the CPU can do. Releases of torch before the public question have a private one for each part."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is not None:
        return dict(ask())
    parts = {"amx_bf16": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}
    return {name: getattr(torch.cpu, asked, bool)() for name, asked in parts.items()}
