"""How values are read, settled before the first step: by the recipe, the data, or a model that is there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from smalti import config, library
from smalti.data.pixels import Percentiles, PixelSettings, with_numbers
from smalti.data.protocol import Reader
from smalti.errors import UserError
from smalti.reading.pixels import PixelReading
from smalti.tokenizer import TokenizerSettings
from smalti.training.settings import PriorTraining, TokenizerTraining

Recipe = TokenizerTraining | PriorTraining


def settle(training: Any, reader: Reader, read: PixelReading | None = None) -> Any:
    """Return a recipe whose data are read by numbers: what a run writes down and a model keeps.

    reader: of the training data, whose files percentiles are taken from. read: of a prior's tokenizer, where
    that is there already.

    A prior's images are read as its tokenizer reads them; a tokenizer that begins with a model reads as
    that one, unless data.range or data.bands say otherwise. UserError where a prior's recipe says otherwise.
    """
    data = training.data
    if not isinstance(data, PixelSettings):
        return training
    if isinstance(training, PriorTraining):
        read = read or _reading(training.tokenizer)
        return training if read is None else replace(training, data=_inherited(data, read))
    if training.content == "image":
        if training.init_from is not None and data.range is None and data.bands is None:
            data = _with(data, _reading(training.init_from) or PixelReading())
        if data.bands is None and training.network.in_channels != 3:
            many = training.network.in_channels
            data = replace(data, bands="gray" if many == 1 else tuple(range(many)))
    if isinstance(data.range, Percentiles):
        data = with_numbers(data, reader.summary().samples)
    return replace(training, data=data)


def of(training: TokenizerTraining) -> PixelReading | None:
    """Return what the tokenizer keeps."""
    data = training.data
    return data.reading if isinstance(data, PixelSettings) and training.content == "image" else None


def _reading(path: Path) -> PixelReading | None:
    """Return how a model's tokenizer reads, by its settings alone.

    None: there is no such, which is said later.
    """
    try:
        folder = library.find(path)
        if (folder / library.TOKENIZER).is_dir():
            folder = folder / library.TOKENIZER
        found: TokenizerSettings = config.parse(library.read_config(folder)["settings"], TokenizerSettings)
    except UserError:
        return None
    return found.pixels or PixelReading()


def _with(data: Any, found: PixelReading) -> Any:
    return replace(data, range=found.range, bands=found.bands)


def _inherited(data: Any, found: PixelReading) -> Any:
    for name in ("range", "bands"):
        asked, has = getattr(data, name), getattr(found, name)
        if asked is not None and asked != has:
            expected = f"data.{name} as the tokenizer has it, {has}"
            raise UserError(expected, str(asked), f"leave data.{name} out: it is the tokenizer's")
    return _with(data, found)
