"""smalti info."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import starting, telling
from smalti.cli.paths import MODEL


@click.command()
@click.argument("path", type=MODEL)
@telling
def info(path: Path) -> tuple[Any, str]:
    """Say what a model folder, a run folder, or a model of another project is.

    Example: smalti info runs/tokenizer
    """
    with starting():
        from smalti import library
        from smalti.formats import importing

    if library.is_foreign(path):
        told = importing.describe(path)
        return {"path": path, "about": told}, told
    found = library.outline(path)
    return found.facts, found.words
