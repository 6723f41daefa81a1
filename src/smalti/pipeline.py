"""What a user holds: a tokenizer, a condition and a prior that lay new images together."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from smalti import from_image, masks, precision
from smalti.conditions import CONDITIONS, ConditionSettings
from smalti.conditions.context import Context, Prefix
from smalti.conditions.protocol import Condition
from smalti.config import Positive, settings
from smalti.drawing.batches import split
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.loop import Pass, passes
from smalti.drawing.request import OPTIONS, Request, apart, needed, sides, unknown
from smalti.drawing.told import Place, Told, recorded, tell
from smalti.errors import UserError
from smalti.priors import PRIORS, PriorSettings
from smalti.priors.layers import pack
from smalti.priors.protocol import Nats
from smalti.samples import Samples
from smalti.sizes import listed
from smalti.tokenizer import Tokenizer
from smalti.tokenizer.given import only_one, read_codes, read_images_or_codes
from smalti.tokenizer.use import by_pieces, in_use
from smalti.upscaling import Upscaling

Grid = tuple[Positive, Positive]
BATCH = 16  # images together unless micro_batch says otherwise: bounds the memory of caches


@settings
class PipelineSettings:
    """What a prior was trained for; all of it but `prior` is fixed by its data."""

    prior: PriorSettings
    condition: ConditionSettings
    order: str = "row"  # in which cells are generated, a name in ORDERS
    # rows and columns of cells of a training crop = of the sampling window; of several sizes, those of each
    grid: Grid | tuple[Grid, ...]

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Return rows and columns of each size, the one that is drawn unless another is asked for first."""
        return listed(self.grid)


