"""smalti compare."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from smalti.cli.options import telling
from smalti.cli.paths import PATH


@click.command()
@click.argument("records", nargs=-1, type=PATH, required=True, metavar="RECORD...")
@telling
def compare(records: tuple[Path, ...]) -> tuple[Any, str]:
    """Put evaluations into one table: each RECORD a metrics.json, or the folder of a report.

    Numbers that were not measured in the same way are left out: it is said which field differs.

    Example: smalti compare evaluated/a evaluated/b
    """
    from smalti.evaluation import record, table

    found = {str(path): record.read(path) for path in records}
    apart = record.unlike_numbers(found)
    kept = {
        path: {name: asdict(one) for name, one in each.numbers.items() if name not in apart}
        for path, each in found.items()
    }
    return {"numbers": kept, "left_out": apart}, table.of_several(found)
