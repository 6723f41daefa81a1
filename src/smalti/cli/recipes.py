"""smalti recipes."""

from typing import Any

import click

from smalti.cli.options import telling


@click.command()
@telling
def recipes() -> tuple[Any, str]:
    """List the recipes that ship with the package: name and purpose.

    Example: smalti recipes
    """
    from smalti import config

    found = {name: path.read_text().splitlines()[0].lstrip("# ") for name, path in config.recipes().items()}
    width = max(map(len, found))
    return found, "\n".join(f"{name:<{width}}  {what}" for name, what in found.items())
