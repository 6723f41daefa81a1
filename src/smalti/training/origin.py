"""What a run notes when it begins, so that it knows its recipe, data and tokenizers again when it goes on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from smalti import config
from smalti.data.pixels import Percentiles
from smalti.data.protocol import Reader
from smalti.errors import UserError
from smalti.files import read_json
from smalti.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Empty where it is not known: runs of before this was noted."""

    recipe: str = ""  # its name, or the name of its file without the suffix
    mapping: Mapping[str, Any] = field(default_factory=dict)  # what stood in it
    percentiles: Sequence[float] = ()  # which data.range was asked for as
    data: Mapping[str, str] = field(default_factory=dict)  # fingerprint of each split
    tokenizers: Mapping[str, str] = field(default_factory=dict)  # fingerprints by the recipe's key

    def text(self) -> str:
        """Return the text that is kept."""
        return json.dumps(asdict(self), indent=2, default=str) + "\n"


def note(recipe: str | Path, readers: Mapping[str, Reader], asked: Any) -> Origin:
    """Return the origin of a run that begins now, but for its tokenizers.

    asked: its settings of data, unsettled.
    """
    data = {split: reader.summary().fingerprint() for split, reader in readers.items()}
    asked_range = getattr(asked, "range", None)
    taken = asked_range.percentiles if isinstance(asked_range, Percentiles) else ()
    name = config.find_recipe(recipe).stem
    return Origin(recipe=name, mapping=said(recipe), percentiles=taken, data=data)


def read(path: Path) -> Origin:
    """Return what a run noted; an empty one where there is no such file. UserError for a damaged one."""
    if not path.is_file():
        return Origin()
    what, remedy = (
        "what the run noted as it began",
        "delete it: the run goes on without knowing its data again",
    )
    try:
        return Origin(**read_json(path, dict, what, remedy))
    except TypeError as problem:
        raise UserError(f"a JSON file with {what}", f"{path} ({problem})"[:200], remedy) from None


def said(recipe: str | Path) -> dict[str, Any]:
    """Return what stands in a recipe, as JSON gives it back."""
    return dict(json.loads(json.dumps(config.read(recipe, into=TrainingSettings), default=str)))
