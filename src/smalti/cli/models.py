"""smalti models."""

from typing import Any

import click

from smalti.cli.options import starting, telling


@click.command()
@telling
def models() -> tuple[Any, str]:
    """List the models that ship with the package: name, what it draws, its size.

    Wherever a command takes MODEL such a name will do, unless a folder is called so.
    Example: smalti models
    """
    with starting():
        from smalti import library, shipped

    found = []
    for name, folder in shipped.models().items():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        about = library.read_config(folder)["provenance"].get("about", "")
        found.append({"name": name, "about": about, "bytes": size})
    width = max((len(one["name"]) for one in found), default=0)
    lines = [f"{one['name']:<{width}}  {one['about']} ({one['bytes'] / 1e6:.1f} MB)" for one in found]
    return found, "\n".join(lines)
