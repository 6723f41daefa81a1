"""What a caller asks of a generator, checked before work begins, and what an image says of its making."""

import difflib
import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from typing import Any

from torch import Tensor

from smalti import memory
from smalti.config import parse, read_size, settings
from smalti.errors import UserError, shown
from smalti.tokens.choice import Choice

MOST = 1_000_000  # images of one request: what each needs is kept in memory
_WHOLE = {
    "num": 1,
    "seed": 0,
    "top_k": 1,
    "stride": 1,
    "micro_batch": 16,
    "speculative": 1,
}  # with an example
_REAL = {"temperature": 1.0, "top_p": 0.9, "min_p": 0.05, "guidance_scale": 3.0}
OPTIONS = (*_WHOLE, *_REAL, "size", "progress", "mix", "wanted")
OF_COMPLETE = ("image", "mask", "keep")
_MAY_BE_NONE = {"top_k", "top_p", "min_p", "micro_batch"}

# names of options elsewhere -> ours; "condition" stands for the one that the model takes
_ELSEWHERE = {
    "guidance_scale": ("cfg", "cfg_scale", "cfg_weight", "guidance", "guidance_weight", "scale"),
    "num": ("n", "num_images", "num_images_per_prompt", "num_samples", "n_samples", "count", "samples"),
    "micro_batch": ("batch", "batch_size"),
    "size": ("height", "width", "h", "w", "image_size", "img_size", "resolution", "shape"),
    "condition": (
        "prompt",
        "class_label",
        "class_labels",
        "class_id",
        "class_name",
        "labels",
        "classes",
        "y",
    ),
    "temperature": ("temp", "t"),
    "top_k": ("topk", "k"),
    "top_p": ("topp", "p", "nucleus"),
    "seed": ("generator", "random_seed", "manual_seed", "rng", "random_state"),
    "progress": ("verbose", "show_progress", "progress_bar"),
    "keep": ("keep_rows", "fraction", "share"),
    "speculative": ("parallel", "lookahead", "num_assistant_tokens"),
    "steps": ("num_inference_steps", "num_steps", "sampling_steps", "timesteps", "num_iter"),
    "mask": ("mask_image", "inpaint_mask"),
    "image": ("init_image", "input_image", "picture"),
}
Made = Callable[[int], Mapping[str, Any]]  # what is known of an image before it is drawn, by its number
Wanted = Callable[[range, Made], bool]  # whether images of these numbers, a batch, are drawn

_FORMS = ("output", "output_type", "return_type", "return_dict", "format")  # of which there is one: Samples


