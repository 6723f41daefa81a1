"""smalti complete."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import device, drawing, load_generator, new_folder, sampling


@click.command()
@click.argument("model", type=Path)
@click.argument("image", type=Path)
@click.argument("out", type=Path)
@click.option("--keep", default=0.5, show_default=True, help="Share of rows kept from the top.")
@sampling
@device
def complete(model: Path, image: Path, out: Path, device: str, **options: Any) -> None:
    """Keep the top of a picture and draw the rest anew, into the folder OUT.

    Example: smalti complete runs/photos-prior photo.jpg completed --keep 0.5 --num 3
    """
    import smalti

    new_folder(out)
    generator = load_generator(model, device)
    for path in smalti.save_all(generator.complete(image, **drawing(options), progress=True), out):
        click.echo(path)
