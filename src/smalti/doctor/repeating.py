"""Whether the same work gives the same bits twice, which resuming a run to the bit wants."""

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from smalti.doctor.protocol import Asked, Finding, judged
from smalti.doctor.step import Step

_TIMES = 3  # a difference may show at one time and not at another


def equal_bits(asked: Asked) -> Iterator[Finding]:
    """Give a line for a whole training step, and one for each work of torch that is known to differ."""
    remedy = "OMP_NUM_THREADS=1, or another release of torch"
    if asked.device.type != "cpu":
        remedy = "device=cpu where a resumed run must equal the uninterrupted one to the bit"
    for what, work in {"a training step": _step, **WORKS}.items():
        first = work(asked.device)
        same = all(torch.equal(first, work(asked.device)) for _ in range(_TIMES - 1))
        value = f"{'equal' if same else 'other'} bits in {_TIMES} times"
        yield judged(f"{what} again", value, remedy, quick=same)


def _step(device: torch.device) -> Tensor:
    step = Step(device)
    step()
    return torch.cat([weight.detach().flatten() for weight in step.network.parameters()]).cpu()


def _sums(device: torch.device) -> Tensor:
    """Return sums by code, as running means and revival of codebooks take them."""
    values, codes = _drawn(device)
    return torch.zeros(32, values.shape[1], device=device).index_add_(0, codes, values)


def _scattered(device: torch.device) -> Tensor:
    values, codes = _drawn(device)
    where = codes[:, None].expand_as(values)
    return torch.zeros(32, values.shape[1], device=device).scatter_add_(0, where, values)


def _looked_up(device: torch.device) -> Tensor:
    """Return the gradient of a codebook's entries."""
    values, codes = _drawn(device)
    entries = torch.zeros(32, values.shape[1], device=device, requires_grad=True)
    return torch.autograd.grad((F.embedding(codes, entries) * values).sum(), entries)[0]


def _convolved(device: torch.device) -> Tensor:
    """Return the gradient of a convolution's weight."""
    chance = torch.Generator().manual_seed(0)
    images = torch.randn(4, 32, 33, 47, generator=chance).to(device)
    weight = torch.randn(32, 32, 3, 3, generator=chance).to(device).requires_grad_()
    return torch.autograd.grad(F.conv2d(images, weight).square().sum(), weight)[0]


WORKS: Mapping[str, Callable[[torch.device], Tensor]] = {
    "sums by code (index_add)": _sums,
    "sums by code (scatter_add)": _scattered,
    "gradients of a look-up": _looked_up,
    "gradients of a convolution": _convolved,
}


def _drawn(device: torch.device) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(0)
    values = torch.randn(20_000, 16, generator=chance)
    return values.to(device), torch.randint(32, (20_000,), generator=chance).to(device)
