"""Images that EXIF turns, and what describes them: the stored raster, or the image as it is seen?"""

from collections.abc import Callable, Sequence
from typing import Literal

from smalti.exif import Turn
from smalti.opening import Header

Described = Literal["stored", "upright"]
Size = tuple[int, int]  # height and width in pixels


def turns_along(
    said: Size | None, upright: Size, turn: Turn, otherwise: Described, fits: Callable[[Size, Size], bool]
) -> bool | None:
    """Return whether boxes or a map are of the stored raster, and so turn with it; None: they fit neither.

    said: the size that they are for; None where nobody knows it. otherwise: what holds where sizes do not
    tell: squares, and images that are stored mirrored or upside down.
    """
    if said is None:
        return otherwise == "stored"
    as_stored, as_seen = fits(said, turn.size(upright)), fits(said, upright)
    if as_stored == as_seen:
        return otherwise == "stored" if as_seen else None
    return as_stored


def turned_notes(what: str, held: Described, sized: bool, headers: Sequence[Header]) -> list[str]:
    """Return a line on images that are turned so that sizes do not tell what was annotated, if any are.

    what: "maps" or "boxes". held: what these are taken to describe. sized: whether they have sizes.
    """
    told_by_size = [sized and one.turn.swapped and one.height != one.width for one in headers]
    count = sum(bool(one.turn) and not told for one, told in zip(headers, told_by_size, strict=True))
    if not count:
        return []
    taken = {
        "stored": "of the raster in the file, and turned along",
        "upright": "of the image as it is seen",
    }
    (other,) = taken.keys() - {held}
    why = f"{count} images are turned by EXIF, and no size tells what their {what} describe"
    return [f"{why}: they are taken to be {taken[held]} (data.annotated={held}); else data.annotated={other}"]


def in_words(upright: Size, turn: Turn) -> str:
    """Return the sizes that would fit an image."""
    other = ", or {} x {} as it is stored".format(*turn.size(upright)) if turn.swapped else ""
    return "{} x {} pixels".format(*upright) + other
