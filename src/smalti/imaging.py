"""Image files <-> tensors, resizing, grids, and PNG files that carry the metadata of their making."""

import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped, UInt8
from PIL import Image, ImageFile, PngImagePlugin
from torch import Tensor

from smalti import exif, opening
from smalti.errors import UserError
from smalti.exif import Turn
from smalti.opening import Header, Source, readable, source_of

METADATA = "smalti"  # the key of the metadata in a PNG's text and in PIL's `info`

Filter = Literal["bicubic", "bilinear", "nearest-exact"]


def is_image(path: str | Path) -> bool:
    """Return whether a file's suffix is that of an image, one of `suffixes`."""
    return Path(path).suffix.lower() in suffixes()


@lru_cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of every image format that Pillow reads by itself: ".jpg", ..., in lower case.

    Left out are formats that it only writes (PDF), only recognises (HDF5, GRIB, WMF), and those that are no
    images.
    """
    known = Image.registered_extensions()  # loads all of Pillow's plugins: not at import
    return frozenset(suffix for suffix, name in known.items() if _is_read(name))


def find_images(folder: str | Path) -> list[Path]:
    """Return all images in a folder and the folders below it, sorted; or the one image that a path names.

    Hidden files and folders (a name with a leading dot) are left out; links are followed. Raises
    UserError where there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if folder.is_file() and is_image(folder):
        return [folder]
    try:
        found = sorted(_walk(folder, above=()))
    except OSError as problem:
        raise UserError(
            "a folder of images", f"{folder} ({problem.strerror})", "check the path and its permissions"
        ) from None
    if not found:
        remedy = "give a folder that holds some (.jpg .png .webp .tif, or any other format that Pillow reads)"
        raise UserError(f"images in {folder}", "none", remedy)
    return found


def open_rgb(path: str | Source, max_pixels: int | None = None) -> UInt8[Tensor, "3 H W"]:
    """Return the pixels of an image file, 0 .. 255, RGB, turned as EXIF says.

    Gray becomes three equal channels, transparency is laid on white, 16-bit gray is divided by 257, CMYK and
    palettes are converted, of a film the first frame is taken; colour profiles are ignored, as in the 2021
    code. In memory channels may come last, which is what `resize` is fastest on. max_pixels: see opening.use.
    Raises UserError with the path for what cannot be read.
    """
    return open_turned(path, max_pixels)[0]


def open_turned(path: str | Source, max_pixels: int | None = None) -> tuple[UInt8[Tensor, "3 H W"], Turn]:
    """Open as `open_rgb`; return also how the stored raster was turned to be upright."""
    with readable(path):
        data = source_of(path).read_bytes()

        def read(image: Image.Image) -> tuple[Tensor, Turn]:
            if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
                pixels = decode_jpeg(data)
                if pixels is not None:
                    turn = exif.turn(image)
                    return turn.raster(pixels), turn
            turn = exif.load(image)
            return _pixels(image), turn

        return opening.use(data, read, max_pixels)


def open_pil(source: str | Source | Image.Image) -> Image.Image:
    """Return an image as Pillow has it, loaded, in its own mode; UserError with the path if it is none."""

    def read(image: Image.Image) -> Image.Image:
        image.load()
        return image

    with readable(source):
        return read(source) if isinstance(source, Image.Image) else opening.use(source_of(source), read)


def one_hot(labels: Int64[Tensor, "b H W"], classes: int) -> Float[Tensor, "b {classes} H W"]:
    """Return a channel a class: 1 where a label map has its number, else 0."""
    numbers = torch.arange(classes, device=labels.device)
    return (labels[:, None] == numbers[:, None, None]).float()


def colour_labels(labels: Int64[Tensor, "b H W"]) -> UInt8[Tensor, "b 3 H W"]:
    """Return label maps to look at.

    A colour for each class number, far from those of the numbers beside it.
    """
    # turns of the circle: multiples of the golden ratio spread
    hues = labels.double() * (math.sqrt(5) - 1) / 2
    waves = [torch.cos((hues - third / 3) * (2 * math.pi)) for third in range(3)]
    light = 0.5 + 0.25 * (labels % 3)  # three levels, so that hues which meet again differ
    return to_uint8((torch.stack(waves, 1) * 0.5 + light[:, None] - 0.75).float())


def from_pil(image: Image.Image) -> UInt8[Tensor, "3 H W"]:
    """Return the pixels of a Pillow image, of whatever mode, as `open_rgb` gives them."""
    with readable(image):
        return _pixels(image)


