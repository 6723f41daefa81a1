"""smalti demo."""

from functools import partial
from pathlib import Path

import click

from smalti.cli.paths import PATH


@click.command()
@click.option("--out", type=PATH, default=Path("demo-out"), show_default=True, help="A new folder.")
def demo(out: Path) -> None:
    """Draw with the model that ships, then train one on shipped photographs, draw, measure, report.

    Example: smalti demo --out demo-out
    """
    from smalti.demo.run import run

    click.echo(run(out, partial(click.echo, err=True)))