@settings
class Request:
    """How many images, how drawn, how handed over. Raises UserError for a value out of its range."""

    num: int
    seed: int  # of the first image; image i has seed + i
    choice: Choice
    guidance_scale: float | Mapping[str, float]  # s in u + s (c - u), or by keyword of conditions
    stride: int  # cells by which a window moves
    micro_batch: int | None  # every batch has this size; None: up to the generator
    speculative: int  # cells drawn in a pass through a window, by guesses; 1: one by one
    progress: bool | Callable[[int, int], object]  # True: a bar; told of all cells, of cells more
    mix: Any = None  # the share of the second of two values, see `told.shares`
    wanted: Wanted | None = None  # asked of each batch, in order, before the first is drawn; None: all are

    def __post_init__(self) -> None:
        last, micro = self.seed + self.num - 1, self.micro_batch
        scale = self.guidance_scale
        scales = scale.values() if isinstance(scale, Mapping) else [scale]
        checks = (
            (self.num >= 1, "num", "a number from 1", "1"),
            (self.num <= MOST, "num", f"a number up to {MOST}", f"{MOST}, then seed={self.seed + MOST}"),
            (-(2**63) <= self.seed <= last < 2**63, "seed", "64 bits, also for the last image's,", "0"),
            (all(map(math.isfinite, scales)), "guidance_scale", "a number", "1, which is off"),
            (self.stride >= 1, "stride", "a number of cells from 1", "1"),
            (micro is None or micro >= 1, "micro_batch", "a number from 1", "16"),
            (self.speculative >= 1, "speculative", "a number from 1", "1, which is off"),
        )
        for fits, name, expected, example in checks:
            if not fits:
                got = str(getattr(self, name))
                raise UserError(f"{expected} for {name}", got, f"for example {name}={example}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Request":
        """Return what a person asks, by the names of Pipeline.sample; UserError for what is no number."""
        numbers = {name: whole(name, given[name]) for name in _WHOLE}
        scale = given["guidance_scale"]
        scales = scale if isinstance(scale, Mapping) else {"guidance_scale": scale}
        found = {name: real("guidance_scale", one) for name, one in scales.items()}
        numbers |= {name: real(name, given[name]) for name in _REAL if name != "guidance_scale"}
        numbers["guidance_scale"] = found if isinstance(scale, Mapping) else found["guidance_scale"]
        choice = Choice(**{name: numbers.pop(name) for name in ("temperature", "top_k", "top_p", "min_p")})
        progress = given["progress"] if callable(given["progress"]) else bool(given["progress"])
        return cls(choice=choice, progress=progress, mix=given["mix"], wanted=given.get("wanted"), **numbers)

    def check_room(self, grid: tuple[int, int], factor: int, *, streamed: bool) -> None:
        """UserError where this machine cannot hold the images, and a batch of codes, at the least.

        grid: cells of an image; factor: pixels a cell side. streamed: images need not be held together.
        """
        cells, pixels = math.prod(grid), math.prod(grid) * factor**2
        kept, one = 0 if streamed else 8 * cells + 3 * pixels, 8 * cells + 12 * pixels
        needs = kept * self.num + one + 8 * cells * (self.micro_batch or 0)
        size, has = "{} x {}".format(*(side * factor for side in grid)), memory.of_machine()
        micro = "" if self.micro_batch is None else f", micro_batch={self.micro_batch}"
        remedy = "give a smaller size" if one > has else "a smaller micro_batch, or iter_samples"
        memory.check(needs, has, "images", f"num={self.num} of {size} pixels{micro}", remedy)

    def chosen(self, batches: Sequence[Tensor], more: Mapping[str, Any]) -> list[tuple[int, Tensor]]:
        """Return of batches of row numbers those that are wanted, each with the number of its first image.

        more: see `metadata`.
        """
        firsts, size, wanted = range(0, self.num, len(batches[0])), len(batches[0]), self.wanted
        found = list(zip(firsts, batches, strict=True))
        if wanted is None:
            return found

        def made(index: int) -> dict[str, Any]:
            return self.metadata(index, more)

        return [(one, rows) for one, rows in found if wanted(range(one, min(one + size, self.num)), made)]

    def metadata(self, index: int, more: Mapping[str, Any]) -> dict[str, Any]:
        """Give what it takes to draw image `index` again, in plain values.

        more: other metadata, one value or a sequence of one an image.
        """
        made = {"seed": self.seed + index, **asdict(self.choice), "guidance": self.guidance_scale}
        made["stride"] = self.stride
        chosen = {name: _of(value, index) for name, value in more.items()}
        how = {"micro_batch": self.micro_batch, "speculative": self.speculative}
        return dict(json.loads(json.dumps({**made, **how, **chosen}, default=str)))


def needed(rows: int, grid: tuple[int, int], factor: int) -> AbstractContextManager[None]:
    """Within, a lack of memory is one line, for `rows` images drawn together; see Request.check_room."""
    what = "drawing {} of {} x {} pixels together".format(rows, *(side * factor for side in grid))
    fewer = f"--micro-batch {rows // 2} (micro_batch={rows // 2})" if rows > 1 else "a smaller size"
    return memory.needed(what, f"{fewer}, or --precision bf16 (dtype='bf16')")


def whole(name: str, value: Any) -> Any:
    """Return a whole number of Python, numpy or torch as Python's; None where that has a meaning."""
    if value is None and name in _MAY_BE_NONE:
        return None
    try:
        return operator.index(value)
    except TypeError:
        example = f"for example {name}={_WHOLE[name]}"
        raise UserError(f"a whole number for {name}", shown(value), example) from None


def real(name: str, value: Any) -> Any:
    """Return the same of any real number."""
    if value is None and name in _MAY_BE_NONE:
        return None
    try:
        if isinstance(value, str | bytes):
            raise TypeError("text is no number")
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise UserError(f"a number for {name}", shown(value), f"for example {name}={_REAL[name]}") from None


def sides(size: Any) -> tuple[int, int]:
    """Return height and width in pixels.

    Of two numbers, of one for a square, or of text as commands take it.
    """
    if isinstance(size, str):
        return read_size(size)
    size = size.tolist() if hasattr(size, "tolist") else size
    try:
        height, width = size if isinstance(size, Sequence) else (size, size)
        found = operator.index(height), operator.index(width)
    except (TypeError, ValueError):
        found = 0, 0
    if min(found) < 1:
        expected = "a size as (height, width) in pixels, or one number"
        raise UserError(expected, shown(size), "for example size=(256, 512)")
    return found


def apart(given: Mapping[str, Any], own: type[Any]) -> tuple[Any, dict[str, Any]]:
    """Return a prior's own options, of these settings, and what else is given by keyword."""
    names = {field.name for field in fields(own)}
    how = parse({name: value for name, value in given.items() if name in names}, own)
    return how, {name: value for name, value in given.items() if name not in names}


def meant(name: str) -> str | None:
    """Return the option that another program, or an earlier smalti, calls so; "condition" for a model's."""
    return next((ours for ours, theirs in _ELSEWHERE.items() if name in theirs), None)


def unknown(
    name: str, known: Iterable[str], conditions: Sequence[str], own: type[Any] | None = None
) -> UserError:
    """Return the error for an option that is none, with ours of that meaning.

    known: the options there are; conditions: those by which the model takes its conditions, if it has some.
    own: settings of what the model's prior takes besides.
    """
    more = [field.name for field in fields(own)] if own else []
    takes = f"{'=, '.join(conditions)}= as its {'only condition' if len(conditions) == 1 else 'conditions'}"
    takes = takes if conditions else "no condition"
    takes += f", and of its prior {'=, '.join(more)}=" if more else ""
    ours = meant(name)
    ours = next(iter(conditions), None) if ours == "condition" else ours
    near = difflib.get_close_matches(name, [*known, *more, *conditions], n=1, cutoff=0.75)
    remedy = "leave it out"
    if name in _FORMS:
        remedy = "what comes back has .images, .codes, .tensors and .values(); iter_samples streams"
    elif name in OF_COMPLETE or ours in OF_COMPLETE:
        remedy = f"complete takes it{'' if ours is None else f', as {ours}='}"
    elif name in known:
        remedy = "leave it out: the size is that of the image"
    elif ours is not None and ours in {*known, *more, *conditions}:
        remedy = "write size=(height, width)" if ours == "size" else f"here it is {ours}="
    elif near:
        remedy = f"did you mean {near[0]}=?"
    return UserError(f"options of this method; this model takes {takes}", f"{name}=", remedy)


def _of(value: Any, index: int) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    return value[index] if isinstance(value, Sequence) and not isinstance(value, str) else value
