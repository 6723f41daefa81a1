"""Colours by their names, as light: 0 .. 1, where a pixel's value is the root of it."""

import torch
from jaxtyping import Float
from torch import Tensor

from smalti.scenes.chance import Chance

Colour = tuple[float, float, float]

# of things, as a screen shows them; apart enough that a name can be told from an image
NAMED: dict[str, Colour] = {
    "red": (0.85, 0.13, 0.12),
    "orange": (0.97, 0.53, 0.08),
    "yellow": (0.97, 0.86, 0.17),
    "green": (0.18, 0.62, 0.22),
    "cyan": (0.16, 0.78, 0.80),
    "blue": (0.15, 0.30, 0.85),
    "purple": (0.50, 0.18, 0.70),
    "pink": (0.97, 0.55, 0.72),
    "brown": (0.45, 0.27, 0.13),
    "white": (0.93, 0.93, 0.92),
    "gray": (0.52, 0.53, 0.54),
    "black": (0.15, 0.15, 0.16),
}
PALE = {"white", "yellow", "cyan", "pink", "orange"}  # which have dark patterns; the others have white ones
GROUNDS: dict[str, Colour] = {
    "green": (0.36, 0.55, 0.25),
    "gray": (0.55, 0.56, 0.58),
    "brown": (0.52, 0.40, 0.28),
    "yellow": (0.84, 0.74, 0.50),
    "white": (0.84, 0.85, 0.87),
    "red": (0.62, 0.34, 0.27),
    "blue": (0.33, 0.45, 0.62),
}
SKIN: tuple[Colour, ...] = (
    (0.98, 0.82, 0.70),
    (0.91, 0.70, 0.55),
    (0.76, 0.54, 0.38),
    (0.56, 0.37, 0.25),
    (0.38, 0.24, 0.17),
)
HAIR: tuple[Colour, ...] = ((0.08, 0.07, 0.07), (0.30, 0.18, 0.09), (0.55, 0.35, 0.15), (0.88, 0.72, 0.38))


def light(colour: Colour) -> Colour:
    """Return the light of a colour as a screen shows it."""
    return colour[0] * colour[0], colour[1] * colour[1], colour[2] * colour[2]


def shade(colour: Colour, chance: Chance, by: float = 0.06) -> Colour:
    """Return the light of a colour that differs a little from this one, as a screen shows it."""
    bright = chance.between(1 - by, 1 + by)
    red, green, blue = (min(max(part * bright + chance.between(-by, by) / 3, 0), 1) for part in colour)
    return light((red, green, blue))


def second(name: str) -> Colour:
    """Return the light of the other colour of a pattern."""
    return light((0.13, 0.13, 0.15) if name in PALE else (0.95, 0.95, 0.93))


def column(colour: Colour) -> Float[Tensor, "3 1"]:
    """Return a colour for many places."""
    return torch.tensor(colour, dtype=torch.float32)[:, None]
