"""A model of ours in the format of another project."""

import os
import shutil
from pathlib import Path

from smalti import library
from smalti.errors import UserError
from smalti.formats import WRITERS


def convert(model: Path, out: Path, name: str) -> tuple[str, ...]:
    """Write a model folder or a run folder in the named format, whole or not at all.

    Gives where it lies, and what its writer tells of it, a line each.
    out: a folder that is new or empty. UserError for an unknown format, and for a model that it cannot hold.
    """
    if name not in WRITERS:
        raise UserError(f"a format to write ({', '.join(WRITERS)})", name, f"--format {next(iter(WRITERS))}")
    loaded, discriminator = library.load(model), library.load_discriminator(model)
    fresh = out.with_name(f".{out.name}.new-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        told = WRITERS[name](loaded, fresh, discriminator)
        if out.is_dir():
            out.rmdir()  # empty, or it fails: nothing is overwritten
        fresh.rename(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return (str(out), *told)
