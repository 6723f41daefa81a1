"""Images in requests and answers: data URLs."""

import base64
import binascii
import io

from PIL import Image

from smalti import opening
from smalti.errors import UserError

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF")  # none that starts other programs


def image(url: str, most: int) -> Image.Image:
    """Return the image of a data URL, loaded; UserError for what cannot be read or is too large.

    most: pixels that it may have.
    """
    head, comma, text = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        expected = "an image as data:image/png;base64,..."
        raise UserError(expected, url[:40] or "nothing", "send the file so")
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as problem:
        raise UserError("an image in base64", str(problem), "send the file whole") from None
    return load(data, most)


def load(data: bytes, most: int) -> Image.Image:
    """Return the image in a file's bytes. How large it is its header says, before any pixel is decoded."""

    def loaded(found: Image.Image) -> Image.Image:
        if found.format not in FORMATS:
            raise opening.Unreadable(f"of format {found.format}", "send a PNG, a JPEG or a WebP")
        if found.width * found.height > most:
            raise opening.Unreadable(
                f"{found.width * found.height} pixels, above the limit of {most}", "reduce it"
            )
        found.load()
        return found

    with opening.readable("the image that was sent"):
        return opening.use(data, loaded)


def as_url(png: bytes) -> str:
    """Return a PNG as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def picture(image: Image.Image) -> str:
    """Return an image as a data URL, quickly rather than small."""
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=1)
    return as_url(data.getvalue())
