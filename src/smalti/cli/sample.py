"""smalti sample."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import Size, computing, drawing, load_pipeline, sampling, starting
from smalti.cli.paths import MODEL, PATH
from smalti.cli.writing import RESUME, Numbered


@click.command()
@click.argument("model", type=MODEL)
@click.argument("out", type=PATH)
@sampling
@click.option("--size", type=Size(), help="Pixels, HxW; the training crop unless given.")
@click.option(
    "--from", "from_image", type=PATH, help="Image file that the map is computed of, for models trained so."
)
@click.option("--reject", type=int, help="Draw so many images for each that is kept: the best by --judge.")
@click.option("--judge", help="mobilenet_v2, lite0, inception; a MODEL with a prior; a folder of images.")
@RESUME
@computing
def sample(
    model: Path,
    out: Path,
    reject: int | None,
    judge: str | None,
    resume: bool,
    device: str,
    precision: str,
    **options: Any,
) -> None:
    """Draw images from a model folder or a run folder into OUT, a new or empty folder.

    Each image is written as soon as its batch is drawn: 00000.png with the seed that --seed says, 00001.png
    with the next one. A model that was trained with data.range, or with other than 1 or 3 bands, writes the
    numbers of its files: as PNG of 16 bits where they fit, else as 00000.tif. What is there when drawing is
    interrupted stays; the same command with --resume draws the others.
    A map, and an image given by --from, is scaled until it just covers the size, and its middle is taken.
    What takes more than a minute says
    how long.

    With --reject 8 --judge lite0 eight images are drawn for each that is kept. The best of a class come
    first, each with its score, the acceptance rate and its own seed in the metadata. A classifier judges how
    likely the asked class is where the model has ImageNet's 1,000, else how sure it is; a MODEL, how likely
    its prior finds the image; a folder, how near its nearest image is.

    Several processes, which draw the same images, batch after batch in turn:
    torchrun --nproc-per-node=2 -m -- smalti sample MODEL OUT --num 1000

    Example: smalti sample runs/photos-prior images --num 4 --label brick --size 64x512
    """
    with starting():
        from smalti import rounds

    with rounds.together(device) as where:
        images = Numbered(out, resume=resume)
        with rounds.agreed():
            pipeline = load_pipeline(model, str(where), precision)
            options["size"] = options["size"] or pipeline.crop_size
            given = drawing(pipeline, options)
            if reject is None and judge is None:
                batches = pipeline.iter_batches(**given, wanted=images)
            else:
                from smalti.judging import rejection  # torch by now is there

                batches = rejection.batches(pipeline, reject, judge, **given, wanted=images)
        images.write(batches, given["num"])
