"""What this machine has: versions, devices, extras, weights, models."""

import importlib.metadata
import platform
import re
from typing import Any

import torch

from smalti import devices, precision, shipped
from smalti.weights.catalogue import WEIGHTS

_NEEDED = re.compile(r"""([A-Za-z0-9_.-]+).*extra == ['"]([^'"]+)['"]""")  # of a line Requires-Dist


def machine() -> dict[str, Any]:
    """Return what there is: versions, devices, what half precision is worth, extras, weights, models."""
    found = devices.find("auto")
    return {
        "smalti": importlib.metadata.version("smalti"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "device": str(found),
        "bf16": {str(one): precision.computes_bf16(one) for one in {torch.device("cpu"), found}},
        "extras": extras(),
        "weights": {name: one.at_hand for name, one in WEIGHTS.items()},
        "models": list(shipped.models()),
    }


def extras() -> dict[str, list[str]]:
    """Return of each extra of the installed package what of it is missing."""
    found: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("smalti") or []:
        needed = _NEEDED.match(line)
        if needed and not line.startswith("smalti"):
            missing = found.setdefault(needed[2], [])
            missing += [] if _is_installed(needed[1]) else [needed[1]]
    return found


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
