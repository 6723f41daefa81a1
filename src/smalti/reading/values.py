"""The values of an image's file as they stand there: all bands, all bits, the right way up."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from smalti import exif, imaging, opening
from smalti.errors import UserError, optional
from smalti.exif import TURNS, UPRIGHT, Turn
from smalti.opening import Header, Source, Unreadable

Array = np.ndarray[Any, np.dtype[Any]]

# the same 16 bits with their bytes the other way round: what Pillow drops of them comes out so
_OTHER_HALF = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}

# TIFFs of which Pillow takes the sign bit wrongly: by its mode, format and bits, and what they are
_OTHER_SIGN: dict[str, tuple[int, int, Any]] = {"I": (1, 32, np.uint32), "L": (2, 8, np.int8)}

_SILENT = logging.NullHandler()  # one for all calls: it is added once
_PLANAR = 284  # a tag: 1 where the values of a pixel stand side by side


@dataclass(frozen=True, kw_only=True)
class Values:
    """What a file holds, (bands, height, width), in the numbers that stand there."""

    samples: Array
    is_white_zero: bool = False  # a TIFF that says so: its smallest value is white
    alpha: bool = False  # whether the last band is the share that is not transparent
    turn: Turn = UPRIGHT  # from how it is stored to how it is here


def read(path: Source, bands: Sequence[int] | None = None, max_pixels: int | None = None) -> Values:
    """Return the bands of a file by number, or all of its first page, where its format says what they are.

    Bands are counted through the pages of a TIFF: first those of the first page. Raises what `opening`
    makes a UserError of, for what cannot be read, and for a band that is not there.
    """
    if bands is not None and (tags := opening.tiff_tags(path)) is not None:
        return _tiff(path, bands, tags, max_pixels)
    found = opening.use(path, _of_file(path, max_pixels), max_pixels)
    return found if bands is None else pick(found, bands)


def of_image(image: Image.Image) -> Values:
    """Return the values of a Pillow image, upright."""
    turn = exif.load(image)
    left = exif.turn(image)  # what Pillow has not done already
    white_zero = opening.is_white_zero(image)
    alpha = image.has_transparency_data and image.mode[0] != "I"
    if image.mode[0] not in "IF":
        image = image if image.mode in ("L", "LA", "RGB", "RGBA") and not alpha else _plain(image)
    array = np.asarray(image)
    if image.mode in _OTHER_SIGN and _kind(image) == _OTHER_SIGN[image.mode][:2]:
        array = array.view(_OTHER_SIGN[image.mode][2])
    if white_zero and image.mode[0] not in "IF":  # which Pillow has turned about
        array = 255 - array
    samples = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return Values(samples=_turned(samples, left), is_white_zero=white_zero, alpha=alpha, turn=turn)


def pick(found: Values, bands: Sequence[int]) -> Values:
    """Return the bands of these numbers alone."""
    if max(bands) >= len(found.samples):
        raise _no_band(max(bands), len(found.samples))
    return replace(found, samples=found.samples[list(bands)], alpha=False)


def read_header(path: Source, bands: Sequence[int] | None = None, max_pixels: int | None = None) -> Header:
    """Return a header as imaging.py does, also of a TIFF that Pillow does not read."""
    try:
        return imaging.read_header(path, max_pixels)
    except UserError:
        with opening.readable(path):
            tags = opening.tiff_tags(path) if bands is not None else None
        if tags is None:
            raise
    with opening.readable(path), path.open("rb") as stream, tifffile().TiffFile(stream) as file:
        page = file.pages[0]
        opening.check_size(page.imagelength * page.imagewidth, max_pixels)
        turn = TURNS.get(tags.get(opening.ORIENTATION), UPRIGHT)
        height, width = turn.size((page.imagelength, page.imagewidth))
        many = page.samplesperpixel
        return Header(
            height=height,
            width=width,
            mode=f"{many} x {page.dtype}",
            format="TIFF",
            turn=turn,
            bands=many,
            has_pages=len(file.pages) > 1,
            is_deep=page.dtype != np.uint8,
        )


def tifffile() -> ModuleType:
    """Return the package that reads what Pillow does not; UserError with the extra that has it."""
    # what it logs of damaged files is said in the error: nothing of its own on stderr
    logging.getLogger("tifffile").addHandler(_SILENT)
    return optional("tifffile", extra="tiff")


def _of_file(path: Source, max_pixels: int | None) -> Any:
    def work(image: Image.Image) -> Values:
        if opening.is_deep(image) and image.mode in ("RGB", "RGBA"):
            return _both_halves(path, image, max_pixels)
        if opening.is_deep(image) and image.mode[0] not in "IF":
            raise Unreadable(f"{image.mode} of 16 bits", "convert the file to RGB")
        return of_image(image)

    return work


def _both_halves(path: Source, image: Image.Image, max_pixels: int | None, page: int = 0) -> Values:
    """Return colours of 16 bits, of which Pillow gives 8: it is asked twice, then for the other ones."""
    rawmode = _rawmode(image)
    if rawmode == "LA;16B":  # of which it knows no other half; the four bytes of RGBA are as many
        return _gray_with_alpha(image)
    if rawmode.startswith("RGBa"):
        raise Unreadable(
            "16 bits multiplied by transparency", "leave transparency out: data.bands='[0, 1, 2]'"
        )

    def other(again: Image.Image) -> Array:
        if page:
            again.seek(page)
        swapped = rawmode[:-1] + _OTHER_HALF[rawmode[-1]]
        tiles = getattr(again, "tile")  # noqa: B009  # only an opened file has it
        again.tile = [  # type: ignore[attr-defined]
            tile._replace(args=swapped if isinstance(tile[3], str) else (swapped, *tile[3][1:]))
            for tile in tiles
        ]
        return of_image(again).samples

    low = opening.use(path, other, max_pixels).astype(np.uint16)
    high = of_image(image)
    return replace(high, samples=(high.samples.astype(np.uint16) << 8) | low, alpha=image.mode == "RGBA")


def _gray_with_alpha(image: Image.Image) -> Values:
    tiles = getattr(image, "tile")  # noqa: B009
    image.tile = [tile._replace(args="RGBA") for tile in tiles]  # type: ignore[attr-defined]
    found = of_image(image)
    halves = found.samples.astype(np.uint16)
    return replace(found, samples=(halves[0::2] << 8) | halves[1::2], alpha=True)


def _rawmode(image: Image.Image) -> str:
    args = getattr(image, "tile")[0][3]  # noqa: B009  # only an opened file has it
    return str(args if isinstance(args, str) else args[0])


def _kind(image: Image.Image) -> tuple[int, int] | None:
    """Return the kind of a TIFF's numbers: 1 (without sign) or 2 (with one), and their bits."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    tags = image.tag_v2
    return tags.get(opening.SAMPLE_FORMAT, (1,))[0], tags.get(opening.SAMPLE_BITS, (1,))[0]


