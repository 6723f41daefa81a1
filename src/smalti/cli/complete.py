"""smalti complete."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import Size, computing, drawing, load_generator, new_folder, sampling, write


@click.command()
@click.argument("model", type=Path)
@click.argument("image", type=Path)
@click.argument("out", type=Path)
@click.option("--keep", default=0.5, show_default=True, help="Share of rows kept from the top.")
@click.option("--size", type=Size(), help="Pixels, HxW; the training crop unless given.")
@sampling
@computing
def complete(model: Path, image: Path, out: Path, device: str, precision: str, **options: Any) -> None:
    """Keep the top of a picture and draw the rest anew, into OUT, a new or empty folder.

    The picture, and a map if one is given, is scaled until it just covers the size, and its middle is taken.
    A map of the raster in the file is turned as EXIF turns that, where its size tells.
    Each result is written as soon as its batch is drawn, in the numbers of the files that the model was
    trained on, as `smalti sample` has it. What takes more than a minute says how long.

    Example: smalti complete runs/photos-prior photo.jpg completed --keep 0.5 --num 3
    """
    import torch

    from smalti import images
    from smalti.data.transforms import CropSettings, crop
    from smalti.reading.pixels import open_turned

    new_folder(out)
    generator = load_generator(model, device, precision)
    options["size"] = options["size"] or generator.crop_size
    pixels, turn = open_turned(image, generator.tokenizer.settings.pixels)
    beside = (pixels.shape[1], pixels.shape[2]), turn
    given = drawing(generator, options, beside)
    middle = CropSettings().for_validation()
    picture = images.to_float(crop(pixels, given.pop("size"), middle, torch.Generator()))
    pictures = generator.complete(picture, **given)
    write(pictures, out, num=options["num"], seed=options["seed"])
