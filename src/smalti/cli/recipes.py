"""smalti recipes."""

import click


@click.command()
def recipes() -> None:
    """List the recipes that ship with the package: name and purpose.

    Example: smalti recipes
    """
    from smalti import config

    found = config.recipes()
    width = max(map(len, found))
    for name, path in found.items():
        click.echo(f"{name:<{width}}  {path.read_text().splitlines()[0].lstrip('# ')}")