def read_header(path: str | Source, max_pixels: int | None = None) -> Header:
    """Return size, mode and format of an image file, undecoded; UserError with the path if it has none."""
    with readable(path):
        return opening.use(source_of(path), opening.header, max_pixels)


def to_float(pixels: Shaped[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Scale 0 .. 255 to [-1, 1] in fp32."""
    return pixels.float() / 127.5 - 1


def to_uint8(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Scale [-1, 1] to 0 .. 255: clipped, then rounded."""
    return ((images.float() + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)


def as_saved(images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b shown H W"]:
    """Return what a file of 8 bits holds of images in [-1, 1], of those channels that can be looked at."""
    return eight_bit(visible(images))


def eight_bit(images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
    """Return images in [-1, 1] with the values that 8 bits can hold: clipped and rounded, all channels."""
    return to_float(to_uint8(images))


def visible(images: Shaped[Tensor, "b c H W"]) -> Shaped[Tensor, "b shown H W"]:
    """Return those channels of images that can be looked at.

    The first three, as red, green and blue, or the first.
    """
    return images[:, : 3 if images.shape[1] >= 3 else 1]


def to_pil(images: Float[Tensor, "b c H W"] | UInt8[Tensor, "b c H W"]) -> list[Image.Image]:
    """Return images of one channel (gray) or three, in [-1, 1] or 0 .. 255, as Pillow's."""
    assert images.shape[1] in (1, 3), f"{images.shape[1]} channels are no image"
    pixels = to_uint8(images.detach()) if images.is_floating_point() else images
    arrays = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()  # b H W c
    return [Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array) for array in arrays]


def resize(
    images: Shaped[Tensor, "*b c H W"],
    size: tuple[int, int],
    filter: Filter = "bicubic",
    antialias: bool = True,
) -> Shaped[Tensor, "*b c new_H new_W"]:
    """Return images (.. c H W), uint8 on the CPU or float anywhere, at size (height, width).

    On uint8 within one level of Pillow's where the sides keep their ratio; on floats bicubic overshoots.
    antialias=False lets bicubic and bilinear alias when reducing, as OpenCV's do.
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    smooth = filter != "nearest-exact"
    flat = images.reshape(-1, *images.shape[-3:])
    resized = F.interpolate(
        flat,
        size=size,
        mode=filter,
        antialias=antialias and smooth,
        align_corners=False if smooth else None,
    )
    return resized.reshape(*images.shape[:-2], *size)


def crop_to_multiple(images: Shaped[Tensor, "*b c H W"], factor: int) -> Shaped[Tensor, "*b c new_H new_W"]:
    """Return images (.. c H W) cut at the right and the bottom to sides that are multiples of factor.

    Raises UserError for an image that has not even one multiple.
    """
    height, width = (side // factor * factor for side in images.shape[-2:])
    if height == 0 or width == 0:
        got = f"{images.shape[-2]} x {images.shape[-1]}"
        raise UserError(f"an image of at least {factor} x {factor} pixels", got, "enlarge it")
    return images[..., :height, :width]


def grid(images: UInt8[Tensor, "b c H W"], columns: int) -> UInt8[Tensor, "c rows_H columns_W"]:
    """Return images side by side in rows of `columns`; places left over are white."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = images.new_full((rows * columns, channels, height, width), 255)
    sheet[:count] = images
    tiles = sheet.reshape(rows, columns, channels, height, width)
    return tiles.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)


def below(sheets: Sequence[UInt8[Tensor, "c _ _"]]) -> UInt8[Tensor, "c H W"]:
    """Return sheets one below the other; what is left over beside narrower ones is white."""
    widest = max(sheet.shape[2] for sheet in sheets)
    return torch.cat([F.pad(sheet, (0, widest - sheet.shape[2]), value=255) for sheet in sheets], 1)


def save_png(
    path: str | Path,
    image: Image.Image | UInt8[Tensor, "c H W"],
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a PNG, whole or not at all, with its metadata (plain values) as JSON in the text chunk "smalti".

    metadata: None means those that a Pillow image carries in `info["smalti"]`. Makes the folder. Raises
    UserError for a file that exists, unless overwrite is set, and for another suffix than .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError("a name that ends in .png", str(path), f"write {path.with_suffix('.png').name}")
    data = png(image, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not overwrite:
        refuse_existing([path])
    write_whole(path, data)
    return path


def png(image: Image.Image | UInt8[Tensor, "c H W"], metadata: Mapping[str, Any] | None = None) -> bytes:
    """Return what such a file holds. metadata: as in `save_png`."""
    image = to_pil(image[None])[0] if isinstance(image, Tensor) else image
    text = image.info.get(METADATA) if metadata is None else json.dumps(dict(metadata))
    chunks = PngImagePlugin.PngInfo()
    if text is not None:
        chunks.add_text(METADATA, text)
    data = io.BytesIO()
    image.save(data, "PNG", pnginfo=chunks)
    return data.getvalue()


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata in a file that smalti wrote, a PNG or a TIFF; UserError where there are none."""
    with readable(path):
        described = (opening.tiff_tags(Path(path)) or {}).get(opening.DESCRIPTION)
        text = described or opening.use(Path(path), lambda image: image.info.get(METADATA))
    try:
        metadata = json.loads(text or "")
    except (TypeError, ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise UserError(
            "an image written by smalti, with its metadata", str(path), "give the file as it was saved"
        )
    return metadata


def save_all(
    images: Sequence[Image.Image] | Float[Tensor, "b c H W"], folder: str | Path, first: int = 0
) -> list[Path]:
    """Write images as 00000.png, 00001.png, ..., counted from `first`, with the metadata they carry.

    images: Pillow images, or a tensor in [-1, 1]. Raises UserError, with nothing written yet, if a name
    is taken.
    """
    images = to_pil(images) if isinstance(images, Tensor) else list(images)
    paths = [Path(folder) / f"{first + index:05}.png" for index in range(len(images))]
    refuse_existing(paths)
    for path, image in zip(paths, images, strict=True):
        save_png(path, image)
    return paths


def _is_read(name: str) -> bool:
    """Return whether Pillow gives the pixels of a format of this name."""
    if name not in Image.OPEN:
        return name == "MPO"  # which is opened as the JPEG that it begins with
    factory = Image.OPEN[name][0]
    recognised_only = isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    return name not in opening.NO_IMAGES and not recognised_only


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:  # a link back to a folder we are in
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, (*above, real))
            elif is_image(entry.name):
                yield folder / entry.name


def decode_jpeg(data: bytes, least: tuple[int, int] = (0, 0)) -> UInt8[Tensor, "3 H W"] | None:
    """Return the pixels of a JPEG as they are stored, 1.5 x as fast as Pillow gives them.

    least: height and width, of which a half, a quarter or an eighth of the image is decoded if it has
    them; (0, 0): the whole. None for what simplejpeg finds odd: Pillow judges, it allows more.
    """
    height, width = least
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)
        return torch.from_numpy(pixels).permute(2, 0, 1)
    except ValueError:
        return None


def _pixels(image: Image.Image) -> UInt8[Tensor, "3 H W"]:
    image.load()  # before EXIF is asked for: see exif.load
    if image.mode == "F":
        reason = "mode F: floating point numbers have no known white"
        raise opening.Unreadable(reason, "say in training what is black and white: data.range='[0.0, 1.0]'")
    if image.mode.startswith("I"):
        array = _from_16_bit(image)
    elif image.has_transparency_data:
        array = _on_white(np.asarray(image.convert("RGBA")))
    else:
        array = np.array(image.convert("RGB"))
    return exif.turn(image).raster(torch.from_numpy(array).permute(2, 0, 1))


def _from_16_bit(image: Image.Image) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Divide by 257: 65535 is 255, white stays white. Of mode I's 32 bits files use the same 16."""
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    values = 65535 - values if opening.is_white_zero(image) else values
    gray = ((values + 128) // 257).astype(np.uint8)
    if "transparency" in image.info:
        gray[values == image.info["transparency"]] = 255
    return np.stack([gray] * 3, axis=-1)


def _on_white(rgba: "np.ndarray[Any, np.dtype[np.uint8]]") -> "np.ndarray[Any, np.dtype[np.uint8]]":
    alpha = rgba[..., 3:].astype(np.uint16)
    blended = rgba[..., :3] * alpha + 255 * (255 - alpha)  # at most 255 * 255: fits
    return ((blended + 127) // 255).astype(np.uint8)


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raise UserError where one of these files exists."""
    taken = [path for path in paths if path.exists()]
    if taken:
        raise UserError("names that are free", f"{taken[0]}, which exists", "choose another folder or name")


def write_whole(path: Path, data: bytes) -> None:
    """To a temporary name, then renamed: whoever looks sees a whole file or none."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
