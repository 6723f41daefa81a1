"""smalti encode."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import Size, device, load_tokenizer, new_folder


@click.command()
@click.argument("model", type=Path)
@click.argument("data", type=Path)
@click.argument("out", type=Path)
@click.option("--size", type=Size(), help="Pixels of a crop, HxW; as the tokenizer was trained unless given.")
@click.option(
    "--scale", nargs=2, type=float, default=(1.0, 1.25), show_default=True, help="Crops show a part."
)
@click.option("--crops", default=1, show_default=True, help="Random crops of each training picture.")
@click.option("--batch", default=16, show_default=True, help="Pictures a pass.")
@click.option("--workers", default=0, show_default=True, help="Processes that open pictures.")
@click.option("--seed", default=0, show_default=True, help="Of the crops and flips.")
@device
def encode(model: Path, data: Path, out: Path, device: str, **options: Any) -> None:
    """Turn a folder of pictures into token shards in OUT, which `smalti train` reads for a prior.

    Example: smalti encode runs/tokenizer photos tokens --size 256 --crops 10
    """
    from smalti import config, library
    from smalti.data.transforms import CropSettings
    from smalti.training.precompute import encode as run

    new_folder(out)
    options["size"] = options["size"] or library.trained_size(model)
    crop = config.parse({"scale": options.pop("scale")}, CropSettings, where="--scale")
    click.echo(run(load_tokenizer(model, device), data, out, crop=crop, **options))
