"""smalti import."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import Size, check_free, starting
from smalti.cli.paths import PATH


@click.command("import")
@click.argument("source", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--config", "settings", type=PATH, help="The model's yaml or json; unless given, what lies beside it."
)
@click.option(
    "--part",
    type=click.Choice(["all", "first_stage", "cond_stage"]),
    default="all",
    show_default=True,
    help="Of a model with a prior: all, its tokenizer, or its condition's tokenizer.",
)
@click.option(
    "--num-heads", type=click.IntRange(min=1), help="Of a prior without a yaml: weights do not tell."
)
@click.option(
    "--tokenizer", type=PATH, help="Of a prior whose file comes without one (LlamaGen's): its model folder."
)
@click.option("--size", type=Size(), help="Of such a prior's training images, in pixels.")
@click.option(
    "--image-range",
    type=click.Choice(["-1..1", "0..1"]),
    help="Of images inside the tokenizer, where its code took another range than the format's.",
)
@click.option(
    "--shift/--no-shift",
    default=None,
    help="Of label maps: whether training added 1 to values, as to COCO's; unless given, as the yaml says.",
)
def import_(source: Path, out: Path, settings: Path | None, tokenizer: Path | None, **options: Any) -> None:
    """Turn a model of another project into a model folder, OUT, new or empty.

    SOURCE is a run folder, a checkpoint (.ckpt, .pt, .pth, .bin), a .safetensors file, a folder with
    config.json, a pipeline's folder, or weights in parts. Nothing in it is run. Tensors
    that ours has no use for are listed.

    Example: smalti import logs/2021-04-23T18-19-01_ffhq_transformer models/ffhq
    """
    with starting():
        from smalti.formats import importing
        from smalti.formats.protocol import Wanted

    check_free(out)
    first = importing.load_tokenizer(tokenizer) if tokenizer else None
    found = importing.convert(source, out, settings, Wanted(**options, tokenizer=first))
    for line in found.dropped:
        click.echo(f"left out: {line}")
    if found.discriminator:
        click.echo("kept beside the model: the discriminator, for smalti train --init-from")
    for part in importing.of_segmentations(found.model):
        how, other = part.settings.labels, "--shift if training added 1 to them"
        told = f"{how.told()} (--no-shift if not)" if how else f"as they are ({other})"
        click.echo(f"values of label maps: {told}")
    click.echo(out)
