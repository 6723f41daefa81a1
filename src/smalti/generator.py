"""What a user holds: a tokenizer, a condition and a prior that lay new pictures together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from smalti import images, precision
from smalti.conditions import CONDITIONS, ConditionSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.protocol import Condition, Prompt
from smalti.config import Positive, settings
from smalti.drawing.batches import split
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.loop import draw
from smalti.drawing.request import OPTIONS, Request, apart, real, sides, unknown
from smalti.errors import UserError
from smalti.orders import order
from smalti.priors import PRIORS, PriorSettings
from smalti.priors.layers import drawing
from smalti.priors.protocol import Nats, Prior, Scope
from smalti.reading.pixels import PixelReading
from smalti.reading.writing import FileValues, file_values, to_pil
from smalti.tokenizer import Tokenizer
from smalti.tokenizer.given import read_codes, read_pictures
from smalti.tokenizer.use import in_use

BATCH = 16  # pictures together unless micro_batch says otherwise: bounds the memory of caches
PIXELS = 16 * 256 * 256  # decoded together, at least one picture: bounds the memory of the decoder


@settings
class GeneratorSettings:
    """What a prior was trained for; all of it but `prior` is fixed by its data."""

    prior: PriorSettings
    condition: ConditionSettings
    order: str = "row"  # in which cells are laid, a name in ORDERS
    grid: tuple[Positive, Positive]  # rows and columns of cells of a training crop = of the sampling window


class Generator(nn.Module):
    """Draws pictures, completes them, and says how likely they are.

    All methods run without gradients and without dropout; modules keep the mode they are in. Conditions are
    given by the name that the model was trained with (label=...), one value for all pictures or a sequence of
    one for each; a missing or another name is a UserError.

    In half precision large priors draw faster where the device has it (`smalti.load` with dtype=); scores
    change by rounding. Prior and tokenizers need not have the same type: what passes between them is codes.
    """

    prior: Prior
    order: Tensor

    def __init__(
        self, settings: GeneratorSettings, tokenizer: Tokenizer, condition_tokenizer: Tokenizer | None = None
    ) -> None:
        """condition_tokenizer: that of the maps, for a condition that has one of its own."""
        super().__init__()
        check_tokenizers(settings.condition, tokenizer, condition_tokenizer)
        self.settings, self.tokenizer, self.condition_tokenizer = settings, tokenizer, condition_tokenizer
        self.fingerprint = ""  # of the model folder it came from; see library.fingerprint
        member = CONDITIONS[settings.condition.kind][1]
        self.condition: Condition = member(settings.condition, condition_tokenizer or tokenizer)
        self.register_buffer("order", order(settings.order, *settings.grid), persistent=False)
        scope = Scope(
            codebook_size=tokenizer.codebook_size,
            prefix_vocabulary=self.condition.vocabulary,
            prefix_length=self.condition.length(settings.grid),
            cells=tuple(divmod(cell, settings.grid[1]) for cell in self.order.tolist()),
            order=settings.order,
        )
        self.prior = PRIORS[settings.prior.kind][1](settings.prior, scope)

    def sequence(self, codes: Int64[Tensor, "b h w"]) -> Int64[Tensor, "b n"]:
        """Codes of training crops in the prior's order. UserError for another grid than theirs."""
        if tuple(codes.shape[1:]) != self.settings.grid:
            expected = "codes of {} x {} cells, a training crop".format(*self.settings.grid)
            got = " x ".join(map(str, codes.shape[1:]))
            raise UserError(expected, got, "cut the codes or the pictures to the training crop")
        return codes.flatten(1)[:, self.order]

    def logits(self, codes: Int64[Tensor, "b h w"] | Any, **condition: Any) -> Float[Tensor, "b n v"]:
        """Scores of the codes of training crops, n = h w places in the prior's own order (teacher forcing).

        Row i scores code i given the condition and the codes before it in that order, or none where it has
        none. v may be more than the codebook holds, for models whose prefix and codes share one table.
        """
        laid = read_codes(self.tokenizer, codes)
        prompt = self._prompt(condition, num=len(laid), grid=self.settings.grid)
        with in_use(self):
            return self.prior(*self._sequence(laid, prompt))

    def nats_per_token(self, images_or_codes: Any, **condition: Any) -> float:
        """Return the mean of -ln p(code | condition, codes before it), over pictures or over their codes.

        Of a prior that knows no more it is an upper bound, see `nats`; UserError if it knows none.
        images_or_codes: pictures as `Tokenizer.pictures` takes them, or codes (b h w), whole numbers of more
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
        read = read_codes if _are_codes(images_or_codes) else read_pictures
        pictures = read(self.tokenizer, images_or_codes)
        prompt = self._prompt(condition, num=len(pictures), grid=self.settings.grid)
        total, tokens, is_bound = 0.0, 0, False
        with in_use(self):
            for rows in split(len(pictures), BATCH, self.order.device, padded=False):
                part = pictures[rows.to(pictures.device)]
                codes = part.to(rows.device)
                if codes.is_floating_point():
                    codes = self.tokenizer.encode(codes, is_checked=True)
                found = self.prior.nats(*self._sequence(codes, prompt.take(rows)))
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
        guidance: float | Any = 1.0,
        stride: int | Any = 1,
        output: str | Any = "pil",
        min_p: float | Any = None,
        micro_batch: int | Any = None,
        parallel: int | Any = 1,
        progress: bool | Callable[[int, int], object] | Any = False,
        **condition: Any,
    ) -> Any:
        """Draw num new pictures; picture i uses seed + i and does not depend on the others.

        num: None is one, or as many as there are values in the sequence that is given as the condition.
        size: (height, width) in pixels, or one number for both; multiples of the factor, from the training
        crop up (any with a prior of kind neighbourhood); None: that crop.
        temperature, top_k, top_p, min_p: see `Choice`; greedy is top_k=1.
        guidance: s in u + s (c - u); 1 is off, above 1 keeps closer to the condition.
        stride: cells by which the window moves over a canvas larger than the training crop, from 1, the rule
        of arXiv:2012.09841, to half the crop: faster, as keys and values are kept while the window stands
        still; every cell keeps half a window above and to its left. On a canvas of one crop it changes
        nothing. A prior of kind neighbourhood has no window: 1 only.
        output: "pil", a list of Pillow pictures that carry the facts of their making in info["smalti"];
        "stream", an iterator over the same pictures that gives each as soon as its batch is drawn, for work
        of hours; "values", as "stream" but in the numbers of the files that the model was trained on, all
        bits and bands, each with `save`; "tensor" (b c H W), around [-1, 1], not clipped; "codes" (b h w).
        micro_batch: pictures drawn together; all batches get this size, the last one filled up. So picture i
        is the same to the last bit whatever num is. None: at most 16, and the same up to rounding: where two
        codes are nearly equally likely, another batch size may choose the other one.
        parallel: up to so many cells of a picture are drawn in a pass, wherever its window stands still; the
        same pictures up to rounding, also with micro_batch. 1 is off. It pays most for pictures drawn singly
        (num or micro_batch of 1): 8 took 0.39 to 0.55 of the time with a small trained prior on a CPU.
        progress: show a bar with rate and time left, on stderr; or a function that is told each time cells
        are laid: how many there are in all, and how many more are laid.
        condition: label=, map= ..., and what the prior's kind takes besides, see its `options`.
        """
        asked = {"num": self._num(num, condition), "seed": seed, "temperature": temperature, "top_k": top_k}
        asked |= {"top_p": top_p, "guidance": guidance, "stride": stride, "output": output, "min_p": min_p}
        asked |= {"micro_batch": micro_batch, "parallel": parallel, "progress": progress}
        request = Request.of(asked)
        grid = self._grid(request, self.crop_size if size is None else sides(size))
        request.check_room(grid, self.tokenizer.factor)
        none = torch.zeros(grid, dtype=torch.bool)
        return self._answer(request, self.order.new_zeros(1, *grid), none, condition)

    def complete(
        self,
        image: Image.Image | str | Path | Tensor | Any,
        keep: float | Any = 0.5,
        num: int | Any = None,
        seed: int | Any = 0,
        temperature: float | Any = 1.0,
        top_k: int | Any = None,
        top_p: float | Any = None,
        guidance: float | Any = 1.0,
        stride: int | Any = 1,
        output: str | Any = "pil",
        min_p: float | Any = None,
        micro_batch: int | Any = None,
        parallel: int | Any = 1,
        progress: bool | Callable[[int, int], object] | Any = False,
        **condition: Any,
    ) -> Any:
        """Keep the upper part of a picture and draw the rest num times; other arguments as in `sample`.

        image: one picture as `Tokenizer.pictures` takes it; its sides are multiples of the factor, from the
        training crop up.
        keep: share of its rows of cells, rounded to whole ones, that keep the codes which the whole picture
        has; they come back as their codes tell them.
        """
        asked = {"num": self._num(num, condition), "seed": seed, "temperature": temperature, "top_k": top_k}
        asked |= {"top_p": top_p, "guidance": guidance, "stride": stride, "output": output, "min_p": min_p}
        asked |= {"micro_batch": micro_batch, "parallel": parallel, "progress": progress}
        request = Request.of(asked)
        share = real("keep", keep)
        if not 0 <= share <= 1:
            raise UserError("a share of rows in [0, 1] for keep", str(keep), "for example keep=0.5")
        picture = self.tokenizer.pictures(image)
        if len(picture) != 1:
            remedy = "complete pictures one after the other"
            raise UserError("one picture (c H W)", f"{len(picture)} of them", remedy)
        grid = self._grid(request, (picture.shape[2], picture.shape[3]))
        request.check_room(grid, self.tokenizer.factor)
        known = torch.zeros(grid, dtype=torch.bool)
        known[: round(share * grid[0])] = True
        with request.needed(1, grid, self.tokenizer.factor):
            start = self.tokenizer.encode(picture, is_checked=True)
        return self._answer(request, start, known, condition)

    def _sequence(self, codes: Tensor, prompt: Prompt) -> tuple[Tensor, Tensor]:
        """Codes of training crops in the prior's order, and the prefix of their condition."""
        return self.sequence(codes.to(self.order.device)), prompt.window(0, 0, *self.settings.grid)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of a training crop in pixels."""
        height, width = self.settings.grid
        return height * self.tokenizer.factor, width * self.tokenizer.factor

    @property
    def dtype(self) -> torch.dtype:
        """What the prior is kept in; tokenizers say it themselves."""
        return next(self.prior.parameters()).dtype

    def _grid(self, request: Request, size: tuple[int, int]) -> tuple[int, int]:
        """The cells of a size in pixels, if this model can draw it as asked."""
        (height, width), factor = size, self.tokenizer.factor
        if height % factor or width % factor:
            near = [max(1, round(side / factor)) * factor for side in size]
            remedy = f"the next size is {near[0]} x {near[1]}"
            raise UserError(f"sides that are multiples of {factor} pixels", f"{height} x {width}", remedy)
        grid = height // factor, width // factor
        self.prior.check(request, grid, factor)
        return grid

    def _window(self, grid: tuple[int, int]) -> tuple[int, int]:
        """The cells of a canvas that are described at once: a training crop, or a smaller canvas whole."""
        height, width = self.settings.grid
        return min(height, grid[0]), min(width, grid[1])

    def _num(self, num: Any, condition: Mapping[str, Any]) -> Any:
        """How many pictures: as many as are asked for, or as there are values of the condition."""
        if num is not None:
            return num
        return self.condition.count(condition.get(self.condition.argument or "")) or 1

    def _prompt(
        self, condition: Mapping[str, Any], *, num: int, grid: tuple[int, int], options: Sequence[str] = ()
    ) -> Prompt:
        """The condition, encoded; a missing or wrong value is an error of the condition itself.

        options: of the method, beside the condition.
        """
        name = self.condition.argument
        for other in condition:
            if other != name:
                raise unknown(other, options, name, own=self.prior.options if options else None)
        value = condition.get(name) if name else None
        return self.condition.encode(value, num=num, grid=grid, device=self.order.device)

    def _answer(self, request: Request, start: Tensor, known: Tensor, condition: Mapping[str, Any]) -> Any:
        """Draw what is unknown of the canvas `start` (1 h w), num times, in the form asked for."""
        grid = (known.shape[0], known.shape[1])
        how, condition = apart(condition, self.prior.options)
        with request.needed(1, grid, self.tokenizer.factor):
            prompt, null = self._prompt(condition, num=request.num, grid=grid, options=OPTIONS), None
            if request.guidance != 1:
                null = self.condition.null(num=request.num, grid=self._window(grid), device=start.device)
        parts = self._parts(request, how, start, known, prompt, null)
        if request.output in ("codes", "tensor"):
            return torch.cat(list(parts))
        height, width = (cells * self.tokenizer.factor for cells in grid)
        facts = {"model": self.fingerprint, "height": height, "width": width}
        facts |= {"rows_kept": int(known[:, 0].sum()), **asdict(how)}
        facts |= precision.recorded(prior=self.dtype, tokenizer=self.tokenizer.dtype)
        told = {name: self.condition.describe(value, num=request.num) for name, value in condition.items()}
        if (pixels := self.tokenizer.settings.pixels) is not None and pixels.range is not None:
            facts["range"] = [list(pixels.range)] * request.num  # of lists one is taken for each picture
        if request.output == "values":
            return _in_file_values(request, parts, {**facts, **told}, pixels or PixelReading())
        pictures = _with_facts(request, parts, {**facts, **told}, pixels)
        return list(pictures) if request.output == "pil" else pictures

    def _parts(
        self, request: Request, how: Any, start: Tensor, known: Tensor, prompt: Prompt, null: Prompt | None
    ) -> Iterator[Int64[Tensor, "r h w"] | Float[Tensor, "r c H W"]]:
        """All canvases, batch by batch: their codes if those are asked for, else pictures."""
        grid = (known.shape[0], known.shape[1])
        template = Canvas(
            codes=start,
            known=known,
            seeds=start.new_tensor([request.seed]),
            window=self._window(grid),
            order=self.order,
            stride=request.stride,
            shift=self.condition.shift,
            choice=request.choice,
            parallel=request.parallel,
            how=how,
        )
        size = request.micro_batch or max(1, BATCH // self.prior.rows(template))
        batches = _split(request, request.num, size, start.device)
        total = known.numel() * sum(map(len, batches))
        told = request.progress if callable(request.progress) else None
        with tqdm(total=total, disable=request.progress is not True, unit=" cells") as bar:
            for number, rows in enumerate(batches):
                canvas = replace(
                    template,
                    codes=start.expand(len(rows), -1, -1),
                    seeds=rows + request.seed,
                    progress=partial(told, total) if told else bar.update,
                )
                guided = Guided(
                    prompt.take(rows),
                    null=null and null.take(rows),
                    scale=request.guidance,
                    limit=self.tokenizer.codebook_size,
                )
                with request.needed(len(rows), grid, self.tokenizer.factor):
                    # left before a part is handed over: the caller's modes are the caller's
                    with in_use(self), torch.inference_mode(), drawing(self.prior):
                        codes = draw(self.prior.decoder(guided, canvas), canvas)
                    guided.check()
                    codes = codes.clone()  # an ordinary tensor, of use to gradients
                    part = codes if request.output == "codes" else self._decode(request, codes)
                yield part[: request.num - number * size]

    def _decode(self, request: Request, codes: Int64[Tensor, "r h w"]) -> Float[Tensor, "r c H W"]:
        """Pictures, as many at a time as memory is planned for."""
        most = max(1, PIXELS // (codes[0].numel() * self.tokenizer.factor**2))
        batches = _split(request, len(codes), min(len(codes), most), codes.device)
        return torch.cat([self.tokenizer.decode(codes[rows]) for rows in batches])[: len(codes)]


def check_tokenizers(condition: Any, tokenizer: Tokenizer, other: Tokenizer | None) -> None:
    """UserError unless there is a tokenizer of the maps where it is needed, and one that fits."""
    wanted = isinstance(condition, MapSettings) and not condition.shared
    if wanted != (other is not None):
        remedy = "give condition_tokenizer=, or condition.shared=true" if wanted else "leave it out"
        kind = "a tokenizer of the maps" if wanted else "no second tokenizer"
        raise UserError(f"{kind} for {condition}", "none" if wanted else "one", remedy)
    if other is not None and condition.size is None and other.factor != tokenizer.factor:
        expected = f"a tokenizer of the maps with the pictures' factor, {tokenizer.factor}"
        raise UserError(expected, str(other.factor), "use another one, or set condition.size")


def _split(request: Request, num: int, size: int, device: torch.device) -> list[Int64[Tensor, " r"]]:
    """Rows that go together. With micro_batch the last batch is as large as the others."""
    return split(num, size, device, padded=request.micro_batch is not None)


def _in_file_values(
    request: Request, parts: Iterator[Tensor], facts: Mapping[str, Any], how: PixelReading
) -> Iterator[FileValues]:
    drawn = (picture for part in parts for picture in part)
    for index, picture in enumerate(drawn):
        yield file_values(picture, how, request.facts(index, facts))


def _with_facts(
    request: Request, parts: Iterator[Tensor], facts: Mapping[str, Any], how: PixelReading | None
) -> Iterator[Image.Image]:
    """Pillow pictures, one by one, that carry how they were made."""
    drawn = (picture for part in parts for picture in to_pil(part, how))
    for index, picture in enumerate(drawn):
        picture.info[images.FACTS] = request.facts(index, facts)
        yield picture


def _are_codes(given: Any) -> bool:
    """Whether whole numbers are codes: those of one byte are pictures."""
    if isinstance(given, np.ndarray):
        return given.dtype.kind in "iu" and given.dtype != np.uint8
    if not isinstance(given, Tensor):
        return False
    return not given.is_floating_point() and given.dtype not in (torch.uint8, torch.bool)
