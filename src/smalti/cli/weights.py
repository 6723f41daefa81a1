"""smalti weights."""

from typing import Any

import click

from smalti.cli.options import telling


@click.command()
@telling
def weights() -> tuple[Any, str]:
    """List the trained weights of others that losses and metrics use: where they lie, what brings them.

    Nothing is downloaded, and nothing in them is run. Example: smalti weights
    """
    from smalti.weights.catalogue import WEIGHTS

    lines, found = [], {}
    for name, network in WEIGHTS.items():
        lines.append(f"{name}: {network.what}, {network.use}")
        lines += [f"  {what:<8} {text}" for what, text in network.lines()]
        told = {
            "what": network.what,
            "use": network.use,
            "source": network.source,
            "licence": network.licence,
        }
        found[name] = {**told, "command": network.command, "at_hand": network.at_hand}
    return found, "\n".join(lines)