def _plain(image: Image.Image) -> Image.Image:
    """Return it in a mode whose bands are values."""
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _turned(samples: Array, turn: Turn) -> Array:
    """Turn upright; as Turn.raster, which torch cannot do for all types of whole numbers."""
    return np.flip(samples.swapaxes(-2, -1) if turn.swapped else samples, turn.flipped)


def _no_band(band: int, count: int) -> Unreadable:
    return Unreadable(f"no band {band}: it has {count}, from 0", "choose other data.bands, or leave it out")


def _tiff(path: Source, bands: Sequence[int], tags: dict[int, Any], max_pixels: int | None) -> Values:
    """Return bands of a TIFF: by Pillow where it keeps them as they are, else by tifffile."""
    many = tags.get(opening.SAMPLES, 1)
    by_page: dict[int, Values] = {}
    for page in sorted({band // many for band in bands}):
        asked = [band for band in bands if band // many == page]
        found = _by_pillow(path, asked, many, max_pixels)
        by_page[page] = found if found is not None else _by_tifffile(path, asked, many, max_pixels)
    if len({found.samples.shape[1:] for found in by_page.values()}) > 1:
        raise Unreadable("its pages differ in size", "choose data.bands of one page")
    chosen = [by_page[band // many].samples for band in bands]
    if any(band % many >= len(array) for band, array in zip(bands, chosen, strict=True)):
        raise Unreadable("its pages differ in bands", "choose data.bands of one page")
    samples = np.stack([array[band % many] for band, array in zip(bands, chosen, strict=True)])
    is_white_zero = any(found.is_white_zero for found in by_page.values())
    return Values(samples=samples, is_white_zero=is_white_zero, turn=by_page[bands[0] // many].turn)


def _by_pillow(path: Source, bands: Sequence[int], many: int, max_pixels: int | None) -> Values | None:
    """Return the page's values with these bands, unconverted, if Pillow reads these as they are."""
    page = bands[0] // many

    def work(image: Image.Image) -> Values | None:
        assert isinstance(image, TiffImagePlugin.TiffImageFile), "it has the tags of one"
        if page >= image.n_frames:
            raise _no_band(max(bands), image.n_frames * many)
        image.seek(page)
        kept = image.mode in ("1", "L", "I", "F", "RGB", "RGBA") or image.mode.startswith("I;16")
        raw = _rawmode(image).partition(";16")[0]
        if image.mode in ("RGB", "RGBA"):
            kept = raw == image.mode
        if many > 1:  # else they lie in no other way
            kept = kept and image.tag_v2.get(_PLANAR, 1) == 1
        if not kept or max(bands) % many >= len(image.getbands()):
            return None
        if image.mode in ("RGB", "RGBA") and opening.is_deep(image):
            return _both_halves(path, image, max_pixels, page)
        return of_image(image)

    try:
        return opening.use(path, work, max_pixels)
    except opening.Unknown:
        return None


def _decoded(page: Any) -> Array:
    try:
        array: Array = page.asarray()
    except ValueError as problem:
        if "imagecodecs" not in str(problem):
            raise
        raise Unreadable(str(problem), "pip install 'smalti[tiff]'") from None
    return array


def _by_tifffile(path: Source, bands: Sequence[int], many: int, max_pixels: int | None) -> Values:
    page = bands[0] // many
    with path.open("rb") as stream, tifffile().TiffFile(stream) as file:
        if page >= len(file.pages):
            raise _no_band(max(bands), len(file.pages) * many)
        found = file.pages[page]
        opening.check_size(found.imagelength * found.imagewidth, max_pixels)
        array, axes = _decoded(found), found.axes
        white_zero = int(found.photometric) == 0
        turn = TURNS.get(found.tags.valueof(opening.ORIENTATION), UPRIGHT)
    array = array.transpose(axes.index("S"), axes.index("Y"), axes.index("X")) if "S" in axes else array
    samples = array if array.ndim == 3 else array[None]
    if samples.ndim != 3:
        raise Unreadable(f"an array of {array.ndim} axes", "take it away")
    return Values(samples=_turned(samples, turn), is_white_zero=white_zero, turn=turn)
