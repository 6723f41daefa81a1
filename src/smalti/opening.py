"""Opening an image file with Pillow: bounded, and with the reason where it cannot be read."""

import io
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from smalti import exif
from smalti.errors import UserError
from smalti.exif import BROKEN, UPRIGHT, Turn

T = TypeVar("T")
NO_IMAGES = {"MPEG", "EPS"}  # of what Pillow opens: films; programs, for which it would start Ghostscript
LIMIT = 178_956_970  # pixels that Pillow opens: twice its MAX_IMAGE_PIXELS
SAMPLES, SAMPLE_BITS, SAMPLE_FORMAT, PHOTOMETRIC, ORIENTATION = 277, 258, 339, 262, 274
DESCRIPTION = 270  # as these: tags of a TIFF

_REASON = 400  # characters of what Pillow says, in one line
_TEXT = 2**16  # bytes of a text in a PNG: longer ones are left out where Pillow finds them too long
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What an image file says about itself before its pixels are read."""

    height: int  # as it is seen, EXIF orientation applied
    width: int
    mode: str  # Pillow's name: RGB, L, P, CMYK, I;16, ...
    format: str  # JPEG, PNG, ...
    turn: Turn = UPRIGHT  # from how it is stored to how it is seen
    bands: int  # values a pixel; those of a palette's colours
    has_pages: bool = False  # of a TIFF: beyond the first
    is_deep: bool = False  # values of more than 8 bits


class Member(ABC):
    """A file within another one: it is opened as a path is, and called by both names."""

    archive: Path
    name: str  # within the archive, folders before it with /

    @abstractmethod
    def read_bytes(self) -> bytes:
        """Return what it holds; OSError, or Unreadable with what to do."""

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Return it open for reading."""
        assert mode == "rb", "what lies in an archive is only read"
        return io.BytesIO(self.read_bytes())

    def __str__(self) -> str:
        return f"{self.archive}: {self.name}"


Source = Path | Member  # an image file, wherever it lies


def source_of(given: str | Source) -> Source:
    """Return a path given as text as one; others as they are."""
    return Path(given) if isinstance(given, str) else given


class Unreadable(ValueError):
    """Why a sound file cannot be read, and what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


class Unknown(Unreadable):
    """A TIFF of a kind that Pillow does not read."""


@contextmanager
def readable(source: str | Source | Image.Image) -> Iterator[None]:
    """Within, whatever Pillow raises on a bad file is a UserError with its `name` and the reason."""
    try:
        yield
    except BROKEN as problem:
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        reason = " ".join(reason.split())[:_REASON]
        if isinstance(problem, UnidentifiedImageError):
            reason = "no format that Pillow knows"
        got = f"{name(source)} ({reason or type(problem).__name__})"
        remedy = getattr(problem, "remedy", "mend the file or take it away")
        raise UserError("an image that can be read", got, remedy) from None


def name(source: str | Source | Image.Image) -> str:
    """Return what an image is called in an error.

    By its path, which Pillow knows of what it opened itself.
    """
    if isinstance(source, Image.Image):
        return getattr(source, "filename", "") or "an image in memory"
    return str(source)


def use(source: Source | bytes, work: Callable[[Image.Image], T], max_pixels: int | None = None) -> T:
    """Return what `work` makes of an image, which is open while it runs, and not yet decoded.

    source: a file, or what one holds. max_pixels: those an image may have; None: Pillow's limit. A PNG's
    colour profile and texts do not keep it from being read, however long they are. Pillow's own settings
    are the whole process's: they stay as they are.
    """
    try:
        return _use(source, work, max_pixels)
    except ValueError as problem:
        if "MAX_TEXT" not in str(problem):
            raise
    data = source if isinstance(source, bytes) else source.read_bytes()
    return _use(_without_long_texts(data), work, max_pixels)


def check_size(pixels: int, max_pixels: int | None) -> None:
    """Raise Unreadable for an image of more pixels than it may have, see `use`, and for one without any."""
    most = max_pixels or LIMIT
    if pixels < 1:
        raise Unreadable("an image without pixels", "take it away")
    if pixels > most:
        remedy = f"reduce it, or allow such images (not maps) in training: data.max_pixels={pixels}"
        raise Unreadable(f"{pixels} pixels, above the limit of {most}", remedy)


def tiff_tags(source: Source | bytes) -> dict[int, Any] | None:
    """Return the tags of a TIFF's first page, also of one that Pillow does not read.

    None for another file.
    """
    with _stream(source) as stream:
        head = stream.read(8)
        if head[:4] not in TiffImagePlugin.PREFIXES:
            return None
        head += stream.read(8) if head[2] == 43 or head[3] == 43 else b""
        try:
            tags = TiffImagePlugin.ImageFileDirectory_v2(head)
            stream.seek(tags.next)
            tags.load(stream)
            return dict(tags)
        except BROKEN:  # a damaged one: Pillow says what is wrong
            return None


def is_deep(image: Image.Image) -> bool:
    """Return whether the values of an image's file have more than 8 bits, of which Pillow may keep but 8."""
    return image.mode[0] in "IF" or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())[:1])


