"""Pictures that EXIF turns, and what describes them: the stored raster, or the picture as it is seen?"""

from collections.abc import Callable
from typing import Literal

from smalti.exif import Turn

Described = Literal["stored", "upright"]
Size = tuple[int, int]  # height and width in pixels


def turns_along(
    said: Size | None, upright: Size, turn: Turn, otherwise: Described, fits: Callable[[Size, Size], bool]
) -> bool | None:
    """Whether boxes or a map are of the stored raster, and so turn with it; None: they fit neither.

    said: the size that they are for; None where nobody knows it. otherwise: what holds where sizes do not
    tell: squares, and pictures that are stored mirrored or upside down.
    """
    if said is None:
        return otherwise == "stored"
    as_stored, as_seen = fits(said, turn.size(upright)), fits(said, upright)
    if as_stored == as_seen:
        return otherwise == "stored" if as_seen else None
    return as_stored


def undecided(upright: Size, turn: Turn, *, sized: bool) -> bool:
    """Whether a picture is turned so that sizes do not tell what was annotated. sized: there are any."""
    return bool(turn) and not (sized and turn.swapped and upright[0] != upright[1])


def in_words(upright: Size, turn: Turn) -> str:
    """The sizes that would fit a picture."""
    other = ", or {} x {} as it is stored".format(*turn.size(upright)) if turn.swapped else ""
    return "{} x {} pixels".format(*upright) + other
