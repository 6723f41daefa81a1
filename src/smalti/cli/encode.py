"""smalti encode."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import Size, device, load_tokenizer, new_folder


@click.command()
@click.argument("model", type=Path)
@click.argument("data", type=Path)
@click.argument("out", type=Path)
@click.option("--size", type=Size(), required=True, help="Pixels of a crop, HxW or one number.")
@click.option("--crops", default=1, show_default=True, help="Random crops of each training picture.")
@click.option("--batch", default=16, show_default=True, help="Pictures a pass.")
@click.option("--workers", default=0, show_default=True, help="Processes that open pictures.")
@click.option("--seed", default=0, show_default=True, help="Of the crops and flips.")
@device
def encode(model: Path, data: Path, out: Path, device: str, **options: Any) -> None:
    """Turn a folder of pictures into token shards in OUT, which `smalti train` reads for a prior.

    Example: smalti encode runs/tokenizer photos tokens --size 256 --crops 10
    """
    from smalti.training.precompute import encode as run

    new_folder(out)
    click.echo(run(load_tokenizer(model, device), data, out, **options))
