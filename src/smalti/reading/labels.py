"""How the values of a label map become class numbers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from PIL import Image
from torch import Tensor

from smalti import exif, imaging, opening
from smalti.config import Count, settings
from smalti.errors import UserError
from smalti.files import evenly
from smalti.opening import Source

LOOKED_AT = 1000  # label maps whose kinds are compared: a tenth of a second

_GRAY = {"1", "L", "P"}  # modes of one channel, beside those of more bits, I;16 and others
_SEVERAL = {"LA", "RGB", "RGBA"}  # modes in which gray can be written too

Values = np.ndarray[Any, np.dtype[np.int64]]


@settings
class LabelReading:
    """What a value in a label map's file means; a model of maps keeps it, and reads every map by it."""

    merge: dict[Count, Count] = field(default_factory=dict)  # value in a file -> value that it counts as
    # then add 1, which makes of 255 (nothing known) class 0: COCO's maps, with 183 classes
    shift: bool = False

    def told(self) -> str:
        """Say it in words, for people."""
        words = [f"{value} counts as {other}" for value, other in sorted(self.merge.items())]
        return ", ".join(words + ["1 is added (255 becomes 0)"] * self.shift) or "as they are"


def open_labels(source: str | Source | Image.Image, how: LabelReading | None = None) -> Int64[Tensor, "H W"]:
    """Return the class numbers of a label map, an image file or a Pillow image, turned as its own EXIF says.

    Values are levels of gray, as 8 bits have them, whatever a lossless optimiser made of the file: gray of
    fewer bits, a palette of grays, equal channels. Of a palette with colours they are the indices. White of
    one bit is 255 where `how` gives that a meaning, else 1. how: what values mean; None: class numbers.
    UserError with the path for what cannot be read, for colours, and for channels with transparency.
    """
    how = how or LabelReading()
    image = imaging.open_pil(source)
    name = opening.name(source)
    values = _values(image, source, name, white=255 if how.shift or 255 in how.merge else 1)
    if how.merge:
        olds, news = np.array(sorted(how.merge.items())).T
        at = np.searchsorted(olds, values).clip(max=len(olds) - 1)
        values = np.where(olds[at] == values, news[at], values)
    if values.min(initial=0) < 0:
        raise UserError("class numbers from 0 up", f"{values.min()} in {name}", "renumber the map")
    if how.shift:
        if values.max(initial=0) > 255:
            remedy = "merge those above 255 into others, or renumber the map"
            raise UserError("values of 8 bits, to which 1 is added", f"{values.max()} in {name}", remedy)
        values = (values + 1) % 256
    return exif.turn(image).raster(torch.from_numpy(values))


def mixture(paths: Sequence[Path]) -> str | None:
    """Return a warning where label maps of one folder are not all of one kind; None where they are.

    At most 1,000, evenly chosen, are looked at, by their headers; what cannot be read is left out.
    """
    kinds: Counter[str] = Counter()
    for path in evenly(paths, LOOKED_AT):
        try:
            kinds[opening.use(path, _kind)] += 1
        except exif.BROKEN:  # which is told when its turn comes
            continue
    if len(kinds) < 2:
        return None
    found = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common(4))
    rule = "gray levels are taken for class numbers, of palettes with colours the indices"
    remedy = "if a program rewrote some of them, give the maps as they were, or name values in data.merge"
    return f"label maps of several kinds: {found}{', ...' * (len(kinds) > 4)}; {rule}; {remedy}"


def _values(image: Image.Image, source: Any, name: str, *, white: int) -> Values:
    """Return what the pixels say, as they are stored."""
    if image.mode == "1":
        return np.asarray(image).astype(np.int64) * white
    if image.mode in _SEVERAL:
        return _equal(image, source, name)
    if image.mode not in _GRAY and not image.mode.startswith("I"):
        raise _no_map(f"mode {image.mode}", name)
    values = np.asarray(image).astype(np.int64)
    grays = _grays(image) if image.mode == "P" else None
    if grays is not None:
        used = np.flatnonzero(np.bincount(values.reshape(-1), minlength=len(grays)))
        if used.max(initial=0) < len(grays) and len(set(grays[used])) == len(used):  # else it tells nothing
            return grays[values]
    return values


def _equal(image: Image.Image, source: Any, name: str) -> Values:
    """Return gray that was written in several channels."""
    if not isinstance(source, Image.Image) and opening.use(opening.source_of(source), opening.is_deep):
        raise _no_map(f"mode {image.mode} of 16 bits", name)  # of which Pillow gives the upper 8
    pixels = np.asarray(image).astype(np.int64)
    if image.mode in ("LA", "RGBA"):
        if (pixels[..., -1] < 255).any():
            raise _no_map(f"mode {image.mode} with transparency", name)
        pixels = pixels[..., :-1]
    if (pixels != pixels[..., :1]).any():
        raise _no_map(f"mode {image.mode} with colours", name)
    return np.ascontiguousarray(pixels[..., 0])


def _grays(image: Image.Image) -> Values | None:
    """Return the levels of a palette of grays; None where it has colours."""
    if image.palette is None:  # a GIF's, before it is loaded
        return None
    mode, entries = image.palette.getdata()  # which loads no pixels
    palette = np.frombuffer(bytes(entries), dtype=np.uint8).reshape(-1, len(mode))[:, :3].astype(np.int64)
    return palette[:, 0] if (palette == palette[:, :1]).all() else None


def _kind(image: Image.Image) -> str:
    """Return the kind of an image that was opened and not loaded, in words."""
    if image.mode == "1":
        return "gray of one bit"
    if image.mode == "P":
        return "a palette of grays" if _grays(image) is not None else "a palette with colours"
    return "gray" if image.mode == "L" else f"mode {image.mode}"


def _no_map(got: str, name: str) -> UserError:
    remedy = "save class numbers as gray, or as a palette's indices"
    return UserError("a label map of one channel, of class numbers", f"{got} in {name}", remedy)
