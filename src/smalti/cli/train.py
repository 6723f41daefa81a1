"""smalti train."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from smalti.cli.options import starting
from smalti.cli.paths import DATA, MODEL, PATH, RECIPE
from smalti.errors import UserError


class KeyValue(click.Command):
    """A command whose settings are words key=value; one given as an option is told how to write it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Do as click does; UserError for an option that is a setting."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as unknown:
            remedy = _as_setting(given, unknown)
            if remedy is None:
                raise
            raise UserError("settings of the recipe as key=value", unknown.option_name, remedy) from None


def _as_setting(given: list[str], unknown: click.NoSuchOption) -> str | None:
    """Return how to write a setting that was given as an option."""
    from smalti import hints, schema
    from smalti.training.settings import TrainingSettings

    option = unknown.option_name
    name = option.lstrip("-").replace("-", "_")
    found = hints.find(name, schema.keys(TrainingSettings))
    key = next((key for key in found if not key.startswith("--")), None)
    if key is None or (unknown.possibilities and not key.endswith(name)):  # options that are nearly so
        return None
    place = next(index for index, word in enumerate(given) if word.partition("=")[0] == option)
    _, equals, value = given[place].partition("=")
    rest = [word for word in given[place + 1 : place + 2] if "=" not in word and not word.startswith("--")]
    return f"write {key}={value if equals else ''.join(rest) or 'true'}"


def changes_of(settings: tuple[str, ...], options: Mapping[str, Path | None]) -> dict[str, Any]:
    """Return settings typed as key=value, by their keys; UserError for what is none, or is an option.

    options: those that say what a setting says too.
    """
    from smalti import config
    from smalti.training.settings import TrainingSettings

    folder = next((word for word in settings if "=" not in word and Path(word).is_dir()), None)
    if folder is not None:
        raise UserError(
            "settings of the recipe as key=value", folder, f"write --data {folder}, if it is that"
        )
    changes = config.overrides(settings, TrainingSettings)
    _refuse_both(changes, options)
    for name in ("data", "out", "resume", "recipe"):
        if name in changes:
            raise UserError("settings of the recipe as key=value", f"{name}=", f"give it as --{name}")
    return changes


def _refuse_both(changes: Mapping[str, Any], options: Mapping[str, Path | None]) -> None:
    """UserError for what is said by an option and by a setting."""
    for key, option in (("data.root", "data"), ("init_from", "init_from")):
        if key in changes and options.get(option) is not None:
            got = f"{key}= and --{option.replace('_', '-')}"
            raise UserError("each key once", f"the key {key} is given twice, as {got}", f"leave {key}= out")


@click.command(cls=KeyValue)
@click.argument("recipe", type=RECIPE, required=False)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--data", type=DATA, help="Images: a folder, archives, a table; or token shards.")
@click.option("--out", type=PATH, help="The run folder; runs/RECIPE unless given.")
@click.option("--init-from", type=MODEL, help="A model to begin with: fine-tuning.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in the run folder.")
def train(
    recipe: str | None,
    settings: tuple[str, ...],
    data: Path | None,
    out: Path | None,
    init_from: Path | None,
    resume: bool,
) -> None:
    """Train a tokenizer or a prior. RECIPE is a name from `smalti recipes` or a YAML file.

    Example: smalti train tokenizer_300 --data photos --out runs/tokenizer steps=2000

    The same command with --resume goes on where it was stopped; so does smalti train --resume --out RUN.
    """
    with starting():
        from smalti.training.train import train as run

    if recipe is not None and "=" in recipe and not Path(recipe).is_file():  # left out, before settings
        settings, recipe = (recipe, *settings), None
    changes = changes_of(settings, {"data": data, "init_from": init_from})
    if init_from is not None:
        changes["init_from"] = str(init_from)
    click.echo(run(recipe, data=data, out=out, resume=resume, **changes))
