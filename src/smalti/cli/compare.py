"""smalti compare."""

from pathlib import Path

import click


@click.command()
@click.argument("records", nargs=-1, type=Path, required=True, metavar="RECORD...")
def compare(records: tuple[Path, ...]) -> None:
    """Put evaluations into one table: each RECORD a metrics.json, or the folder of a report.

    Numbers that were not measured in the same way are left out: it is said which field differs.

    Example: smalti compare evaluated/a evaluated/b
    """
    from smalti.evaluation import record, table

    click.echo(table.of_several({str(path): record.read(path) for path in records}))
