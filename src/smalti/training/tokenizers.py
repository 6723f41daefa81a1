"""The tokenizers that a prior learns on: found, fit for the recipe, and those that its run began with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from smalti import library, strategy
from smalti.data.protocol import Reader
from smalti.errors import UserError
from smalti.pipeline import tokenizer_of
from smalti.sizes import Sides, worded
from smalti.tokenizer import Tokenizer
from smalti.training.settings import PriorTraining, check_sides

KEYS = {"tokenizer": library.TOKENIZER, "condition_tokenizer": library.CONDITION}  # place in a prior's model

_KINDS = ("tokenizer", "condition")


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of them before they are read."""

    read: Mapping[Path, Tokenizer] = field(default_factory=dict)  # those that are there already, by path
    began: Mapping[str, str] = field(default_factory=dict)  # fingerprints of those a run began with, by key
    copies: Path | None = None  # the run's newest model, which holds them
    moved: frozenset[str] = frozenset()  # keys whose paths are others than the run began with


def find(training: PriorTraining, reader: Reader, device: torch.device, known: Known) -> dict[str, Tokenizer]:
    """Return the tokenizer whose codes are learned and, where the recipe names one, that of the condition.

    By the recipe's keys. UserError where one is missing or another one than the run began with, or where the
    first does not fit the crop or the shards.
    """
    paths = {"tokenizer": training.tokenizer, "condition_tokenizer": training.condition_tokenizer}
    found = {key: _known(path, key, device, known) for key, path in paths.items() if path is not None}
    _check_sizes(training.sizes, found["tokenizer"], reader)
    return found


def fingerprints(found: Mapping[str, Tokenizer]) -> dict[str, str]:
    """Return them by key, as model folders have them."""
    return {key: tokenizer.fingerprint for key, tokenizer in found.items()}


def _known(path: Path, key: str, device: torch.device, known: Known) -> Tokenizer:
    """Return the one at a path.

    Or the run's copy, where there is none or another one at the path it began with.
    """
    if path in known.read:
        return known.read[path].to(device)
    copy = None if known.copies is None else _copy(known.copies / KEYS[key])
    expected = known.began.get(key) or (library.read_config(copy)["fingerprint"] if copy else None)
    try:
        tokenizer = _read(path, key, device)
    except UserError:
        if copy is None or key in known.moved:
            raise
        strategy.current().say(f"{key}: {path} is gone; the copy in {copy} is used")
        return _read(copy, key, device)
    found = tokenizer.fingerprint
    if expected is None or found == expected:
        return tokenizer
    if copy is None or key in known.moved:
        remedy = f"leave {key} out, or name that one" if copy else "begin a new run"
        raise UserError(f"the {key} that the run began with, {expected}", f"{found} in {path}", remedy)
    strategy.current().say(f"{key}: {path} holds another one by now; the copy in {copy} is used")
    return _read(copy, key, device)


def _copy(folder: Path) -> Path | None:
    """Return the run's copy: the folder, or of several conditions the only one below that is a tokenizer."""
    for config in (folder / library.CONFIG, *folder.glob(f"*/{library.CONFIG}")):
        if config.is_file() and library.read_config(config.parent, _KINDS)["kind"] == _KINDS[0]:
            return config.parent
    return None


def _read(path: Path, key: str, device: torch.device) -> Tokenizer:
    try:
        model = library.load(path, device)
    except UserError as mistake:
        remedy = f"train one first: smalti train tokenizer_300 --data IMAGES --out runs/{key}, then give "
        remedy += f"{key}=runs/{key}"
        raise UserError(f"a trained {key.replace('_', ' ')} for the prior", mistake.got, remedy) from None
    tokenizer = tokenizer_of(model)
    if not tokenizer.has_codes:
        got = f"{path}, which has no codebook"
        raise UserError(f"a {key} with codes for the prior", got, "train one with quantizer.kind=vq")
    return tokenizer


def _check_sizes(sizes: Sequence[Sides], tokenizer: Tokenizer, reader: Reader) -> None:
    """Check that the tokenizer fits the crops, and shards if there are any."""
    check_sides(sizes, tokenizer.factor)
    reader.check(library.fingerprint(tokenizer))
    grids = reader.summary().grids
    crops = [(rows * tokenizer.factor, columns * tokenizer.factor) for rows, columns in grids]
    if crops and set(crops) != set(sizes):
        raise UserError(f"size as the shards have it, {worded(crops)}", worded(sizes), "change size")
