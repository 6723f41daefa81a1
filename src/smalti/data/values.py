"""What a person must know of the values in image files before a training: ranges, bands, pages."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.data.pixels import PixelSettings
from smalti.errors import UserError
from smalti.files import evenly
from smalti.opening import LIMIT, Header, Source

LOOKED_AT = 32  # files whose values are read
PIXELS = 2**26  # of all of them: a second or two
WHITE = 65535  # of whole numbers of more than 8 bits, unless data.range says otherwise
FLOATS = "floating point numbers have no known white"
_USED = 0.1  # of the range: below, images show next to nothing

Looked = Sequence[tuple[Source, Header]]


def remarks(how: PixelSettings, looked: Looked) -> list[str]:
    """Return lines, each with its remedy, on deep values, and on bands and pages that are not read.

    Files of 8 bits are not opened for it.
    """
    lines = _of_range(how, looked)
    if how.bands is None:
        lines += _of_bands(looked)
    elif how.bands != "gray":
        lacking = [header for _, header in looked if header.bands <= max(how.bands) and not header.has_pages]
        if lacking:
            lines.append(
                f"warning: {len(lacking)} files have no band {max(how.bands)}, they have {lacking[0].bands}, "
                f"and will be left out; {_taking(range(lacking[0].bands))} takes all of those"
            )
    paged = [header for _, header in looked if header.has_pages]
    if paged and not isinstance(how.bands, tuple):
        second = list(range(paged[0].bands, 2 * paged[0].bands))
        lines.append(
            f"warning: {len(paged)} files have pages beyond the first, which are not read; "
            f"bands are counted through the pages: {_taking(second)} takes the second page"
        )
    return lines


def is_float(header: Header) -> bool:
    """Return whether a file holds floating point numbers."""
    return header.mode == "F" or "float" in header.mode


def _of_bands(looked: Looked) -> list[str]:
    lines = []
    kinds = Counter((header.mode, header.bands) for _, header in looked)
    for (mode, bands), count in sorted(kinds.items()):
        if mode == "RGBA":
            more = f", and of {bands} bands the others are left out" if bands > 4 else ""
            lines.append(
                f"note: in {count} files the fourth band is taken as transparency and laid on white{more}; "
                f"if it is near infrared, or another one: {_taking(range(3))} leaves it out, "
                f"{_taking(range(bands))} takes it"
            )
        elif bands > 3 and mode == "RGB":
            lines.append(_left_out(count, bands, "the first three"))
        elif bands > 1 and mode[0] in "1LIF" and mode != "LA":
            lines.append(_left_out(count, bands, "the first"))
    return lines


def _left_out(count: int, bands: int, read: str) -> str:
    three = f", {_taking(range(3))} three" if bands > 3 else ""
    return (
        f"warning: {count} files have {bands} bands, of which {read} alone will be read; "
        f"{_taking(range(bands))} takes all{three}"
    )


def _taking(bands: Iterable[int]) -> str:
    """Return what to type for these bands in the training of a tokenizer."""
    words = [f"data.bands='{list(bands)}'"]
    many = words[0].count(",") + 1
    if many != 3:
        words.append(f"network.in_channels={many} network.out_channels={many}")
    if many not in (1, 3):
        words.append("losses.perceptual.weight=0.0")
    return " ".join(words)


@dataclass(frozen=True)
class _Found:
    """Values of some files."""

    taken: Any  # of all of them
    files: int
    are_floats: bool

    @property
    def limits(self) -> tuple[float, float]:
        return float(self.taken.min()), float(self.taken.max())


def _of_range(how: PixelSettings, looked: Looked) -> list[str]:
    wanted = [
        (path, header)
        for path, header in looked
        if (header.is_deep or how.range is not None) and header.height * header.width <= LIMIT
    ]
    found = _look(how, wanted)
    if found is None:
        return []
    least, most = found.limits
    what = "with data.range" if how.range is not None else "of more than 8 bits"
    line = f"values {what} in {len(wanted)} files ({found.files} looked at): {least:g} to {most:g}"
    if how.range is not None:
        black, white = how.reading.range  # type: ignore[union-attr,misc]  # there is one
        outside = ((found.taken < black) | (found.taken > white)).mean()
        return [f"{line}, {outside:.1%} outside data.range {black:g} to {white:g}"]
    remedy = f"data.range='{_suggested(found)}'"
    if found.are_floats:
        many = sum(is_float(header) for _, header in looked)
        which = "they are" if many == len(looked) else f"the {many} files with them are"
        return [line, f"warning: {FLOATS}, so {which} left out; {remedy}"]
    used = max(0.0, min(most, WHITE) - max(least, 0)) / WHITE
    wrong = []
    if used < _USED:
        wrong.append("less than a tenth of the range is used, so that images show hardly anything")
    if least < 0 or most > WHITE:
        part = ((found.taken < 0) | (found.taken > WHITE)).mean()
        wrong.append(f"{part:.1%} of the values lie outside and will be cut to black or white")
    line += f", {used:.1%} of the range 0 to {WHITE}"
    return [line, f"warning: {', and '.join(wrong)}; {remedy}"] if wrong else [line]


def _look(how: PixelSettings, wanted: Looked) -> _Found | None:
    if not wanted:
        return None
    each = sorted(header.height * header.width for _, header in wanted)[len(wanted) // 2]
    taken = []
    for path in evenly([path for path, _ in wanted], max(1, min(LOOKED_AT, PIXELS // max(1, each)))):
        try:
            taken.append(how.values(path))
        except UserError:  # it is skipped by name when its turn comes
            continue
    values = np.concatenate(taken) if taken else np.zeros(0)
    if not len(values):
        return None
    floats = any(is_float(header) for _, header in wanted)
    return _Found(values, len(taken), floats)


def _suggested(found: _Found) -> list[float]:
    """Return black and white for values like these.

    Of whole numbers from 0 the next that bits end with, if near.
    """
    black, white = found.limits
    if found.are_floats:
        near = black >= 0 and 0.5 < white <= 1
        black, white = (0.0, 1.0) if near else (float(f"{value:.4g}") for value in (black, white))
    else:
        full = 2 ** int(white).bit_length() - 1
        black, white = min(0, int(black)), int(white)
        white = full if black == 0 and white > 0.9 * full else white
    return [black, white if black < white else black + 1]  # where all values are one
