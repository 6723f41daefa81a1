"""smalti studio."""

from functools import partial
from pathlib import Path

import click


@click.command()
@click.argument("models", type=Path, nargs=-1, metavar="[MODEL ...]")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="0 for any that is free."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Another lets others in, by a token.")
@click.option("--runs", type=Path, help="Folder of trainings, to look at while they go on.")
@click.option(
    "--shards", type=Path, multiple=True, help="Folder of smalti encode: shows where in it a code occurs."
)
@click.option("--token", help="At least 16 characters; made for another host unless given.")
@click.option("--no-open", is_flag=True, help="Do not open the page in a browser.")
def studio(
    models: tuple[Path, ...],
    port: int,
    host: str,
    runs: Path | None,
    shards: tuple[Path, ...],
    token: str | None,
    no_open: bool,
) -> None:
    """Open a page to draw with MODELs, those that ship unless given, and an HTTP API beside it.

    Example: smalti studio runs/photos-prior
    """
    from smalti.studio.serve import serve

    say = partial(click.echo, err=True)
    serve(models, say, host=host, port=port, token=token, runs=runs, shards=shards, opens=not no_open)
