"""Options that several commands share, written once."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smalti.errors import UserError

if TYPE_CHECKING:
    from smalti.generator import Generator
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
        sides = str(value).lower().split("x")
        if not all(side.isdigit() for side in sides) or len(sides) not in (1, 2):
            raise UserError("a size as HxW in pixels", str(value), "write for example --size 256x1024")
        return int(sides[0]), int(sides[-1])


def sampling(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that draws."""
    for option in reversed(_SAMPLING):
        command = option(command)
    return command


def drawing(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `sampling` as keyword arguments of Generator.sample: a condition only where given."""
    conditions = {"label"}
    return {name: value for name, value in options.items() if value is not None or name not in conditions}


def load_generator(model: Path, device: str) -> "Generator":
    """A model that can draw; UserError with what to do for a tokenizer alone."""
    import smalti  # not above: `smalti --help` must not wait for torch

    generator = smalti.load(model, device=device)
    if not isinstance(generator, smalti.Generator):
        remedy = f"train a prior on it: smalti train prior_300 tokenizer={model} --data ..."
        raise UserError("a model with a prior", f"the tokenizer {model}", remedy)
    return generator


def load_tokenizer(model: Path, device: str) -> "Tokenizer":
    """A tokenizer, alone or out of a model with a prior."""
    import smalti

    found = smalti.load(model, device=device)
    return found.tokenizer if isinstance(found, smalti.Generator) else found


def new_folder(out: Path) -> Path:
    """A folder to write into: refused where it holds anything, so that nothing is overwritten."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError("a new or empty folder to write into", f"{out}, which is not", "choose another OUT")
    return out


_SAMPLING = [
    click.option("--num", default=1, show_default=True, help="How many pictures."),
    click.option("--label", help="Class name or number, for a class-conditional model."),
    click.option("--seed", default=0, show_default=True, help="Picture i uses seed + i."),
    click.option("--temperature", default=1.0, show_default=True, help="Below 1: safer, above: wilder."),
    click.option("--top-k", type=int, help="Draw among the k likeliest codes; 1 is greedy."),
    click.option("--top-p", type=float, help="Draw among the likeliest codes that hold this share."),
    click.option("--min-p", type=float, help="Drop codes below this share of the likeliest one."),
    click.option("--guidance", default=1.0, show_default=True, help="u + s (c - u); 1 is off."),
    click.option("--micro-batch", type=int, help="Fixed batch size: bit-equal pictures whatever --num."),
]

device = click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 ...")
