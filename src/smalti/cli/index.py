"""smalti index."""

from pathlib import Path

import click

from smalti.cli.options import starting
from smalti.cli.paths import DATA, PATH
from smalti.errors import UserError


@click.command()
@click.argument("data", type=DATA)
@click.option("--out", type=PATH, help="The index; beside the archives unless given.")
def index(data: Path, out: Path | None) -> None:
    """Note where in tar or zip files each image lies, so that a training finds any of them at once.

    DATA is such a file, or a folder of them. A training makes the index itself where there is none. This
    command makes it anew, when archives have changed, or elsewhere: --out FILE, then data.index=FILE.

    Example: smalti index shards
    """
    with starting():
        from smalti.data import READERS
        from smalti.data.archives import Archives
        from smalti.data.kinds import kind_of

    member = READERS[kind_of(data)][1]
    if not issubclass(member, Archives):
        got = str(data) if data.exists() else f"{data}, which is not there"
        raise UserError(".tar or .zip files to index, or a folder of them", got, "other data need no index")
    click.echo(member.indexed(data, out).path)
