"""docs/map.md names every file of the source, and no file that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "smalti"


def test_map_names_every_file():
    text = (ROOT / "docs" / "map.md").read_text()
    room, named = "", set()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) < 5:
            continue
        names = re.findall(r"`([\w./]+)`", cells[1])
        room = names[0] if names else room
        files = re.findall(r"`([\w]+\.py)`", cells[2])
        named |= {f"{room}{file}" for file in files} | ({room} if room.endswith(".py") else set())
    there = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if path.name != "__init__.py" and path.parent.name != "cli"
    }
    assert named == there, f"only in the map: {sorted(named - there)}; only in src: {sorted(there - named)}"
