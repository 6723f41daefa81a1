"""smalti encode."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import check_free, computing, load_tokenizer, starting
from smalti.cli.paths import DATA, MODEL, PATH
from smalti.cli.train import KeyValue
from smalti.errors import UserError


@click.command(cls=KeyValue)
@click.argument("model", type=MODEL)
@click.argument("data", type=DATA)
@click.argument("out", type=PATH)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--for", "recipe", help="The recipe of a prior: what it is told is kept too.")
@click.option("--size", help="Pixels of a crop, HxW or HxW,HxW; as the tokenizer was trained unless given.")
@click.option("--scale", nargs=2, type=float, help="Crops show a part; 1.0 1.25 unless given.")
@click.option("--flip", type=float, help="Share of the crops that are mirrored; 0.5 unless given.")
@click.option("--crops", default=1, show_default=True, help="Random crops of each training image.")
@click.option("--batch", default=16, show_default=True, help="Images a pass.")
@click.option("--workers", default=0, show_default=True, help="Processes that open images.")
@click.option("--seed", default=0, show_default=True, help="Of the crops and flips.")
@click.option("--val", type=PATH, help="A folder that is held out.")
@click.option("--val-share", type=float, help="Share that is held out; as the tokenizer's unless given.")
@click.option(
    "--captions", help="names, sidecar or a file, as data.captions; as the tokenizer's unless given."
)
@click.option("--max-pixels", type=int, help="Of an image; 178956970 unless given, as Pillow has it.")
@click.option("--resume", is_flag=True, help="Go on in an OUT whose encoding was interrupted.")
@computing
def encode(
    model: Path,
    data: Path,
    out: Path,
    settings: tuple[str, ...],
    recipe: str | None,
    device: str,
    precision: str,
    **options: Any,
) -> None:
    """Turn a folder of images into token shards, which `smalti train` reads for a prior.

    With --for RECIPE, and settings of it as key=value, what the prior is told is kept beside the codes: codes
    of maps, boxes, whatever its data hold. Size, crops and what is held out are then as the recipe says.

    Without, held out is what the tokenizer's training held out, where that was on the same folder: a share by
    the same rule, or the splits that its folders are by name. Else the latter, or a share of 0.05.

    DATA may be scenes, which are made: those of the tokenizer's training, and those that it held out.

    OUT is a new or empty folder. Interrupted, the same command with --resume goes on where it was, with the
    same model, images and options; only --workers, --max-pixels, --device and how many processes may change.

    Several processes, which write the same bytes:
    torchrun --nproc-per-node=2 -m -- smalti encode MODEL DATA OUT

    Example: smalti encode runs/tokenizer photos tokens --size 256 --crops 10

    Example: smalti encode runs/tokenizer photos tokens --for my_depth.yaml data.maps=depths
    """
    with starting():
        from smalti import rounds, strategy
        from smalti.data import shards
        from smalti.training.precompute import encode as run

    with rounds.together(device) as where:
        with rounds.agreed():
            if not options["resume"] and strategy.current().rank == 0:
                shards.clear(out)
                check_free(out, "choose another OUT, or go on with --resume where encoding was interrupted")
            how = _how(model, settings, recipe, options)
            tokenizer = load_tokenizer(model, str(where), precision)
        written = run(tokenizer, data, out, **how)
    if strategy.current().rank == 0:
        click.echo(written)


def _how(
    model: Path, settings: tuple[str, ...], recipe: str | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of smalti.encode."""
    from smalti import config, library
    from smalti.training.settings import TrainingSettings

    crop = {name: options.pop(name) for name in ("scale", "flip")}
    crop = {name: value for name, value in crop.items() if value is not None}
    if recipe is not None:
        changes = {**config.overrides(settings, TrainingSettings), "tokenizer": str(model)}
        changes |= {f"crop.{name}": value for name, value in crop.items()}
        return options | {"recipe": recipe, "settings": changes}
    if settings:
        raise UserError("settings of a recipe with --for RECIPE", settings[0], "name the prior's recipe")
    size = options["size"] or library.trained_sizes(model)
    return options | {"size": size, "crop": {"scale": (1.0, 1.25), **crop}}