class Pipeline(Upscaling):
    """Draws images, completes them, and says how likely they are.

    All methods run without gradients and without dropout; modules keep the mode they are in. Conditions are
    given by the name that the model was trained with (label=...), one value for all images or a sequence of
    one for each; a missing or another name is a UserError.

    In half precision large priors draw faster where the device has it (`smalti.load` with dtype=); scores
    change by rounding. Prior and tokenizers need not have the same type: what passes between them is codes.
    """

    kind = "generator"  # as folders have called it from the first

    def __init__(
        self, settings: PipelineSettings, tokenizer: Tokenizer, part: nn.Module | None = None
    ) -> None:
        """part: of the condition, where it has one that was trained before: the tokenizer of its maps."""
        super().__init__()
        self.settings, self.tokenizer = settings, tokenizer
        member = CONDITIONS[settings.condition.kind][1]
        self.condition: Condition = member(settings.condition, tokenizer, part)
        self.prior = PRIORS[settings.prior.kind][1](settings.prior, self._scoped())

    def logits(self, codes: Int64[Tensor, "b h w"] | Any, **condition: Any) -> Float[Tensor, "b n v"]:
        """Return logits of the codes of training crops, n = h w in the prior's own order (teacher forcing).

        Row i scores code i given the condition and the codes before it in that order, or none where it has
        none. v may be more than the codebook holds, for models whose prefix and codes share one table.
        """
        given = read_codes(self.tokenizer, codes)
        grid = self._of_crop(given)
        context = self._context(condition, num=len(given), grid=grid)
        with in_use(self):
            return self.prior.at(grid)(*self._sequence(given, context))

    def nats_per_token(self, images_or_codes: Any, **condition: Any) -> float:
        """Return the mean of -ln p(code | condition, codes before it), over images or over their codes.

        Of a prior that knows no more it is an upper bound, see `nats`; UserError if it knows none.
        images_or_codes: images as `Tokenizer.images` takes them, or codes (b h w), whole numbers of more
        than a byte; both of the size of a training crop. A model that has learned nothing gives
        ln(codebook_size).
        """
        found = self.nats(images_or_codes, **condition)
        if found is None:
            raise UserError("a prior with a likelihood", self.settings.prior.kind, "ask another model")
        return found.total / found.tokens

    def nats(self, images_or_codes: Any, **condition: Any) -> Nats | None:
        """Return -ln p of all codes together, or what the prior knows of it; as `nats_per_token` is asked.

        None: the prior knows nothing of it.
        """
        images = read_images_or_codes(self.tokenizer, images_or_codes)
        grid = self._of_crop(images)
        context = self._context(condition, num=len(images), grid=grid)
        total, tokens, is_bound = 0.0, 0, False
        with in_use(self):
            for rows in split(len(images), BATCH, self.order.device, padded=False):
                part = images[rows.to(images.device)]
                codes = part.to(rows.device)
                if codes.is_floating_point():
                    codes = self.tokenizer.encode(codes, is_checked=True)
                found = self.prior.at(grid).nats(*self._sequence(codes, context.take(rows)))
                if found is None:
                    return None
                total, tokens, is_bound = total + found.total, tokens + found.tokens, found.is_bound
        return Nats(total, tokens, is_bound)

    def sample(
        self,
        num: int | Any = None,
        size: tuple[int, int] | int | str | Any = None,
        seed: int | Any = 0,
        temperature: float | Any = 1.0,
        top_k: int | Any = None,
        top_p: float | Any = None,
        guidance_scale: float | Mapping[str, float] | Any = 1.0,
        stride: int | Any = 1,
        min_p: float | Any = None,
        micro_batch: int | Any = None,
        speculative: int | Any = 1,
        progress: bool | Callable[[int, int], object] | Any = False,
        mix: float | str | Tensor | Any = None,
        **condition: Any,
    ) -> Samples:
        """Draw num new images; image i uses seed + i and does not depend on the others.

        num: None is one, or as many as there are values in the sequence that is given as the condition.
        size: (height, width) in pixels, or one number for both; multiples of the factor, from the training
        crop up (any with a prior of kind neighbourhood); None: that crop.
        temperature, top_k, top_p, min_p: see `Choice`; greedy is top_k=1.
        guidance_scale: s in u + s (c - u); 1 is off, above 1 keeps closer to the condition. Of several
        conditions a number is for all together, {"label": 3, "map": 1.5} for each: see `drawing.told`.
        stride: cells by which the window moves over a canvas larger than the training crop, from 1, the rule
        of arXiv:2012.09841, to half the crop: faster, as keys and values are kept while the window stands
        still; every cell keeps half a window above and to its left. On a canvas of one crop it changes
        nothing. A prior of kind neighbourhood has no window: 1 only.
        micro_batch: images drawn together; all batches get this size, the last one filled up. So image i
        is the same to the last bit whatever num is. None: at most 16, and the same up to rounding: where two
        codes are nearly equally likely, another batch size may choose the other one.
        speculative: up to so many cells of an image are drawn in a pass, where a window stands still and that
        pays; the same images up to rounding, also with micro_batch. 1 is off. On a CPU it pays for images
        drawn singly (num or micro_batch of 1): 8 took 0.7 of the time with a small trained prior.
        progress: show a bar with rate and time left, on stderr; or a function that is told each time cells
        are drawn: how many there are in all, and how many more are drawn.
        mix: the share of the second of two values, label=["brick", "moon"], from 0 to 1 or (h w) for each
        cell; "left-right" or "top-bottom" from all of the first at one side to all of the second.
        condition: label=, map= ..., and what the prior's kind takes besides, see its `options`. from_image=:
        an image that the map is computed of, for models that were trained so.
        """
        asked = {name: value for name, value in locals().items() if name in OPTIONS}
        return Samples.joined(list(self._batches(None, {**asked, **condition}, streamed=False)))

    def complete(
        self,
        image: Image.Image | str | Path | Tensor | Any,
        mask: Any = None,
        keep: float | str | Any = None,
        **options: Any,
    ) -> Samples:
        """Draw a part of an image anew, num times; what is kept keeps the codes that the whole image has.

        image: one image as `Tokenizer.images` takes it, or its codes (h w); its sides are multiples of the
        factor, from the training crop up. What is kept comes back as its codes tell it.
        mask: what is drawn anew, see `masks.read`: a Pillow image, a path, an array or bool (h w) of the
        image's pixels or of its cells; a cell is drawn anew whole where any of its pixels is.
        keep: in place of a mask, the share of rows from the top, or "top", "bottom", "left", "right" or
        "centre", with a share as in "left:0.25"; see `masks.side`. None: the upper half.
        options: those of `sample`, but for size; and the condition.
        """
        return Samples.joined(list(self._batches((image, mask, keep), options, streamed=False)))

    def iter_samples(self, num: int | Any = None, **options: Any) -> Iterator[Image.Image]:
        """Draw as `sample` does, and give each image as soon as its batch is drawn, for work of hours.

        options: as in `iter_batches`.
        """
        return (image for part in self.iter_batches(num, **options) for image in part)

    def iter_batches(
        self,
        num: int | Any = None,
        *,
        image: Any = None,
        mask: Any = None,
        keep: Any = None,
        **options: Any,
    ) -> Iterator[Samples]:
        """Draw as `sample` does, or where an image is given as `complete` does, batch by batch.

        A batch has micro_batch images, or as many as memory is planned for. Between two of them nothing of
        the model is changed. options: those of `sample`, the condition, and wanted, see `drawing.request`:
        which batches are drawn.
        """
        given = None if image is None and mask is None and keep is None else (image, mask, keep)
        return self._batches(given, {"num": num, **options}, streamed=True)

    def iter_passes(self, num: int | Any = None, **options: Any) -> Iterator[Pass | Samples]:
        """Draw as `iter_batches` does, and give before each batch, pass by pass, what is laid of it.

        Whoever goes on no further ends the drawing there; several can be drawn by turns.
        """
        image, mask, keep = (options.pop(name, None) for name in ("image", "mask", "keep"))
        given = None if image is None and mask is None and keep is None else (image, mask, keep)
        return self._drawn(given, {"num": num, **options}, streamed=True, by_pass=True)

    def _batches(
        self, given: tuple[Any, Any, Any] | None, options: Mapping[str, Any], *, streamed: bool
    ) -> Iterator[Samples]:
        """Check all that is asked for, see `_drawn`, and give what draws it batch by batch."""
        return cast("Iterator[Samples]", self._drawn(given, options, streamed=streamed))

    def _drawn(
        self,
        given: tuple[Any, Any, Any] | None,
        options: Mapping[str, Any],
        *,
        streamed: bool,
        by_pass: bool = False,
    ) -> Iterator[Pass | Samples]:
        """Check all that is asked for, and give what draws it batch by batch, or also pass by pass.

        given: image, mask and keep as in `complete`; None: new images.
        """
        others = {name: value for name, value in options.items() if name not in OPTIONS}
        how, condition = apart(others, self.prior.options)
        asked = _DEFAULTS | {name: value for name, value in options.items() if name in OPTIONS}
        factor, size = self.tokenizer.factor, asked["size"]
        if given and size is not None:
            raise unknown("size", OPTIONS, tuple(self.condition.named))
        image = only_one(read_images_or_codes(self.tokenizer, given[0])) if given else None
        shape = self.crop_size if size is None else sides(size)
        if image is not None:
            each = 1 if image.is_floating_point() else factor  # of codes: pixels a side
            shape = image.shape[-2] * each, image.shape[-1] * each
        condition, seen = from_image.replaced(condition, self.condition, self.tokenizer, (shape[0], shape[1]))
        request = Request.of({**asked, "num": self._num(asked, condition)})
        grid = self._grid(request, (shape[0], shape[1]))
        request.check_room(grid, factor, streamed=streamed)
        none = torch.zeros(grid, dtype=torch.bool)
        known = masks.known(given[1], given[2], grid, factor) if given else none
        with needed(1, grid, factor):
            start = self.order.new_zeros(1, *grid)
            if image is not None:
                start = image.to(start.device)
                start = self.tokenizer.encode(start, is_checked=True) if start.is_floating_point() else start
            self._known(condition, OPTIONS)
            place = Place(num=request.num, grid=grid, window=self._window(grid), device=start.device)
            told = tell(self.condition, condition, request.guidance_scale, request.mix, place)
        metadata = {"model": self.fingerprint, "height": grid[0] * factor, "width": grid[1] * factor}
        metadata |= {**masks.recorded(known, request.num), **asdict(how)}
        metadata |= precision.recorded(prior=self.dtype, tokenizer=self.tokenizer.dtype)
        metadata |= recorded(self.condition, condition, request.mix, request.num)
        if (pixels := self.tokenizer.settings.pixels) is not None and pixels.range is not None:
            metadata["range"] = [list(pixels.range)] * request.num  # of lists one is taken for each image
        return self._parts(request, how, start, known, told, {**metadata, **seen}, by_pass)

    def _sequence(self, codes: Tensor, context: Context) -> tuple[Tensor, Prefix]:
        """Return codes of training crops in the prior's order, and the prefix of their condition."""
        return self.sequence(codes.to(self.order.device)), context.window(0, 0, *codes.shape[1:])

    @property
    def classes(self) -> tuple[str | int, ...]:
        """Return the classes that the condition takes, by name, or by number where they have no names.

        Or none.
        """
        told = self.settings.condition
        return tuple(getattr(told, "names", ())) or tuple(range(getattr(told, "classes", 0)))

    @property
    def dtype(self) -> torch.dtype:
        """Return what the prior is kept in; tokenizers say it themselves."""
        return next(self.prior.parameters()).dtype

    def _grid(self, request: Request, size: tuple[int, int]) -> tuple[int, int]:
        """Return the cells of a size in pixels, if this model can draw it as asked."""
        (height, width), factor = size, self.tokenizer.factor
        if height % factor or width % factor:
            near = [max(1, round(side / factor)) * factor for side in size]
            remedy = f"the next size is {near[0]} x {near[1]}"
            raise UserError(f"sides that are multiples of {factor} pixels", f"{height} x {width}", remedy)
        grid = height // factor, width // factor
        self.prior.at(self.trained(grid)).check(request, grid, factor)
        return grid

    def _num(self, asked: Mapping[str, Any], condition: Mapping[str, Any]) -> Any:
        """Return how many images: as many as are asked for, or as there are values of the condition."""
        if asked["num"] is not None:
            return asked["num"]
        return (asked["mix"] is None and self.condition.count(self.condition.asked(condition))) or 1

    def _known(self, condition: Mapping[str, Any], options: Sequence[str] = ()) -> None:
        """UserError for a keyword that is no condition. options: of the method, beside the condition."""
        for other in condition:
            if other not in self.condition.named:
                names = tuple(self.condition.named)
                raise unknown(other, options, names, own=self.prior.options if options else None)

    def _context(self, condition: Mapping[str, Any], *, num: int, grid: tuple[int, int]) -> Context:
        """Return the condition, encoded; a missing or wrong value is an error of the condition itself."""
        self._known(condition)
        value = self.condition.asked(condition)
        return self.condition.context(value, num=num, grid=grid, device=self.order.device)

    def _parts(
        self, request: Request, how: Any, start: Tensor, known: Tensor, told: Told, made: Any, by_pass: bool
    ) -> Iterator[Pass | Samples]:
        """Settle which canvases are drawn together, and give what draws them.

        how: the prior's own options. made: metadata of all images, see Request.metadata.
        """
        grid = (known.shape[0], known.shape[1])
        trained = self.trained(grid)
        template = Canvas(
            codes=start,
            known=known,
            seeds=start.new_tensor([request.seed]),
            window=self._window(grid),
            order=self.order_of(trained),
            stride=request.stride,
            shift=self.condition.shift,
            choice=request.choice,
            speculative=request.speculative,
            how=how,
        )
        contexts = -(-len(told) // 2)  # one guided condition is two
        rows_each = self.prior.at(trained).rows(template) * contexts
        size = request.micro_batch or max(1, BATCH // rows_each)
        batches = split(request.num, size, start.device, padded=request.micro_batch is not None)
        return self._laid(request, template, told, request.chosen(batches, made), made, by_pass)

    def _laid(
        self, request: Request, template: Canvas, told: Told, batches: Any, made: Any, by_pass: bool
    ) -> Iterator[Pass | Samples]:
        """Give the images of all canvases, batch by batch, of which each knows the number of its first."""
        grid = (template.known.shape[0], template.known.shape[1])
        padded, trained = request.micro_batch is not None, self.trained(grid)
        total = template.known.numel() * sum(len(rows) for _, rows in batches)
        listener = request.progress if callable(request.progress) else None
        with tqdm(total=total, disable=request.progress is not True, unit=" cells") as bar:
            for first, rows in batches:
                canvas = replace(
                    template,
                    codes=template.codes.expand(len(rows), -1, -1),
                    seeds=rows + request.seed,
                    progress=partial(listener, total) if listener else bar.update,
                )
                part = told.take(rows)
                guided = Guided(part.weighted, null=part.null, limit=self.tokenizer.codebook_size)
                with needed(len(rows), grid, self.tokenizer.factor):
                    begin = partial(self._begun, guided, canvas, trained)
                    if by_pass:
                        for there in by_pieces(self, begin):
                            yield there
                    else:
                        with in_use(self), torch.inference_mode():
                            *_, there = begin()
                    guided.check()
                    codes = there.codes.clone()  # an ordinary tensor, of use to gradients
                codes = codes[: request.num - first]
                how = [request.metadata(first + index, made) for index in range(len(codes))]
                together = request.micro_batch or len(codes)
                yield Samples(self.tokenizer, codes, how, batch=together, padded=padded)

    def _begun(self, guided: Guided, canvas: Canvas, trained: Grid) -> Iterator[Pass]:
        """Return what draws a batch of canvases."""
        decoder = pack(self.prior.at(trained)).decoder(guided, canvas)
        return passes(decoder, canvas, self.prior.distribution)


def tokenizer_of(model: Tokenizer | Pipeline) -> Tokenizer:
    """Return the tokenizer that a model is, or draws with."""
    return model.tokenizer if isinstance(model, Pipeline) else model


_DEFAULTS = {  # of the options that are written once, in the signature of `sample`
    name: option.default
    for name, option in inspect.signature(Pipeline.sample).parameters.items()
    if name in OPTIONS
}
