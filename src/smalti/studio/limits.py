"""How much one request may ask for."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a request; beyond them it is refused before any work."""

    pixels: int = 2**21  # of an image that is drawn, or of those drawn together
    upload_pixels: int = 2**25  # of all images that a request brings, by their headers
    upload_bytes: int = 24 * 2**20  # of a request
    text: int = 2000  # characters of any text in a request
    num: int = 64  # images of a job
    micro_batch: int = 8  # images that are drawn together
    queue: int = 64  # jobs that wait, in all,
    queue_of_one: int = 24  # and of one client
    seconds: float = 1800.0  # of drawing, of one job
