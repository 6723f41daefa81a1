"""Options that several commands share, written once."""

import gc
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from operator import eq
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import click

from smalti import config, leftovers, locks, schema
from smalti.cli.paths import PATH
from smalti.conditions import CONDITIONS
from smalti.errors import UserError
from smalti.priors import PRIORS

if TYPE_CHECKING:
    from torch import Tensor

    from smalti.exif import Turn
    from smalti.imaging import Filter
    from smalti.pipeline import Pipeline
    from smalti.tokenizer import Tokenizer


class Size(click.ParamType[tuple[int, int]]):
    """HxW in pixels, or one number for a square."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Read 256x1024 as (256, 1024)."""
        if isinstance(value, tuple):
            return value
        return config.read_size(str(value))


class Guidance(click.ParamType[Any]):
    """A number, or NAME=NUMBER for some of a model's conditions."""

    name = "NUMBER|NAME=NUMBER,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read 1.5 as a number, label=3,map=1.5 as numbers by name."""
        if not isinstance(value, str):
            return value
        if "=" not in value:
            return self._number(value)
        words = [word.partition("=") for word in value.split(",")]
        found = {name.strip(): self._number(number) for name, _, number in words}
        if len(found) < len(words):
            raise UserError("each condition once for --guidance", value, "for example label=3,map=1.5")
        return found

    def _number(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            remedy = "for example 3, or label=3,map=1.5"
            raise UserError("a number for --guidance, or NAME=NUMBER", text or "none", remedy) from None


def telling(command: Callable[..., tuple[Any, ...] | None]) -> Callable[..., None]:
    """Let a command print what it returns, facts and the same in words: these, or with --json the facts.

    A third part, where there is one that is not None, is the mistake that is raised after that.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @wraps(command)
    def told(*args: Any, as_json: bool, **options: Any) -> None:
        found = command(*args, **options)
        if found is None:
            return
        facts, words, *mistakes = found
        click.echo(json.dumps(facts, indent=2, default=str) if as_json else words)
        for mistake in filter(None, mistakes):
            raise mistake

    return told


def sampling(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that draws, also of single conditions and priors."""
    told = [
        click.option(f"--{kind}", type=PATH if option.is_file else str, multiple=True, help=option.help)
        for kind, option in CONDITIONS.offers.items()
    ]
    for option in reversed([_NUM, *told, _MIX, *_SAMPLING, *_of_priors()]):
        command = option(command)
    return command


def _of_priors() -> list[Callable[..., Any]]:
    """Return what single priors take beside the options of all; the value is None where none is given."""
    found = {}
    for prior, options in PRIORS.offers.items():
        for name, hint in get_type_hints(options, include_extras=True).items():
            help = next(text for text in hint.__metadata__ if isinstance(text, str))
            kind = next(one for one in schema.alternatives(hint) if one is not NoneType)
            found[name] = click.option(
                f"--{name.replace('_', '-')}",
                type=click.Choice(get_args(kind)) if get_origin(kind) is Literal else kind,
                help=f"{help} For priors of kind {prior}.",
            )
    return list(found.values())


def choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `sampling` that say how images are drawn, and not which or how many."""
    with starting():
        for option in reversed([*_SAMPLING, *_of_priors()]):
            command = option(command)
    return command


def computing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that runs a model: where, and in which number type."""
    return _DEVICE(_PRECISION(command))


def drawing(
    pipeline: "Pipeline", options: dict[str, Any], beside: "tuple[tuple[int, int], Turn] | None" = None
) -> dict[str, Any]:
    """Return the options of `sampling` as arguments of Pipeline.iter_batches, see `writing.Numbered`.

    beside: size and turn of the image that a map describes; see `_fit`.
    """
    from smalti.cli.pace import Pace, faster
    from smalti.reading import writing
    from smalti.strategy import current

    given = {name: value for name, value in options.items() if value not in (None, ())}
    size, is_mixed = options["size"] or pipeline.crop_size, options["mix"] is not None
    told: dict[str, list[Any]] = {}
    for kind in CONDITIONS.offers.keys() & given.keys():
        for word in given.pop(kind):
            name, value = _named(pipeline, kind, word)
            told.setdefault(name, []).append(value)
    for name, values in told.items():
        if name in pipeline.condition.named:  # else the model says what it takes
            given[name] = _read(
                pipeline.condition.named[name], values, partial(_fit, size=size, beside=beside)
            )
        else:
            given[name] = values[0]
    each = max((len(one) for one in given.values() if isinstance(one, Several)), default=1)
    for name, values in list(given.items()):
        if isinstance(values, Several):  # --num of each, one after the other
            given[name] = list(values) if is_mixed else [one for one in values for _ in range(options["num"])]
    given["num"] = options["num"] * (1 if is_mixed else each)
    hint = faster(pipeline, size, options["stride"])
    writing.is_needed(pipeline.tokenizer.settings.pixels)  # says before hours of work what it needs
    way = current()
    return {**given, "progress": Pace(hint, way.count) if way.rank == 0 else False}


class Several(list[Any]):
    """Values of one condition, for images of each."""


def _read(condition: Any, words: Sequence[Any], fit: Any) -> Any:
    """Return what a command was given for a condition: one value, or `Several`, as of a file of texts.

    A file of lists of things is one value, which says of each image what is in it.
    """
    offer = CONDITIONS.offers.get(condition.settings.kind)
    if len(words) == 1 and not (offer and offer.is_many):
        return condition.from_option(words[0], fit)
    found = Several()
    for word in words:
        value = condition.from_option(word, fit)
        found += [value] if condition.count(value) is None else value
    return found[0] if len(found) == 1 else found


def _named(pipeline: "Pipeline", kind: str, word: Any) -> tuple[str, Any]:
    """Return which condition of a model is told by a word after --KIND, and of what.

    That called so, or the only one of this kind; of several of a kind the word says it, NAME=VALUE.
    """
    named = pipeline.condition.named
    alike = [name for name, one in named.items() if one.settings.kind == kind]
    name, equals, value = str(word).partition("=")
    if equals and name in alike:
        return name, type(word)(value)
    return kind if kind in named or len(alike) != 1 else alike[0], word


def _fit(
    found: "Tensor", filter: "Filter", size: tuple[int, int], beside: "tuple[tuple[int, int], Turn] | None"
) -> "Tensor | None":
    """Return a map (1 c H W) scaled until it just covers the size, of which the middle is taken (c h w).

    None for a map that fits. beside: size and turn of the image that it describes; a map that has the size
    of its raster in the file, and not of the image as it is seen, is turned with it.
    """
    from smalti.data.transforms import middle
    from smalti.data.turned import turns_along

    (found,) = found
    sides = (found.shape[1], found.shape[2])
    turned = beside is not None and turns_along(sides, *beside, "upright", eq)
    if beside is not None and turned:
        found, sides = beside[1].raster(found), beside[1].size(sides)
    if sides == size and not turned:
        return None
    return middle(sides, size, filter).map(found)


@contextmanager
def starting() -> Iterator[None]:
    """Within, nothing looks for rubbish: imports make none, and looking takes a sixth of a short command.

    What is there after the first time, torch above all, stays to the end: it is never looked through.
    """
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # once: later there may be rubbish among what is frozen
            gc.freeze()
        gc.enable()


def load_pipeline(model: Path, device: str, precision: str) -> "Pipeline":
    """Return a model that can draw; UserError with what to do for a tokenizer alone."""
    import smalti  # not above: `smalti --help` must not wait for torch

    with starting():
        pipeline = smalti.load(model, device, precision)
    if not isinstance(pipeline, smalti.Pipeline):
        remedy = f"train a prior on it: smalti train prior_300 tokenizer={model} --data ..."
        raise UserError("a model with a prior", f"the tokenizer {model}", remedy)
    return pipeline


def load_tokenizer(model: Path, device: str, precision: str) -> "Tokenizer":
    """Return a tokenizer, alone or out of a model with a prior."""
    import smalti

    with starting():
        found = smalti.load(model, device, precision)
    return found.tokenizer if isinstance(found, smalti.Pipeline) else found


def new_folder(out: Path, remedy: str = "choose another OUT") -> Path:
    """Return a folder to write into, this command alone until it ends: see `check_free`."""
    click.get_current_context().with_resource(locks.held(out))
    check_free(out, remedy)
    return out


def check_free(out: Path, remedy: str = "choose another OUT") -> None:
    """Refuse a folder that holds anything, so that nothing is overwritten."""
    clear(out)
    if not locks.is_free(out):
        raise UserError("a new or empty folder to write into", f"{out}, which is not", remedy)


def clear(out: Path) -> None:
    """Delete what a process that was killed inside an image left half written in a folder."""
    for kind in ("png", "tif"):
        leftovers.clear(out, f".{'[0-9]' * 5}*.{kind}.*")


_HALF = "bf16 and fp16: faster but for small priors; other images, a few other codes. auto: the quickest."
_SPECULATIVE = "Cells drawn in a pass, the same image sooner; 1 is off. Pays for one image at a time: try 8."
_NUM = click.option("--num", default=1, show_default=True, help="How many images.")
_MIX = click.option(
    "--mix",
    help="Share of the second of two values (--label A --label B): 0.3, left-right or top-bottom.",
)
_SAMPLING = [
    click.option("--seed", default=0, show_default=True, help="Image i uses seed + i."),
    click.option("--temperature", default=1.0, show_default=True, help="Below 1: safer, above: wilder."),
    click.option("--top-k", type=int, help="Draw among the k likeliest codes; 1 is greedy."),
    click.option("--top-p", type=float, help="Draw among the likeliest codes that hold this share."),
    click.option("--min-p", type=float, help="Drop codes below this share of the likeliest one."),
    click.option(
        "--guidance-scale",
        "--guidance",
        type=Guidance(),
        default=1.0,
        show_default=True,
        help="u + s (c - u); 1 is off. Of several conditions also for each: label=3,map=1.5.",
    ),
    click.option(
        "--stride", default=1, show_default=True, help="Cells by which a window moves; more: faster."
    ),
    click.option("--speculative", default=1, show_default=True, help=_SPECULATIVE),
    click.option("--micro-batch", type=int, help="Fixed batch size: bit-equal images whatever --num."),
]

_DEVICE = click.option(
    "--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, xpu, mps; auto: what torch finds."
)
_PRECISION = click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16", "auto"]),
    default="fp32",
    show_default=True,
    help=_HALF,
)
