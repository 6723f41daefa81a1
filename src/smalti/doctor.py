"""What this machine can do, and whether a model computes on its device what it computes on the CPU."""

import importlib.metadata
import platform
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from smalti import devices, precision, shipped
from smalti.conditions.context import Padded, Prefix
from smalti.conditions.protocol import Condition
from smalti.pipeline import Pipeline, tokenizer_of
from smalti.tokenizer import Tokenizer
from smalti.tokenizer.use import in_use
from smalti.weights.catalogue import WEIGHTS

_NEEDED = re.compile(r"""([A-Za-z0-9_.-]+).*extra == ['"]([^'"]+)['"]""")  # of a line Requires-Dist
_IMAGES, _GRID = 2, (8, 8)  # of the check: images, and cells where the model does not say


class Check(NamedTuple):
    """One comparison of a device with the CPU."""

    what: str
    value: float
    bound: float
    is_share: bool  # of what is equal, and at least the bound; else a difference, and at most that

    @property
    def is_right(self) -> bool:
        """Return whether it is within its bound; what is not a number is not."""
        return self.value >= self.bound if self.is_share else self.value <= self.bound

    def __str__(self) -> str:
        verdict = "right" if self.is_right else "WRONG"
        bound = f"{'at least' if self.is_share else 'at most'} {self.bound:g}"
        return f"{self.what}: {self.value:.4g}, {bound}: {verdict}"


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


def compared(load: Callable[[torch.device], Tokenizer | Pipeline], device: torch.device) -> list[Check]:
    """Compare what a model gives on a device with what it gives on the CPU, both in fp32.

    load: gives the model on a device. Bounds allow for rounding, not for what is wrong: near ties of codes
    fall otherwise now and then.
    """
    cpu, there = load(torch.device("cpu")), load(device)
    one, other = (tokenizer_of(model) for model in (cpu, there))
    grid = cpu.settings.grids[0] if isinstance(cpu, Pipeline) else _GRID
    found, generator = [], torch.Generator().manual_seed(0)
    codes = torch.randint(one.codebook_size, (_IMAGES, *grid), generator=generator)
    if one.settings.content == "image":
        small = torch.rand(_IMAGES, one.channels, *grid, generator=generator) * 2 - 1
        images = F.interpolate(small, scale_factor=one.factor, mode="bilinear")
        codes = one.encode(images, is_checked=True)
        equal = _equal(codes, other.encode(images.to(device), is_checked=True))
        found.append(Check("codes of two images that are equal", equal, 0.95, True))
    apart = _apart(one.decode(codes), other.decode(codes.to(device)))
    found.append(Check("images of these codes, largest difference (of -1 to 1)", apart, 0.02, False))
    if isinstance(cpu, Pipeline) and isinstance(there, Pipeline):
        prefix = _prefix(cpu.condition, grid, generator)
        asked = [_logits(model, codes, prefix) for model in (cpu, there)]
        likeliest = _equal(*(logits.argmax(-1) for logits in asked))
        found.append(Check("logits of the prior, largest difference", _apart(*asked), 0.05, False))
        found.append(Check("its likeliest codes that are equal", likeliest, 0.95, True))
    return found


def _logits(model: Pipeline, codes: Tensor, prefix: Prefix) -> Tensor:
    """Return what a prior expects of codes after a prefix, on the CPU."""
    device, (height, width) = model.order.device, codes.shape[1:]
    if isinstance(prefix, Padded):
        told: Prefix = Padded(values=prefix.values.to(device), mask=prefix.mask.to(device))
    else:
        told = prefix.to(device)
    with in_use(model):
        return model.prior.at((height, width))(model.sequence(codes.to(device)), told).cpu()


def _prefix(condition: Condition, grid: tuple[int, int], generator: torch.Generator) -> Prefix:
    """Return what no condition would say, but any prior takes: tokens, or features, by chance."""
    places = (_IMAGES, condition.length(grid))
    if condition.features is not None:
        values = torch.randn(*places, condition.features, generator=generator)
        return Padded(values=values, mask=torch.ones(places, dtype=torch.bool))
    tokens = torch.randint(condition.vocabulary, places, generator=generator)
    return Padded(values=tokens, mask=torch.ones(places, dtype=torch.bool)) if condition.is_padded else tokens


def _equal(one: Tensor, other: Tensor) -> float:
    return (one.cpu() == other.cpu()).double().mean().item()


def _apart(one: Tensor, other: Tensor) -> float:
    return (one.cpu() - other.cpu()).abs().max().item()


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
