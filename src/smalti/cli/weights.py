"""smalti weights."""

import click


@click.command()
def weights() -> None:
    """List the trained weights of others that losses and metrics use: where they lie, what brings them.

    Nothing is downloaded, and nothing in them is run. Example: smalti weights
    """
    from smalti.weights.catalogue import WEIGHTS

    for name, network in WEIGHTS.items():
        click.echo(f"{name}: {network.what}, {network.use}")
        for what, text in network.lines():
            click.echo(f"  {what:<8} {text}")
