"""smalti info."""

from pathlib import Path

import click


@click.command()
@click.argument("model_or_run", type=Path)
def info(model_or_run: Path) -> None:
    """Say what a model folder or a run folder is.

    Example: smalti info runs/tokenizer
    """
    from smalti import library

    click.echo(library.describe(model_or_run))
