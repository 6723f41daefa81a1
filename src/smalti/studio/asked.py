"""What a request may say. Without torch, which the page does not wait for."""

import json
from collections.abc import Callable, Mapping
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
    _check_texts(found, limits, _DEEP)
    return config.parse(found, into, "request")


def check_size(size: tuple[int, int] | None, num: int, micro_batch: int, limits: Limits) -> None:
    """Raise UserError for more than one request may ask for."""
    if num > limits.num:
        raise UserError(f"at most {limits.num} images of a request", str(num), "ask again for the others")
    if micro_batch > limits.micro_batch:
        got = str(micro_batch)
        raise UserError(f"micro_batch of at most {limits.micro_batch}", got, "leave micro_batch out")
    height, width = size or (1, 1)
    if height * width > limits.pixels:
        expected = f"a size of at most {limits.pixels} pixels"
        raise UserError(expected, f"{height} x {width}", "give a smaller size")


def values(given: Any, read_image: Callable[[str], Any]) -> Any:
    """Return the values of conditions with each image in them read."""
    if isinstance(given, str) and given.startswith(("data:", OF_JOBS)):
        return read_image(given)
    if isinstance(given, list):
        return [values(one, read_image) for one in given]
    if isinstance(given, Mapping):
        return {name: values(one, read_image) for name, one in given.items()}
    return given


def _check_texts(given: Any, limits: Limits, deep: int) -> None:
    """Raise UserError for a text that is too long, images aside, or too many lists in lists."""
    if deep == 0:
        raise UserError(f"at most {_DEEP} lists within lists", "more", "see /api/openapi.json")
    if isinstance(given, str) and len(given) > limits.text and not given.startswith("data:image/"):
        got = f"one of {len(given)}"
        raise UserError(f"texts of at most {limits.text} characters", got, "say it in fewer words")
    if isinstance(given, dict):
        _check_texts(list(given), limits, deep - 1)
    below = given.values() if isinstance(given, dict) else given if isinstance(given, list) else ()
    for one in below:
        if not isinstance(one, int):
            _check_texts(one, limits, deep - 1)
