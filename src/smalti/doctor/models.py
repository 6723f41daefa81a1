"""Whether a model computes on a device what it computes on the CPU."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from smalti.conditions.context import Padded, Prefix
from smalti.conditions.none import NoConditionSettings
from smalti.conditions.protocol import Condition
from smalti.doctor.protocol import Asked, Finding, judged
from smalti.pipeline import Pipeline, PipelineSettings, tokenizer_of
from smalti.priors.modern import ModernSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.tokenizer.use import in_use

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


def round_trip(asked: Asked) -> Iterator[Finding]:
    """Give the lines of a small model that is made here, on the device and on the CPU."""
    yield from findings(compared(_small, asked.device))


def findings(checks: list[Check]) -> Iterator[Finding]:
    """Give comparisons as lines."""
    for one in checks:
        bound = f"{'at least' if one.is_share else 'at most'} {one.bound:g}"
        yield judged(one.what, f"{one.value:.4g}, {bound}", "--device cpu", right=one.is_right)


def _small(device: torch.device) -> Pipeline:
    """Return a model of chance, the same each time, on a device."""
    network = NetworkSettings(
        width=16, multipliers=(1, 2, 2), blocks=1, attention_levels=(2,), latent_channels=32, code_dim=16,
        groups=8,
    )  # fmt: skip
    settings = PipelineSettings(
        prior=ModernSettings(layers=2, heads=4, width=64), condition=NoConditionSettings(), grid=(8, 6)
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        tokenizer = Tokenizer(
            TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=64))
        )
        return Pipeline(settings, tokenizer).to(device).eval()
