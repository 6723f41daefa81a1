"""Where torch computes: the device that a word means."""

from typing import Any

import torch

from smalti.errors import UserError


def find(device: str | torch.device | Any) -> torch.device:
    """Return a device of torch; "auto" is the accelerator that it finds (CUDA, XPU, MPS), else the CPU.

    Raises UserError for one that torch cannot use on this machine.
    """
    if device == "auto":
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as problem:  # torch raises one or the other
        got = f"{device} ({str(problem).splitlines()[0]})"
        raise UserError("a device that torch can use on this machine", got, "device=cpu") from None
    return torch.device(device)
