"""smalti doctor."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smalti.cli.options import starting, telling
from smalti.cli.paths import MODEL, PATH
from smalti.errors import UserError

if TYPE_CHECKING:
    from smalti.doctor.protocol import Asked, Finding


@click.command()
@click.argument("model", type=MODEL, required=False)
@click.option("--device", default="auto", show_default=True, help="That is looked at.")
@click.option("--out", type=PATH, help="A folder on the disk that is timed; a temporary one unless given.")
@telling
def doctor(model: Path | None, device: str, out: Path | None) -> tuple[Any, str, UserError | None]:
    """Say what this machine has and what of it is good, slow or wrong, in under a minute.

    Looked at are number types, determinism, threads, free memory, the disk, the opening of images, processes
    that talk, and a small model on the device and on the CPU: some devices give wrong numbers without a word.
    With MODEL that one is compared, in fp32, and nothing else. What is wrong ends with exit status 2.

    Example: smalti doctor emoji --device mps
    """
    with starting():
        from smalti import devices
        from smalti.doctor.machine import machine
        from smalti.doctor.protocol import Asked

    found = machine()
    where = devices.find(device)
    if out is not None and not out.is_dir():
        raise UserError("a folder that is there, for --out", str(out), f"mkdir -p {out}")
    asked = Asked(device=where, folder=Path(tempfile.gettempdir()) if out is None else out)
    subjects = _all(asked) if model is None else _of_model(model, asked)
    lines = [f"{name}: {_words(told)}" for name, told in found.items()]
    wide = max(len(one.what) for findings in subjects.values() for one in findings)
    for subject, findings in subjects.items():
        lines += ["", f"{subject}:", *(_line(one, wide) for one in findings)]
    wrong = [one for findings in subjects.values() for one in findings if one.verdict == "wrong"]
    mistake = None
    if wrong:
        named = "; ".join(f"{one.what} ({one.value})" for one in wrong)
        mistake = UserError(f"a machine that is right, on {where}", f"wrong: {named}", wrong[0].remedy)
    checked = [{"subject": name, **vars(one)} for name, findings in subjects.items() for one in findings]
    return {**found, "checked": checked}, "\n".join(lines), mistake


def _all(asked: "Asked") -> "dict[str, list[Finding]]":
    from tqdm import tqdm

    from smalti.doctor import SUBJECTS
    from smalti.doctor.protocol import looked

    bar = tqdm(SUBJECTS.items(), leave=False, disable=None)  # None: on a terminal only
    return {name: looked(subject, asked) for name, subject in bar}


def _of_model(model: Path, asked: "Asked") -> "dict[str, list[Finding]]":
    from smalti import library
    from smalti.doctor import models

    compared = models.compared(lambda device: library.load(model, device), asked.device)
    return {f"{model} on {asked.device} and on the CPU": list(models.findings(compared))}


def _line(found: "Finding", wide: int) -> str:
    remedy = f"; {found.remedy}" if found.remedy else ""
    return f"  {found.verdict:5}  {found.what:{wide}}  {found.value}{remedy}"


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
