"""The networks that an evaluation measures with, as far as they are there: feature spaces, distances."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smalti.errors import UserError
from smalti.features import SPACES
from smalti.features.protocol import Space
from smalti.imaging import eight_bit
from smalti.losses import DISTANCES
from smalti.losses.distance import Distance


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which networks an evaluation could use."""

    spaces: Sequence[str] | None  # None: all there are
    distances: Sequence[str]  # perceptual ones
    first: bool  # the first of them that is there will do
    wanted: Sequence[str]  # those that a user names


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What there is of them, on one device."""

    spaces: dict[str, Space]
    distances: dict[str, Distance]
    missing: tuple[str, ...]  # a line each, for a person

    def features(self, images: Float[Tensor, "b c H W"]) -> dict[str, Tensor]:
        """Return features and scores of classes by space: "lite0", "lite0/classes"."""
        found: dict[str, Tensor] = {}
        for name, space in self.spaces.items():
            features, logits = space.features_and_logits(colours(images))
            found |= {name: features, f"{name}/classes": logits}
        return found


def find(asked: Asked, size: tuple[int, int], device: Any) -> Networks:
    """Read the networks whose weights are on this disk, and that take images of this size in pixels.

    UserError for one that is asked for by name and cannot be used.
    """
    missing: list[str] = []

    def read(name: str, make: Callable[[], Any], *, is_wanted: bool) -> dict[str, Any]:
        try:
            return {name: make().to(device, memory_format=torch.channels_last)}
        except UserError as mistake:
            if is_wanted:
                raise
            missing.append(f"without {name}: {mistake.got} ({mistake.remedy})")
            return {}

    chosen = SPACES if asked.spaces is None else {name: known(name) for name in asked.spaces}
    found: dict[str, Space] = {}
    for name, space in chosen.items():
        found |= read(name, space.read, is_wanted=asked.spaces is not None)
    rulers: dict[str, Distance] = {}
    for name in asked.distances:
        if rulers and asked.first:
            break
        make = partial(_large_enough, DISTANCES[name], size)
        rulers |= read(name, make, is_wanted=name in asked.wanted)
    return Networks(spaces=found, distances=rulers, missing=tuple(missing))


def _large_enough(distance: type[Distance], size: tuple[int, int]) -> Distance:
    if min(size) < distance.least:
        expected = f"images of {distance.least} pixels a side or more for {distance.title}"
        raise UserError(expected, "{} x {} pixels".format(*size), "a larger --size")
    return distance.read()


def apart(network: Distance, a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Return the perceptual distances of pairs of images, on the CPU."""
    device = next(network.parameters()).device
    with torch.no_grad():
        found: Tensor = network(colours(a.to(device)), colours(b.to(device)))
    return found.cpu()


def colours(images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 3 H W"]:
    """Return images of any channels as networks take them: gray three times, of more than three the first.

    In memory channels come last, in which convolutions take three quarters of the time on a CPU.
    """
    three = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    return three.contiguous(memory_format=torch.channels_last)


def blurred(images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
    """Return images through half their size: what a classifier should name all the same."""
    half = nn.functional.interpolate(images, scale_factor=0.5, mode="area")
    size = (images.shape[2], images.shape[3])
    return eight_bit(nn.functional.interpolate(half, size=size, mode="bilinear"))


def known(name: str) -> type[Space]:
    """Return the feature space of a name; UserError for none."""
    if name not in SPACES:
        raise UserError(
            f"feature spaces among {', '.join(SPACES)}", name, "give --spaces, separated by commas"
        )
    return SPACES[name]
