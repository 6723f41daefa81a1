"""From a request to the arguments of a model's methods: images read, scaled and cut as the commands do it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from PIL import Image
from torch import Tensor

from smalti import from_image, imaging, masks
from smalti.conditions.protocol import Condition
from smalti.data.transforms import middle, middle_of_mask
from smalti.errors import UserError, shown
from smalti.pipeline import Pipeline
from smalti.reading.pixels import from_pil
from smalti.studio import asked, pictures
from smalti.studio.asked import OF_JOBS, Completing, Looking, Sampling
from smalti.studio.jobs import Jobs
from smalti.studio.models import Models
from smalti.tokenizer import Tokenizer

_APART = {"model", "condition", "options", "image", "mask", "keep", "at", "size", "cancel_when_closed"}


class Given(NamedTuple):
    """An image of a request."""

    image: Image.Image
    codes: Int64[Tensor, "h w"] | None = None  # of one that was drawn here,
    tokenizer: str = ""  # and whose they are, by its fingerprint


class Reader:
    """Reads the images that a request speaks of: data URLs, and the urls of images that jobs drew."""

    def __init__(self, jobs: Jobs, models: Models) -> None:
        self.jobs, self.models, self.limits = jobs, models, jobs.limits
        self.left = self.limits.upload_pixels  # that this request may still bring: many small files hold much

    def __call__(self, url: str) -> Given:
        """Return an image; UserError for what cannot be read or is too large, and for jobs of long ago."""
        if not url.startswith(OF_JOBS):
            found = pictures.image(url, self.left)
            self.left -= found.width * found.height
            return Given(found)
        id, _, name = url.removeprefix(OF_JOBS).partition("/images/")
        job, index = self.jobs.find(id), name.removesuffix(".png")
        if job is None or not index.isdecimal() or int(index) >= len(job.images):
            raise UserError("an image that a job of this studio drew", url[:80], "send it as a data URL")
        drawn, tokenizer = job.images[int(index)], self.models.pipeline(job.model).tokenizer
        return Given(pictures.load(drawn.png, self.limits.upload_pixels), drawn.codes, tokenizer.fingerprint)


def drawing(model: Pipeline, wish: Sampling, read: Reader) -> dict[str, Any]:
    """Return the options of Pipeline.iter_batches. UserError for more than a request may ask for."""
    size = model.crop_size if wish.size is None else wish.size
    asked.check_size(size, wish.num, wish.micro_batch, read.limits)
    found = {name: value for name, value in asdict(wish).items() if name not in _APART}
    _check_names("condition", wish.condition, [*model.condition.named, from_image.OPTION])
    _check_names("options", wish.options, [one.name for one in fields(model.prior.options)])
    found |= conditions(model, wish.condition, size, read) | wish.options
    if not isinstance(wish, Completing):
        return {**found, "size": size}
    given, mask = (
        read(wish.image),
        None if wish.mask is None else middle_of_mask(masks.read(read(wish.mask).image), size),
    )
    if wish.at is None:
        return {**found, "image": whole(model.tokenizer, given, size), "mask": mask, "keep": wish.keep}
    canvas, known = _grown(model.tokenizer, given, size, wish.at)
    if mask is not None:
        known &= masks.cells(mask, (known.shape[0], known.shape[1]), model.tokenizer.factor)
    return {**found, "image": canvas, "mask": ~known, "keep": wish.keep}


def _grown(
    tokenizer: Tokenizer, given: Given, size: tuple[int, int], at: tuple[int, int]
) -> tuple[Int64[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Return the codes of a canvas on which an image lies at a cell (row, column), and where it lies."""
    part = whole(tokenizer, given, None)
    codes = tokenizer.encode(part)[0] if part.is_floating_point() else part
    canvas = codes.new_zeros(size[0] // tokenizer.factor, size[1] // tokenizer.factor)
    known = torch.zeros(canvas.shape, dtype=torch.bool)
    (rows, columns), (top, left) = codes.shape, at
    if not (0 <= top <= len(canvas) - rows and 0 <= left <= canvas.shape[1] - columns):
        expected = "at as the row and column of a cell at which the image lies within the size"
        got = f"{top}, {left} of {len(canvas)} x {canvas.shape[1]} cells for one of {rows} x {columns}"
        raise UserError(expected, got, "give a larger size")
    canvas[top : top + rows, left : left + columns] = codes
    known[top : top + rows, left : left + columns] = True
    return canvas, known


def whole(
    tokenizer: Tokenizer, given: Given, size: tuple[int, int] | None
) -> Float[Tensor, "c H W"] | Int64[Tensor, "h w"]:
    """Return an image in [-1, 1], scaled until it just covers the size, of which the middle is taken.

    Of one that was drawn here its codes, where it has that size. size: None: its own, cut to whole cells.
    """
    if given.codes is not None and given.tokenizer == tokenizer.fingerprint:
        sides = tuple(side * tokenizer.factor for side in given.codes.shape)
        if size is None or sides == tuple(size):
            return given.codes
    pixels = from_pil(given.image, tokenizer.settings.pixels)
    if size is None:
        return imaging.to_float(imaging.crop_to_multiple(pixels, tokenizer.factor))
    return imaging.to_float(middle((pixels.shape[1], pixels.shape[2]), size).image(pixels))


def looking(tokenizer: Tokenizer, wish: Looking, read: Reader) -> Tensor:
    """Return the image of a request, or its codes, as `whole` does; UserError as there."""
    limits = read.limits
    if wish.size is not None:
        asked.check_size(wish.size, 1, 1, limits)
    found = whole(tokenizer, read(wish.image), wish.size)
    pixels = found.shape[-2] * found.shape[-1] * (1 if found.is_floating_point() else tokenizer.factor**2)
    if pixels > limits.pixels:
        expected = f"an image of at most {limits.pixels} pixels, or a size"
        raise UserError(expected, f"one of {pixels}", "give a size to which it is scaled")
    return found


def conditions(model: Pipeline, given: dict[str, Any], size: tuple[int, int], read: Reader) -> dict[str, Any]:
    """Return values of conditions by keyword, with the images in them."""
    return {name: _condition(model, name, value, size, read) for name, value in given.items()}


def _check_names(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    """UserError for a name that a model does not know there: an option in their place would be taken."""
    for name in given:
        if name not in known:
            raise UserError(f"{what} among {', '.join(known) or 'none'}", name[:80], "see /api/models")


def _condition(model: Pipeline, name: str, value: Any, size: tuple[int, int], read: Reader) -> Any:
    """Return the value of a condition; of images it is read, so that no path of a file stands for one."""
    known = model.condition.named.get(name)
    if name != from_image.OPTION and (known is None or known.settings.kind != "map"):
        asked.check_texts(value, read.limits)
        return value
    if isinstance(value, list):
        return [_condition(model, name, one, size, read) for one in value]
    if not isinstance(value, str):
        remedy = "send it as data:image/png;base64,..."
        raise UserError(f"an image for {name}", shown(value), remedy)
    image = read(value).image
    return image if known is None else _map(known, image, size)


def _map(condition: Condition, image: Image.Image, size: tuple[int, int]) -> Any:
    """Return a map as large as the canvas, in the way of the commands."""

    def fit(found: Tensor, filter: Any) -> Tensor | None:
        sides = (found.shape[2], found.shape[3])
        return None if sides == tuple(size) else middle(sides, size, filter).map(found[0])

    return condition.from_option(image, fit)
