"""What a request may say. Without torch, which the page does not wait for."""

import json
from dataclasses import field
from typing import Any

from smalti import config
from smalti.config import settings
from smalti.errors import UserError
from smalti.studio.limits import Limits

OF_JOBS = "/api/jobs/"  # with which the urls of images begin that jobs drew
_DEEP = 20  # lists within lists in a request


@settings
class Sampling:
    """New images. What is left out is as `smalti sample` has it, but for micro_batch, which is 1 here."""

    model: str
    num: int = 1
    seed: int = 0
    size: tuple[int, int] | None = None  # height and width in pixels; null: the training crop
    guidance_scale: float | dict[str, float] = 1.0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    stride: int = 1
    micro_batch: int = 1  # images drawn together; the same images come of the same number
    mix: float | str | None = (
        None  # of two values of a condition: share of the second, left-right, top-bottom
    )
    condition: dict[str, Any] = field(default_factory=dict)  # by keyword, see the model's conditions
    options: dict[str, Any] = field(default_factory=dict)  # of the model's prior, see its options
    cancel_when_closed: bool = False  # as soon as the last listener to its events is gone


@settings
class Completing(Sampling):
    """A part of an image drawn anew."""

    image: str  # a data URL, or the url of a job's image
    mask: str | None = None  # a data URL: white is drawn anew
    keep: str | float | None = None  # in place of a mask: top, left:0.25 ...
    # row and column of the cell of a larger canvas, of `size`, at which the image lies as it is: what lies
    # around it is drawn, and what the mask, one of the canvas, names; null: the image is scaled to the size
    at: tuple[int, int] | None = None


@settings
class Looking:
    """An image, to be encoded or reconstructed."""

    model: str
    image: str
    size: tuple[int, int] | None = None  # to which it is scaled and cut; null: its own, cut to whole cells
    condition: dict[str, Any] | None = None  # for the likelihood of each cell


@settings
class Decoding:
    """Codes, to be decoded."""

    model: str
    codes: list[list[int]]


def read(body: bytes, into: type[Any], limits: Limits) -> Any:
    """Return a request of JSON as one of these settings; UserError."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as problem:
        got = f"{len(body)} bytes ({problem})"[:200]
        raise UserError("a request in JSON", got, "see /api/openapi.json") from None
    if not isinstance(found, dict):
        raise UserError("a request as a JSON object", type(found).__name__, "see /api/openapi.json")
    check_texts(found, limits, urls=True)
    return config.parse(found, into, "request")


def check_size(size: tuple[int, int], num: int, micro_batch: int, limits: Limits) -> None:
    """Raise UserError for more than one request may ask for."""
    if num > limits.num:
        raise UserError(f"at most {limits.num} images of a request", str(num), "ask again for the others")
    if micro_batch > limits.micro_batch:
        got = str(micro_batch)
        raise UserError(f"micro_batch of at most {limits.micro_batch}", got, "leave micro_batch out")
    height, width = size
    if height * width * micro_batch > limits.pixels:
        together = f", {micro_batch} together" if micro_batch > 1 else ""
        expected = f"a size of at most {limits.pixels} pixels"
        raise UserError(expected, f"{height} x {width}{together}", "give a smaller size")


def check_texts(given: Any, limits: Limits, *, urls: bool = False, deep: int = _DEEP) -> None:
    """Raise UserError for a text that is too long, or too many lists in lists. urls: but for data URLs."""
    if deep == 0:
        raise UserError(f"at most {_DEEP} lists within lists", "more", "see /api/openapi.json")
    is_url = urls and isinstance(given, str) and given.startswith("data:image/")
    if isinstance(given, str) and len(given) > limits.text and not is_url:
        got = f"one of {len(given)}"
        raise UserError(f"texts of at most {limits.text} characters", got, "say it in fewer words")
    below = [*given, *given.values()] if isinstance(given, dict) else given if isinstance(given, list) else ()
    for one in below:
        if not isinstance(one, int):  # codes are many
            check_texts(one, limits, urls=urls, deep=deep - 1)
