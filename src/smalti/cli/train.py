"""smalti train."""

from pathlib import Path

import click


@click.command()
@click.argument("recipe", required=False)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--data", type=Path, help="A folder of pictures, or of token shards.")
@click.option("--out", type=Path, help="The run folder; runs/RECIPE unless given.")
@click.option("--init-from", type=Path, help="A model to begin with: fine-tuning.")
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
    from smalti import config
    from smalti.errors import UserError
    from smalti.training.train import train as run

    if recipe is not None and "=" in recipe and not Path(recipe).is_file():  # left out, before settings
        settings, recipe = (recipe, *settings), None
    changes = config.overrides(settings)
    if init_from is not None:
        changes["init_from"] = str(init_from)
    for name in {"data", "out", "resume", "recipe"} & changes.keys():
        raise UserError("settings of the recipe as key=value", f"{name}=", f"give it as --{name}")
    click.echo(run(recipe, data=data, out=out, resume=resume, **changes))
