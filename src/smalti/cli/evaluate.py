"""smalti evaluate."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from smalti.cli.options import Size, choosing, computing, new_folder, starting, telling
from smalti.cli.paths import DATA, MODEL, PATH


class Words(click.ParamType[tuple[str, ...]]):
    """Words with commas between them."""

    name = "A,B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Read psnr,hed as ("psnr", "hed")."""
        if isinstance(value, tuple):
            return value
        return tuple(word.strip() for word in str(value).split(",") if word.strip())


@click.command()
@click.argument("model", type=MODEL)
@click.argument("data", type=DATA)
@click.option("--metrics", type=Words(), help="Some of the numbers alone, as psnr,hed,fd.")
@click.option("--spaces", type=Words(), help="Some of the feature spaces alone, as mobilenet_v2,lite0.")
@click.option("--num", type=int, help="Images a side, evenly over DATA; all unless given.")
@click.option("--per-class", type=int, help="Images drawn of every class, in place of DATA's classes.")
@click.option("--out", type=PATH, help="A new folder for metrics.json and report.html.")
@click.option("--save", type=PATH, help="Write the judged images: a new folder, or NAME.npz.")
@click.option("--size", type=Size(), help="Pixels of a crop, HxW; as the model was trained unless given.")
@click.option(
    "--resize",
    type=click.Choice(["short", "none"]),
    default="short",
    show_default=True,
    help="Until the crop just fits; or cut at its own scale.",
)
@click.option(
    "--filter",
    type=click.Choice(["bicubic", "bilinear", "nearest-exact"]),
    default="bicubic",
    show_default=True,
    help="Of resizing.",
)
@click.option(
    "--split",
    type=click.Choice(["auto", "val", "train", "all"]),
    default="auto",
    show_default=True,
    help="Part of DATA; auto: what is held out, if any is.",
)
@click.option("--maps", type=PATH, help="Folder of the maps of DATA's images, for a model that is told maps.")
@click.option("--captions", help="Of DATA's images, as data.captions: for a model that is told texts.")
@click.option("--train", type=PATH, help="Training images; the model's own unless given.")
@click.option(
    "--train-num",
    type=int,
    help="Of them at most, evenly over all: 10000 unless given, of scenes as many as judges learn from.",
)
@click.option("--paired", is_flag=True, help="Images are reconstructions of those called alike.")
@choosing
@computing
@telling
def evaluate(
    model: Path, data: Path, out: Path | None, device: str, precision: str, **options: Any
) -> tuple[Any, str] | None:
    """Measure how good MODEL is on the images of DATA: a table, and with --out metrics.json and a page.

    MODEL is a tokenizer (how near are its reconstructions?), a model with a prior (how near to DATA are the
    images that it draws?), or images that somebody made: a folder, or an .npz of uint8 images as other
    evaluators take it. DATA is a folder or an .npz. Each number is kept with how it was measured; smalti
    compare puts several evaluations into one table.

    Several processes: torchrun --nproc-per-node=2 -m -- smalti evaluate MODEL DATA

    Example: smalti evaluate runs/photos-prior photos --num 1000 --out evaluated
    """
    with starting():
        from smalti import rounds, strategy
        from smalti.evaluation import table
        from smalti.evaluation.run import evaluate as run
        from smalti.evaluation.settings import EvaluationSettings

    own = EvaluationSettings.__dataclass_fields__
    ctx = click.get_current_context()
    said = {name for name in options if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    given = {name: value for name, value in options.items() if name in said}  # defaults are the library's own
    drawing = {name: value for name, value in given.items() if name not in own}
    settings = {name: value for name, value in given.items() if name in own}
    with rounds.together(device) as where:
        with rounds.agreed():
            if out is not None and strategy.current().rank == 0:
                new_folder(out, "choose another --out")
        found = run(model, data, device=str(where), dtype=precision, drawing=drawing, **settings)
    if found is None:  # another process says it
        return None
    told = [table.of_one(found.record)]
    if out is not None:
        found.save(out)
        told.append(str(out / "report.html"))
    return asdict(found.record), "\n".join(told)
