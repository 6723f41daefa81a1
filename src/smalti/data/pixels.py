"""How a reader's images are opened: the settings that all readers of images share."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np

from smalti import opening
from smalti.config import Positive, settings
from smalti.errors import UserError
from smalti.exif import Turn
from smalti.files import evenly
from smalti.opening import Source
from smalti.reading import values
from smalti.reading.huge import Huge
from smalti.reading.pixels import Bands, PixelReading, Pixels, check_range, open_turned

LOOKED_AT = 64  # files whose values are looked at: of more, evenly chosen ones
TAKEN = 2**16  # values of each, evenly over it

S = TypeVar("S", bound="PixelSettings")


@settings
class Percentiles:
    """Black and white as percentiles of the data's values: found at the start of a training, then numbers."""

    percentiles: tuple[float, float]

    def __post_init__(self) -> None:
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            expected, got = "data.range.percentiles from 0 to 100, the smaller first", str(self.percentiles)
            raise UserError(expected, got, "data.range='{percentiles: [0.5, 99.5]}'")


@settings
class PixelSettings:
    """What the values in the files are; a tokenizer that is trained on them keeps the first two."""

    # values that become black and white: two numbers, or {percentiles: [0.5, 99.5]} of the data; None: 0 and
    # the highest that 8 or 16 bits hold
    range: tuple[float, float] | Percentiles | None = None
    # of a file, by number from 0, that become the channels, counted through the pages of a TIFF; gray: one
    # channel of light; None: as network.in_channels has it, for 3 red, green and blue, transparency on white
    bands: Bands | Literal["gray"] | None = None
    max_pixels: Positive | None = None  # of an image: others are refused; None: what Pillow opens, 178956970

    def __post_init__(self) -> None:
        if not isinstance(self.range, Percentiles):
            check_range(self.range)

    @property
    def reading(self) -> PixelReading | None:
        """Return the same for a model to keep; None: as ever."""
        assert not isinstance(self.range, Percentiles), "percentiles are settled first"
        if self.range is None and self.bands is None:
            return None
        return PixelReading(range=self.range, bands=self.bands)

    @property
    def channels(self) -> int:
        """Return the channels of an image; 0: as many as the network asks for."""
        return 0 if self.bands is None else PixelReading(bands=self.bands).channels

    @property
    def contents(self) -> dict[str, int]:
        """Return what can be rebuilt of such data, each with its channels.

        0: as many as the network asks for.
        """
        return {"image": self.channels}

    def reads(self) -> dict[str, Any]:
        """Return these settings alone, for those of another reader."""
        return {"range": self.range, "bands": self.bands, "max_pixels": self.max_pixels}

    def open(self, path: Source) -> Pixels | Huge:
        """Return an image's pixels.

        Of one above Pillow's limit, if it is allowed, what opens a part of it.
        """
        return self.open_turned(path)[0]

    def open_turned(self, path: Source) -> tuple[Pixels | Huge, Turn]:
        """Return what `open` does, and how the stored raster was turned, for what describes that raster."""
        how = self.reading
        if self.max_pixels is not None and self.max_pixels > opening.LIMIT:
            numbers = how.bands if how is not None and isinstance(how.bands, tuple) else None
            header = values.read_header(path, numbers, self.max_pixels)
            if header.height * header.width > opening.LIMIT:
                return Huge(path, header, how, self.max_pixels), header.turn
        return open_turned(path, how, self.max_pixels)

    def values(self, path: Source) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return some of a file's values as they stand there, of the bands that are read; UserError."""
        bands = self.bands if isinstance(self.bands, tuple) else None
        with opening.readable(path):
            found = values.read(path, bands, self.max_pixels)
        samples = found.samples[:-1] if found.alpha else found.samples[:3] if bands is None else found.samples
        every = max(1, int((samples.size / TAKEN) ** 0.5))  # rows and columns alike
        taken = samples[:, ::every, ::every].astype(np.float64)
        return taken[np.isfinite(taken)]


def with_numbers(found: S, paths: Sequence[Source]) -> S:
    """Return settings in which percentiles are numbers, those of up to 64 files.

    UserError if none can be read.
    """
    if not isinstance(found.range, Percentiles):
        return found
    taken, problem = [], None
    for path in evenly(paths, LOOKED_AT):
        try:
            taken.append(found.values(path))
        except UserError as mistake:
            problem = mistake
    if not taken or not sum(map(len, taken)):
        raise problem or UserError("images with values", "none", "give data.range as two numbers")
    low, high = np.percentile(np.concatenate(taken), found.range.percentiles).tolist()
    if not low < high:
        got = f"{low:g} for both in {len(taken)} files"
        raise UserError("data.range with two percentiles that differ", got, "give data.range as two numbers")
    return replace(found, range=(low, high))
