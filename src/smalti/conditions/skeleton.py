"""Poses as pictures: limbs as coloured lines, joints as dots."""

import torch
from jaxtyping import Float
from torch import Tensor

from smalti import imaging
from smalti.conditions.pose import SEEN, Joint, Pose, limbs

_WIDTH = 0.012  # of the image's longer side: of lines; dots are twice as wide
_HIDDEN = 0.4  # of the light that a hidden joint has
_COLOURS = 64


def skeleton(pose: Pose, size: tuple[int, int]) -> Float[Tensor, "3 H W"]:
    """Return a picture of what a pose's crop shows, in [-1, 1], of size (height, width) on black.

    Every joint has a colour of its own, the same in all pictures of the same joints; a limb has that of its
    second joint. What is hidden is darker.
    """
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    picture, reach = torch.zeros(3, height, width), max(max(size) * _WIDTH / 2, 1.0)
    labels = (1 + torch.arange(len(pose.names)) % _COLOURS)[None, None]
    colours = (imaging.to_float(imaging.colour_labels(labels))[0, :, 0].T + 1) / 2
    for figure in pose.beyond():
        lines = [(figure[one], figure[other], colours[other], reach) for one, other in limbs(pose.names)]
        dots = [(joint, joint, colour, 2 * reach) for joint, colour in zip(figure, colours, strict=True)]
        for one, other, colour, far in lines + dots:
            if one.visibility and other.visibility:
                light = 1.0 if one.visibility == other.visibility == SEEN else _HIDDEN
                cover = (far + 0.5 - _distance(x, y, one, other, size)).clamp(0, 1)
                picture = picture + cover * (light * colour[:, None, None] - picture)
    return picture * 2 - 1


def _distance(
    x: Float[Tensor, "H W"], y: Float[Tensor, "H W"], one: Joint, other: Joint, size: tuple[int, int]
) -> Float[Tensor, "H W"]:
    """Return how far pixels are from the line between two joints, in pixels."""
    height, width = size
    x0, y0, across, down = (
        one.x * width,
        one.y * height,
        (other.x - one.x) * width,
        (other.y - one.y) * height,
    )
    along = ((x - x0) * across + (y - y0) * down) / max(across**2 + down**2, 1e-12)
    along = along.clamp(0, 1)
    return ((x - x0 - along * across) ** 2 + (y - y0 - along * down) ** 2).sqrt()
