"""Which number types a device computes in, not only stores: where bf16 is emulated it is slower than fp32."""

from typing import Any, Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]


def choose(precision: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device) -> Precision:
    """What "auto" means on a device: bf16 where it computes in it, else fp32. Another one is as it is."""
    if precision != "auto":
        return precision
    return "bf16" if computes_bf16(device) else "fp32"


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
