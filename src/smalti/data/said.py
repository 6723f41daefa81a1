"""What files beside an image say of it: .cls a class, .txt captions, .json both; as WebDataset lays them."""

import codecs
import json
from dataclasses import dataclass

from smalti.data.tables import cleaned, meanings

_KINDS = {".txt": 1, ".json": 2, ".cls": 3}
LARGEST = 2**20  # bytes of such a file


@dataclass(frozen=True, slots=True)
class Told:
    """A class by its name, and captions."""

    label: str | None = None
    texts: tuple[str, ...] = ()

    @staticmethod
    def kind(name: str) -> int:
        """Return what kind of such a file has this name; 0: none."""
        dot = name.rfind(".")
        return _KINDS.get(name[dot:].lower(), 0) if dot > 0 else 0


def read_told(kind: int, data: bytes) -> Told:
    """Return what such a file says; ValueError for what cannot be read.

    Of JSON the keys class or label, and caption or text, as in tables; another value than an object says
    nothing.
    """
    if len(data) > LARGEST:
        raise ValueError(f"{len(data)} bytes, more than a caption has")
    text = data.removeprefix(codecs.BOM_UTF8).decode()
    if kind == _KINDS[".cls"]:
        return Told(label=text.strip() or None)
    if kind == _KINDS[".txt"]:
        return Told(texts=cleaned(text.splitlines()))
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("JSON that nests too deep") from None
    if not isinstance(found, dict):
        return Told()
    columns = meanings(list(found))
    label, said = (found.get(columns.get(meaning, "")) for meaning in ("class", "caption"))
    named = isinstance(label, str | int) and not isinstance(label, bool)
    return Told(label=str(label).strip() or None if named else None, texts=cleaned(said))
