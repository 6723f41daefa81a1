"""smalti sample."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import Size, device, drawing, load_generator, new_folder, sampling


@click.command()
@click.argument("model", type=Path)
@click.argument("out", type=Path)
@sampling
@click.option("--size", type=Size(), help="Pixels, HxW; the training crop unless given.")
@device
def sample(model: Path, out: Path, device: str, **options: Any) -> None:
    """Draw pictures from a model folder or a run folder into the folder OUT.

    Example: smalti sample runs/photos-prior pictures --num 4 --label brick --size 64x512
    """
    import smalti

    new_folder(out)
    generator = load_generator(model, device)
    pictures = generator.sample(**drawing(options), progress=True)
    for path in smalti.save_all(pictures, out):
        click.echo(path)
