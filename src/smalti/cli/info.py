"""smalti info."""

from pathlib import Path

import click

from smalti.cli.options import starting


@click.command()
@click.argument("path", type=Path)
def info(path: Path) -> None:
    """Say what a model folder, a run folder, or a model of another project is.

    Example: smalti info runs/tokenizer
    """
    with starting():
        from smalti import library
        from smalti.formats import importing

    click.echo(importing.describe(path) if library.is_foreign(path) else library.describe(path))
