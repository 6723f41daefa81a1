"""In which number types products, convolutions and attention are right, and how quick they are."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from smalti.doctor.protocol import Asked, Finding, judged, seconds
from smalti.precision import DTYPES

Work = Callable[..., Tensor]
# the largest error of a result, as a share of the results' standard deviation: some times what rounding of
# inputs and results makes of sums of some hundred products, and far below one product left out
BOUNDS: Mapping[str, float] = {"fp32": 1e-4, "tf32": 2e-2, "bf16": 6e-2, "fp16": 1.5e-2}
WORKS: Mapping[str, Work] = {
    "products": torch.matmul,
    "convolutions": partial(F.conv2d, padding=1),
    "attention": F.scaled_dot_product_attention,
}
# of the inputs: odd sides, which kernels for round ones leave a rest of
_SHAPES = {
    "products": ((517, 389), (389, 261)),
    "convolutions": ((3, 64, 39, 27), (48, 64, 3, 3)),
    "attention": ((2, 4, 133, 32),) * 3,
}
_SPEED = 512  # the sides of matrices by which types are timed


def number_types(asked: Asked) -> Iterator[Finding]:
    """Give a line for each work and number type: its error against float64; then how quick the types are."""
    names = [name for name in BOUNDS if name != "tf32" or asked.device.type == "cuda"]
    for name in names:
        for what in WORKS:
            yield _right(what, name, asked.device)
    yield from _quick(asked.device)


def error(what: str, name: str, device: torch.device) -> float:
    """Return the largest error of a work in a number type against float64, see BOUNDS.

    Raises what torch does where the device does not compute in the type.
    """
    chance = torch.Generator().manual_seed(0)
    dtype = DTYPES.get(name, torch.float32)
    given = [torch.randn(shape, generator=chance).to(dtype) for shape in _SHAPES[what]]
    expected = WORKS[what](*[one.double() for one in given])
    there = [one.to(device) for one in given]
    if what == "convolutions":  # the layout that networks have
        there = [one.to(memory_format=torch.channels_last) for one in there]
    with _tf32(device, name == "tf32"):
        found = WORKS[what](*there).cpu().double()
    return ((found - expected).abs().max() / expected.std()).item()


def _right(what: str, name: str, device: torch.device) -> Finding:
    line = f"{what} in {name}"
    try:
        found = error(what, name, device)
    except (RuntimeError, NotImplementedError, TypeError) as problem:
        value = f"none on {device}: {str(problem).splitlines()[0][:60]}"
        return judged(line, value, f"leave precision={name} alone", quick=False)
    value, remedy = (
        f"off by {found:.1e}, at most {BOUNDS[name]:.0e}",
        "--device cpu, or another release of torch",
    )
    return judged(line, value, remedy, right=found <= BOUNDS[name])


def _quick(device: torch.device) -> Iterator[Finding]:
    taken = {}
    for name, dtype in DTYPES.items():
        try:
            one = torch.ones(_SPEED, _SPEED, dtype=dtype, device=device)
            taken[name] = seconds(partial(torch.matmul, one, one), device)
        except (RuntimeError, NotImplementedError, TypeError):  # said above
            continue
    for name in taken.keys() - {"fp32"}:
        times = taken["fp32"] / taken[name]
        value, remedy = f"{times:.2g} times as fast as fp32", "precision=fp32 is quicker here"
        yield judged(f"speed of {name}", value, remedy, quick=times >= 1)


def _tf32(device: torch.device, allowed: bool) -> AbstractContextManager[object]:
    """Return a context in which fp32 is that, or tf32 where an accelerator has it."""
    return _Tf32(allowed) if device.type == "cuda" else nullcontext()


class _Tf32(AbstractContextManager[None]):
    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    def __enter__(self) -> None:
        self.before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.allowed

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before
