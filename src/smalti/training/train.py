"""From a recipe to a run folder: what `smalti train` calls."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from smalti import config, library
from smalti.config import find_recipe
from smalti.data import READERS, ReaderSettings
from smalti.data.folder import Folder
from smalti.data.loader import Loader, in_order
from smalti.data.protocol import Reader
from smalti.data.report import inspect
from smalti.data.shards import TokenShards, is_shards
from smalti.errors import UserError
from smalti.generator import Generator
from smalti.losses import perceptual
from smalti.tokenizer import Tokenizer
from smalti.training import processes
from smalti.training.fit import Feed, Loop
from smalti.training.folder import RunFolder
from smalti.training.prior_task import PRIOR, PriorTask
from smalti.training.settings import PriorTraining, TokenizerTraining, Training, TrainingSettings
from smalti.training.tokenizer_task import AUTOENCODER, CRITIC, TokenizerTask

VALIDATED = 256  # held-out pictures at most, so that a validation takes little beside the training

# A resumed run may be longer, shown more often, or moved to another machine; all else must be as it was.
CHANGEABLE = {
    "steps",
    "log_every",
    "sample_every",
    "validate_every",
    "checkpoint_every",
    "keep",
    "workers",
    "device",
}


def train(
    recipe: str | Path,
    data: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    **overrides: Any,
) -> Path:
    """Train a tokenizer or a prior; gives the run folder, which `smalti.load` opens.

    recipe: a name from `smalti recipes` or a YAML file. data: a folder of pictures or of token shards. out:
    a new folder, runs/RECIPE unless given. overrides: settings in place of the recipe's, keys with dots for
    nested ones (`**{"optimizer.lr": 1.0e-4}`). resume: go on from the newest checkpoint in `out`, with the
    settings it was begun with; only how long, how often shown, where it runs and where the same data lie may
    be changed then.
    """
    folder = RunFolder(Path(out) if out is not None else Path("runs") / find_recipe(recipe).stem)
    if resume:
        training = _resumed(folder, data, overrides)
    else:
        training = _parse(config.read(recipe, {**_place(recipe, data), **overrides}))
    device = processes.choose(training.device)
    readers = _open(training.data)
    if isinstance(training, PriorTraining):
        tokenizer = _tokenizer(training, readers["train"], device)
    if not resume and processes.rank() == 0:
        folder.create()
        folder.settings.write_text(yaml.safe_dump(config.dump(training), sort_keys=False), encoding="utf-8")
    _tell(readers["train"])
    with processes.joined(device):
        if isinstance(training, PriorTraining):
            task: PriorTask | TokenizerTask = PriorTask.build(training, tokenizer, device)
            rates = {PRIOR: training.optimizer}
        else:
            task = TokenizerTask.build(training, device)
            rates = {AUTOENCODER: training.optimizer, CRITIC: training.critic_optimizer or training.optimizer}
        Loop(task, training, rates, folder, device).run(_feed(training, readers))
    return folder.root


def _parse(mapping: dict[str, Any]) -> Any:
    training = config.parse(_with_classes(mapping), TrainingSettings)
    if isinstance(training, TokenizerTraining):  # what "auto" means is settled once, and written down
        wanted = training.losses.perceptual
        kind, _ = perceptual.find(wanted)
        training = replace(training, losses=replace(training.losses, perceptual=replace(wanted, kind=kind)))
    return training


def _resumed(folder: RunFolder, data: str | Path | None, overrides: dict[str, Any]) -> Any:
    if not folder.settings.is_file():
        raise UserError(
            "a run folder to resume", f"{folder.root} without settings.yaml", "leave out --resume"
        )
    fixed = sorted(overrides.keys() - CHANGEABLE)
    if fixed:
        got = f"{fixed[0]} with --resume"
        raise UserError(f"changes of {', '.join(sorted(CHANGEABLE))} only", got, "begin a new run for it")
    mapping = {**config.load_yaml(folder.settings), **overrides}
    if data is not None:
        mapping["data"] = {**mapping["data"], "root": str(data)}
    return config.parse(mapping, TrainingSettings)


def _place(recipe: str | Path, data: str | Path | None) -> dict[str, Any]:
    """What `data` says in a recipe's words; keys that the recipe has for data of another kind go."""
    if data is None:
        return {}
    place = {"kind": "shards" if is_shards(Path(data)) else "folder", "root": str(data)}
    given = config.read(recipe).get("data")
    if isinstance(given, dict) and given.get("kind") == place["kind"]:
        place = {**given, **place}
    return {"data": place}


def _open(data: Any) -> dict[str, Reader]:
    member = READERS[data.kind][1]
    return {split: member(data, split) for split in ("train", "val")}


def _with_classes(mapping: dict[str, Any]) -> dict[str, Any]:
    """The recipe's mapping in which a label condition has classes: the data's, unless it names its own."""
    condition = mapping.get("condition")
    if not isinstance(condition, dict) or condition.get("kind") != "label" or "classes" in condition:
        return mapping
    data = config.parse(mapping.get("data", {}), ReaderSettings, where="data")
    classes = list(_open(data)["train"].classes)
    if not classes:
        remedy = "put each class into a sub-folder of its own, or give 'condition={kind: none}'"
        raise UserError("pictures with classes for condition.kind=label", f"none in {data.root}", remedy)
    return {**mapping, "condition": {**condition, "classes": len(classes), "names": classes}}


def _tokenizer(training: PriorTraining, reader: Reader, device: torch.device) -> Tokenizer:
    """The tokenizer whose codes are learned; it must fit the crop, and shards if there are any."""
    try:
        model = library.load(training.tokenizer, device)
    except UserError as mistake:
        remedy = (
            "train one first: smalti train tokenizer_300 --data PICTURES --out runs/tokenizer, then give "
        )
        remedy += "tokenizer=runs/tokenizer"
        raise UserError("a trained tokenizer for the prior", mistake.got, remedy) from None
    tokenizer = model.tokenizer if isinstance(model, Generator) else model
    height, width = training.crop_size
    if height % tokenizer.factor or width % tokenizer.factor:
        remedy = f"size={max(1, round(height / tokenizer.factor)) * tokenizer.factor}"
        raise UserError(f"size as a multiple of {tokenizer.factor}", f"{height} x {width}", remedy)
    if isinstance(reader, TokenShards):
        reader.check(library.fingerprint(tokenizer))
        rows, columns = reader.grid
        if (rows * tokenizer.factor, columns * tokenizer.factor) != (height, width):
            crop = f"{rows * tokenizer.factor} x {columns * tokenizer.factor}"
            raise UserError(f"size as the shards have it, {crop}", f"{height} x {width}", "change size")
    return tokenizer


def _feed(training: Training, readers: dict[str, Reader]) -> Feed:
    size, crop = training.crop_size, training.crop
    loader = Loader(
        readers["train"],
        size=size,
        crop=crop,
        batch=training.batch,
        seed=training.seed,
        workers=training.workers,
        share=(processes.rank(), processes.world()),
    )
    if not len(readers["val"]):
        return Feed(train=loader.batches, validation=None)
    held_out = partial(in_order, readers["val"], size=size, crop=crop, batch=training.batch, most=VALIDATED)
    return Feed(train=loader.batches, validation=held_out)


def _tell(reader: Reader) -> None:
    """What the data holds, before the first step."""
    if processes.rank() != 0:
        return
    if isinstance(reader, Folder):
        tqdm.write(f"training on {inspect(reader).text()}")
    else:
        tqdm.write(f"training on {len(reader)} rows of codes")
