"""smalti complete."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import Size, computing, drawing, load_pipeline, sampling, starting
from smalti.cli.paths import MODEL, PATH
from smalti.cli.writing import RESUME, Numbered


@click.command()
@click.argument("model", type=MODEL)
@click.argument("image", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--keep", help="top, bottom, left, right or centre, with a share: left:0.25; unless given top:0.5."
)
@click.option("--mask", type=PATH, help="Image file: white is drawn anew, black is kept.")
@click.option("--size", type=Size(), help="Pixels, HxW; the training crop unless given.")
@sampling
@RESUME
@computing
def complete(
    model: Path,
    image: Path,
    out: Path,
    mask: Path | None,
    resume: bool,
    device: str,
    precision: str,
    **options: Any,
) -> None:
    """Keep a part of an image and draw the rest anew, into OUT, a new or empty folder.

    The image, and a map or a mask if one is given, is scaled until it just covers the size, and its middle
    is taken. Kept are cells, the squares that a code stands for: one in which the mask has any white is drawn
    anew whole. A number alone for --keep is a share of rows from the top.
    A map of the raster in the file is turned as EXIF turns that, where its size tells.
    Each result is written as soon as its batch is drawn, in the numbers of the files that the model was
    trained on, as `smalti sample` has it. What takes more than a minute says how long.

    Example: smalti complete runs/photos-prior photo.jpg completed --keep left --num 3
    """
    with starting():
        from smalti import imaging, masks, rounds
        from smalti.data.transforms import middle, middle_of_mask
        from smalti.reading.pixels import open_turned

    with rounds.together(device) as where:
        images = Numbered(out, resume=resume)
        with rounds.agreed():
            pipeline = load_pipeline(model, str(where), precision)
            options["size"] = options["size"] or pipeline.crop_size
            pixels, turn = open_turned(image, pipeline.tokenizer.settings.pixels)
            sides = (pixels.shape[1], pixels.shape[2])
            given = drawing(pipeline, options, (sides, turn))
            size = given.pop("size")
            kept = imaging.to_float(middle(sides, size).image(pixels))
            if mask is not None:
                given["mask"] = middle_of_mask(masks.read(mask), size)
            batches = pipeline.iter_batches(image=kept, **given, wanted=images)
        images.write(batches, given["num"])
