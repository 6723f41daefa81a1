"""Image files that are cut off, damaged or lie about themselves: read, or refused in one line."""

import io
from functools import cache, partial
from pathlib import Path

import mutations
import numpy as np
import trials
from PIL import Image
from trials import refused

from smalti import imaging
from smalti.data.pixels import PixelSettings
from smalti.reading import labels
from smalti.reading.labels import LabelReading
from smalti.reading.pixels import PixelReading, open_pixels

_HEIGHT, _WIDTH = 5, 7
_LARGEST, _SMALL = 4000, 300  # bytes of a seed; of one that is cut at every byte
_MODES = {
    "RGB": 3,
    "L": 1,
    "RGBA": 4,
    "LA": 2,
    "CMYK": 4,
    "P": 1,
    "1": 1,
    "I;16": 1,
    "I": 1,
    "F": 1,
    "YCbCr": 3,
}
_READINGS = (
    None,
    PixelReading(bands="gray"),
    PixelReading(bands=(0,)),
    PixelReading(bands=(2, 0, 1), range=(0.0, 4095.0)),
    PixelReading(range=(-1.0, 1.0)),
)


@cache
def seeds() -> dict[str, bytes]:
    """Small images in each format that the house reads and Pillow writes, in each mode that it has."""
    Image.init()
    found = {}
    for suffix, name in sorted(Image.registered_extensions().items()):
        if suffix not in imaging.suffixes() or name not in Image.SAVE:
            continue
        for mode, bands in _MODES.items():
            made = _saved(name, mode, bands)
            if made is not None and len(made) <= _LARGEST and made not in found.values():
                found[f"{mode.replace(';', '')}{suffix}"] = made
    return found


def _saved(name: str, mode: str, bands: int) -> bytes | None:
    values = np.random.default_rng(bands).integers(0, 256, (_HEIGHT, _WIDTH, 4), np.uint8)
    image = Image.fromarray(values[..., :3]).convert("RGB")
    image = Image.fromarray(values[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    data = io.BytesIO()
    try:
        image.save(data, name)
    except (OSError, KeyError, ValueError):  # a mode that the format has not
        return None
    return data.getvalue()


def take(path: Path, number: int = 0) -> None:
    """Read a file in every way in which the house reads one; what is read is an image."""
    refused(partial(imaging.read_header, path))
    refused(partial(imaging.read_metadata, path))
    for how in (None, _READINGS[number % len(_READINGS)]):

        def read(how: PixelReading | None = how) -> None:
            pixels = open_pixels(path, how)
            assert pixels.ndim == 3
            assert 0 <= pixels.min() <= pixels.max() <= 255

        refused(read)
    refused(partial(labels.open_labels, path, LabelReading(merge={255: 0})))
    refused(partial(PixelSettings(range=(0.0, 1000.0)).values, path))


def made(number: int) -> bytes:
    """The input of a number."""
    rng = mutations.chance("images", number)
    data = list(seeds().values())
    return mutations.changed_bytes(rng, rng.choice(data), data)


@trials.counts(quick=220, slow=4000)
def test_damaged_images(count, tmp_path, record_property):
    path = tmp_path / "image.png"

    def work(number: int) -> None:
        path.write_bytes(made(number))
        take(path, number)

    trials.survive("images", (partial(work, number) for number in range(count)), record_property)


@trials.counts(quick=100, slow=10**9)
def test_images_cut_at_every_byte(count, tmp_path, record_property):
    path = tmp_path / "image.png"
    small = [data for data in seeds().values() if len(data) <= _SMALL]
    every = max(1, sum(map(len, small)) // count)

    def work(data: bytes, length: int) -> None:
        path.write_bytes(data[:length])
        take(path, length)

    places = [(data, length) for data in small for length in range(len(data))][::every]
    trials.survive("images cut", (partial(work, *place) for place in places), record_property)


@trials.corpus("images")
def test_what_once_failed(path):
    """Among them a drawing in PostScript under another name, which Pillow would hand to Ghostscript."""
    with trials.harmless():
        take(path)
        assert refused(partial(imaging.open_rgb, path)) is not None
