"""smalti models."""

import click

from smalti.cli.options import starting


@click.command()
def models() -> None:
    """List the models that ship with the package: name, what it draws, its size.

    Wherever a command takes MODEL such a name will do, unless a folder is called so.
    Example: smalti models
    """
    with starting():
        from smalti import library, shipped

    found = shipped.models()
    width = max(map(len, found), default=0)
    for name, folder in found.items():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        about = library.read_config(folder)["provenance"].get("about", "")
        click.echo(f"{name:<{width}}  {about} ({size / 1e6:.1f} MB)")
