"""Every command that README and the documentation write is one that smalti takes: options, recipes, keys."""

import re
import shlex
from pathlib import Path

import click
import pytest

from smalti import config
from smalti.cli.main import group
from smalti.training.settings import TrainingSettings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
HISTORY = {"log.md", "status.md"}  # what was run then, with the options of then
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LAUNCH = re.compile(r"^(srun .*)?torchrun .*?-m (-- )?(?=smalti )")  # what starts several processes
INLINE = re.compile(r"`(smalti [a-z][^`]*)`")


def written() -> list[tuple[str, str]]:
    """Return (page, command) of all blocks and of what stands within lines, remarks and prompts taken off."""
    found = []
    for page in PAGES:
        if page.name in HISTORY:
            continue
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [
            line for kind, block in BLOCK.findall(text) if kind != "python" for line in block.splitlines()
        ]
        for line in lines + INLINE.findall(BLOCK.sub("", text)):
            command = LAUNCH.sub("", re.sub(r"^\$ |^\.venv/bin/", "", line.strip()))
            if re.match(r"smalti [a-z]", command) and "..." not in command:
                found.append((page.name, command))
    return found


@pytest.mark.parametrize(("page", "command"), written())
def test_a_command_is_taken(page, command):
    words = shlex.split(command, comments=True)[1:]
    name, *words = words
    context = group.make_context("smalti", [name, *words])
    _, known, rest = group.resolve_command(context, [name, *words])
    first = next((one for one in known.params if isinstance(one, click.Argument)), None)
    try:
        inner = known.make_context(name, rest, parent=context)
    except click.MissingParameter as missing:
        if missing.param is not first:
            raise
        return  # it is named, not called
    if name == "train" and inner.params["recipe"] in config.recipes():
        changes = config.overrides(inner.params["settings"], TrainingSettings)
        mapping = config.read(inner.params["recipe"], {"data.root": "images", **changes}, TrainingSettings)
        assert mapping["kind"] in ("tokenizer", "prior")


def test_there_are_some():
    assert len(written()) > 75
