"""smalti export."""

from pathlib import Path

import click

from smalti.cli.options import check_free, starting
from smalti.cli.paths import MODEL, PATH


@click.command()
@click.argument("model", type=MODEL)
@click.argument("out", type=PATH)
@click.option(
    "--format",
    "name",
    required=True,
    help="compvis: a run folder of 2021. diffusers: a folder for it. onnx: graphs, for use without PyTorch.",
)
def export(model: Path, out: Path, name: str) -> None:
    """Write a model in another project's format into OUT, a new or empty folder.

    Example: smalti export runs/tokenizer for-diffusers --format diffusers
    """
    with starting():
        from smalti.formats import exporting

    check_free(out)
    for line in exporting.convert(model, out, name):
        click.echo(line)
