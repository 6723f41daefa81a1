"""What a run notes when it begins, so that it knows its recipe, data and tokenizers again when it goes on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from smalti import config
from smalti.data.annotated import Annotated
from smalti.data.folder import Folder
from smalti.data.maps import Maps
from smalti.data.pairs import Pairs
from smalti.data.protocol import Reader
from smalti.data.shards import TokenShards


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Empty where it is not known: runs of before this was noted."""

    recipe: str = ""  # its name, or the name of its file without the suffix
    mapping: Mapping[str, Any] = field(default_factory=dict)  # what stood in it
    data: Mapping[str, str] = field(default_factory=dict)  # `fingerprint` of each split
    tokenizers: Mapping[str, str] = field(default_factory=dict)  # fingerprints by the recipe's key

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self), indent=2, default=str) + "\n"


def note(recipe: str | Path, readers: Mapping[str, Reader]) -> Origin:
    """The origin of a run that begins now, but for its tokenizers."""
    file = config.find_recipe(recipe)
    data = {split: fingerprint(reader) for split, reader in readers.items()}
    return Origin(recipe=file.stem, mapping=plain(config.load_yaml(file)), data=data)


def read(path: Path) -> Origin:
    """What a run noted; an empty one where there is no such file."""
    return Origin(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else Origin()


def plain(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's mapping as JSON gives it back."""
    return dict(json.loads(json.dumps(mapping, default=str)))


def fingerprint(reader: Reader) -> str:
    """What changes when samples come, go or change their names, wherever they lie: a number and a digest."""
    if isinstance(reader, TokenShards):
        names = [reader.tokenizer, *(str(reader.grid) for _ in range(bool(len(reader))))]
    else:
        files = reader.files if isinstance(reader, Maps | Pairs) else reader
        assert isinstance(files, Folder | Annotated), "a reader of files"
        begin = len(str(files.root)) + 1  # by hand: a path's own way takes seconds for a million of them
        names = [str(path)[begin:] for path in files.paths]
    digest = hashlib.blake2b("\n".join(names).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"{len(reader)} {digest}"
