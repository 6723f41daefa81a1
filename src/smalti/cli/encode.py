"""smalti encode."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import Size, computing, load_tokenizer, new_folder, starting


@click.command()
@click.argument("model", type=Path)
@click.argument("data", type=Path)
@click.argument("out", type=Path)
@click.option("--size", type=Size(), help="Pixels of a crop, HxW; as the tokenizer was trained unless given.")
@click.option(
    "--scale", nargs=2, type=float, default=(1.0, 1.25), show_default=True, help="Crops show a part."
)
@click.option("--flip", default=0.5, show_default=True, help="Share of the crops that are mirrored.")
@click.option("--crops", default=1, show_default=True, help="Random crops of each training image.")
@click.option("--batch", default=16, show_default=True, help="Images a pass.")
@click.option("--workers", default=0, show_default=True, help="Processes that open images.")
@click.option("--seed", default=0, show_default=True, help="Of the crops and flips.")
@click.option("--val", type=Path, help="A folder that is held out.")
@click.option("--val-share", type=float, help="Share that is held out; as the tokenizer's unless given.")
@click.option(
    "--captions", help="names, sidecar or a file, as data.captions; as the tokenizer's unless given."
)
@click.option("--max-pixels", type=int, help="Of an image; 178956970 unless given, as Pillow has it.")
@click.option("--resume", is_flag=True, help="Go on in an OUT whose encoding was interrupted.")
@computing
def encode(model: Path, data: Path, out: Path, device: str, precision: str, **options: Any) -> None:
    """Turn a folder of images into token shards, which `smalti train` reads for a prior.

    Held out is what the tokenizer's training held out, where that was on the same folder: a share by the same
    rule, or the splits that its folders are by name. Else the latter, or a share of 0.05.

    OUT is a new or empty folder. Interrupted, the same command with --resume goes on where it was, with the
    same model, images and options; only --workers, --max-pixels and --device may change.

    Example: smalti encode runs/tokenizer photos tokens --size 256 --crops 10
    """
    with starting():
        from smalti import library
        from smalti.training.precompute import encode as run

    if not options["resume"]:
        new_folder(out, "choose another OUT, or go on with --resume where encoding was interrupted")
    options["size"] = options["size"] or library.trained_size(model)
    options["crop"] = {name: options.pop(name) for name in ("scale", "flip")}
    click.echo(run(load_tokenizer(model, device, precision), data, out, **options))
