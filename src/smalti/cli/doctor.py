"""smalti doctor."""

from pathlib import Path
from typing import Any

import click

from smalti.cli.options import starting, telling
from smalti.cli.paths import MODEL
from smalti.errors import UserError


@click.command()
@click.argument("model", type=MODEL, required=False)
@click.option("--device", default="auto", show_default=True, help="That is held against the CPU.")
@telling
def doctor(model: Path | None, device: str) -> tuple[Any, str]:
    """Say what this machine has, and with MODEL whether its device computes what the CPU does.

    Some devices give wrong numbers without a word. Codes, images and a prior's logits are compared, in fp32;
    what lies beyond rounding ends with exit status 2.

    Example: smalti doctor emoji --device mps
    """
    with starting():
        from smalti import devices, library
        from smalti import doctor as checks

    found = checks.machine()
    lines = [f"{name}: {_words(told)}" for name, told in found.items()]
    if model is None:
        return found, "\n".join(lines)
    where = devices.find(device)
    compared = checks.compared(lambda device: library.load(model, device), where)
    lines += [f"{model} on {where} and on the CPU:", *(f"  {one}" for one in compared)]
    wrong = [one.what for one in compared if not one.is_right]
    if wrong:
        click.echo("\n".join(lines))
        raise UserError(
            f"what the CPU computes on {where}", f"something else: {', '.join(wrong)}", "--device cpu"
        )
    checked = [{**one._asdict(), "is_right": one.is_right} for one in compared]
    return {**found, "checked": checked}, "\n".join(lines)


def _words(told: Any) -> str:
    """Return what there is of one kind: of mappings what is there, and what lacks."""
    if not isinstance(told, dict):
        return ", ".join(told) if isinstance(told, list) else str(told)
    parts = [f"{name} ({_lack(value)})" for name, value in told.items()]
    return ", ".join(parts)


def _lack(value: Any) -> str:
    if isinstance(value, list):
        return f"lacks {' '.join(value)}" if value else "there"
    return "yes" if value else "no"
