"""Models that ship inside the package, each a model folder by itself, called by its name."""

from importlib import resources
from pathlib import Path


def models() -> dict[str, Path]:
    """Return name -> folder of every model that ships; empty where the package was cut down."""
    folder = Path(str(resources.files("smalti") / "models"))
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/config.json"))}


def located(path: Path) -> Path:
    """Return the folder that a name of a shipped model means, or one in it, unless a folder is called so.

    "emoji" and "emoji/tokenizer"; any other path is given back.
    """
    known = models()
    if path.exists() or not path.parts or path.parts[0] not in known:
        return path
    return known[path.parts[0]].joinpath(*path.parts[1:])