def is_white_zero(image: Image.Image) -> bool:
    """Return whether a TIFF says that 0 is white.

    Pillow turns about what has up to 8 bits, and nothing else.
    """
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == 0


def header(image: Image.Image) -> Header:
    """Return what an opened image says about itself."""
    turn, (width, height) = exif.turn(image), image.size
    if image.format != "TIFF":  # whose size Pillow has turned already
        height, width = turn.size((height, width))
    bands, has_pages = len(image.getbands()), False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bands, has_pages = image.tag_v2.get(SAMPLES, bands), bool(image.tag_v2.next)
    return Header(
        height=height,
        width=width,
        mode=image.mode,
        format=image.format or "",
        turn=turn,
        bands=bands,
        has_pages=has_pages,
        is_deep=is_deep(image),
    )


def _use(source: Source | bytes, work: Callable[[Image.Image], T], max_pixels: int | None) -> T:
    with _stream(source) as stream:
        try:
            image: Image.Image = Image.open(stream)
        except Image.DecompressionBombError:
            image = _open_unbounded(stream)
        except UnidentifiedImageError:
            raise _unidentified(source) from None
        with image:
            if image.format in NO_IMAGES:
                raise Unreadable(f"{image.format}, which is no image of pixels", "convert it to PNG")
            pixels = image.width * image.height
            check_size(pixels, max_pixels)
            if pixels > LIMIT and isinstance(image, TiffImagePlugin.TiffImageFile):
                _loads_unbounded(image)
            return work(image)


def _stream(source: Source | bytes) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _open_unbounded(stream: Any) -> Image.Image:
    """Open as Image.open does, but for the limit, which is compared with a number of the whole process."""
    stream.seek(0)
    prefix = stream.read(16)
    Image.init()
    for name in Image.ID:
        factory, accept = Image.OPEN[name]
        accepted = accept(prefix) if accept else True
        if not accepted or isinstance(accepted, str):
            continue
        stream.seek(0)
        try:
            found: Image.Image = factory(stream, "")
        except Image.DecompressionBombError as problem:  # WebP looks for itself, before it asks for memory
            raise Unreadable(str(problem).rstrip("."), "write it as PNG or TIFF, or reduce it") from None
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
        return found
    raise UnidentifiedImageError


def _loads_unbounded(image: TiffImagePlugin.TiffImageFile) -> None:
    """Pillow 13 compares a TIFF with the process's limit again when it makes room for its pixels."""

    def prepare() -> None:
        image.im = Image.new(image.mode, getattr(image, "_tile_size", image.size), None).im
        ImageFile.ImageFile.load_prepare(image)

    image.load_prepare = prepare  # type: ignore[method-assign]


def _unidentified(source: Source | bytes) -> Exception:
    tags = tiff_tags(source)
    if tags is None:
        return UnidentifiedImageError()
    bands, bits = tags.get(SAMPLES, 1), tags.get(SAMPLE_BITS, (1,))[0]
    kind = {2: "signed numbers", 3: "floating point numbers"}.get(tags.get(SAMPLE_FORMAT, (1,))[0], "numbers")
    reason = f"a TIFF with {bands} bands of {kind} of {bits} bits, which Pillow does not read"
    first = "[0]" if bands < 3 else "[0, 1, 2]"
    ranged = "" if kind == "numbers" and bits <= 16 else " and data.range"
    every = f", or all: network.in_channels={bands} network.out_channels={bands}" if bands > 3 else ""
    return Unknown(reason, f"say in training which bands to take: data.bands='{first}'{ranged}{every}")


def _without_long_texts(data: bytes) -> bytes:
    """Return a PNG without its colour profile, which nobody asks for, and without long texts."""
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        text = data[at + 8 : at + 8 + length]
        if kind != b"iCCP" and not (kind in _TEXTS and _is_long(text)):
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def _is_long(text: bytes) -> bool:
    """Return whether a text is long, or would be: what may be deflated in it is inflated as far as that."""
    if len(text) > _TEXT:
        return True
    for start in (at for at, byte in enumerate(text[:400]) if byte == 0x78):  # a zlib stream begins so
        try:
            if len(zlib.decompressobj().decompress(text[start:], _TEXT + 1)) > _TEXT:
                return True
        except zlib.error:
            continue
    return False
