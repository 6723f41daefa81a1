"""smalti upscale."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import computing, drawing, load_pipeline, sampling, starting
from smalti.cli.paths import MODEL, PATH
from smalti.cli.writing import RESUME, Numbered


@click.command()
@click.argument("model", type=MODEL)
@click.argument("image", type=PATH)
@click.argument("out", type=PATH)
@click.option("--factor", type=int, help="Of the sides; that of the training unless given.")
@sampling
@RESUME
@computing
def upscale(
    model: Path,
    image: Path,
    out: Path,
    factor: int | None,
    resume: bool,
    device: str,
    precision: str,
    **options: Any,
) -> None:
    """Draw larger images that look like IMAGE when shrunk, into OUT, a new or empty folder.

    MODEL is a prior that was trained with condition.compute.kind=low_resolution. Of an image there are many
    such: --num draws as many different ones, each with its seed. IMAGE may have any size: what is larger
    than a training crop is drawn window by window, what does not fill one is mirrored and cut afterwards.

    Example: smalti upscale runs/superres small.png large --num 4
    """
    with starting():
        from smalti import rounds

    with rounds.together(device) as where:
        images = Numbered(out, resume=resume)
        with rounds.agreed():
            pipeline = load_pipeline(model, str(where), precision)
            given = drawing(pipeline, {**options, "size": None})
            batches = pipeline.iter_upscaled(image, factor=factor, **given, wanted=images)
        images.write(batches, given["num"])
