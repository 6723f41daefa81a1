"""smalti plan."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import starting, telling
from smalti.cli.paths import DATA, RECIPE
from smalti.cli.train import KeyValue, changes_of


@click.command(cls=KeyValue)
@click.argument("recipe", type=RECIPE)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--data", type=DATA, help="A folder of images, or of token shards; made samples unless given.")
@click.option(
    "--gpus",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share each batch, one a GPU.",
)
@telling
def plan(recipe: str, settings: tuple[str, ...], data: Path | None, gpus: int) -> tuple[Any, str]:
    """Say what a training takes, after a few real steps here: memory part by part, time, disk.

    And what would fit in less. RECIPE and KEY=VALUE are those of `smalti train`. Nothing is written.

    Example: smalti plan tokenizer_300 --data photos batch=16
    """
    with starting():
        from smalti.planning import page
        from smalti.planning.plan import plan as made

    found = made(recipe, data, gpus, **changes_of(settings, {"data": data}))
    return page.facts(found), page.text(found)
