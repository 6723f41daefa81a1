"""From a recipe to a run folder: what `smalti train` calls."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from smalti import config, library, precision
from smalti.config import find_recipe
from smalti.data import READERS, ReaderSettings
from smalti.data.annotated import Annotated
from smalti.data.folder import Folder
from smalti.data.loader import Loader, in_order
from smalti.data.maps import Maps
from smalti.data.pairs import Pairs, PairsSettings
from smalti.data.protocol import Reader
from smalti.data.report import inspect
from smalti.data.shards import TokenShards, is_shards
from smalti.errors import UserError
from smalti.files import as_path
from smalti.generator import Generator, check_tokenizers
from smalti.losses import perceptual
from smalti.tokenizer import Tokenizer
from smalti.training import beginning, checkpoints, processes, told
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
    recipe: str | Path | Any,
    data: str | Path | Any = None,
    out: str | Path | Any = None,
    resume: bool = False,
    **overrides: Any,
) -> Path:
    """Train a tokenizer or a prior; gives the run folder, which `smalti.load` opens.

    recipe: a name from `smalti recipes` or a YAML file. data: a folder of pictures or of token shards. out:
    a new folder, runs/RECIPE unless given. overrides: settings in place of the recipe's, keys with dots for
    nested ones (`**{"optimizer.lr": 1.0e-4}`). resume: go on from the newest checkpoint in `out`, with the
    settings it was begun with; only how long, how often shown, where it runs and where the same data lie may
    be changed then. The setting init_from names a model to begin with: its weights, those of the critic
    beside it, and the settings that they fit.
    """
    recipe = as_path(recipe, "recipe")
    data, out = (
        None if path is None else as_path(path, name) for name, path in (("data", data), ("out", out))
    )
    folder = RunFolder(Path(out) if out is not None else Path("runs") / find_recipe(recipe).stem)
    if resume:
        training = _resumed(folder, data, overrides)
    else:
        mapping = config.read(recipe, {**_place(recipe, data), **overrides}, TrainingSettings)
        training = _parse(beginning.settle(mapping, overrides))
    device = processes.choose(training.device)
    # what "auto" means is settled once, and written down
    training = replace(training, precision=precision.choose(training.precision, device))
    readers = _open(training.data)
    if resume:
        _check_classes(folder, readers["train"])
    if isinstance(training, PriorTraining):
        told.check(training.condition, training.data, readers["train"])
        tokenizer = _tokenizer(training, readers["train"], device)
        maps = _maps_tokenizer(training, tokenizer, device)
        check_tokenizers(training.condition, tokenizer, maps)
    if processes.rank() == 0:
        _tell(readers)
        if not resume:
            _create(folder, training, readers["train"].classes)
    with processes.joined(device):
        if isinstance(training, PriorTraining):
            task: PriorTask | TokenizerTask = PriorTask.build(training, tokenizer, device, maps)
            rates = {PRIOR: training.optimizer}
        else:
            task = TokenizerTask.build(training, device)
            rates = {AUTOENCODER: training.optimizer, CRITIC: training.critic_optimizer or training.optimizer}
        if training.init_from is not None and checkpoints.latest(folder.checkpoints) is None:
            beginning.fill(task, training.init_from)
        Loop(task, training, rates, folder, device).run(_feed(training, readers))
    return folder.root


def _parse(mapping: dict[str, Any]) -> Any:
    training = config.parse(_with_classes(mapping), TrainingSettings)
    if isinstance(training, TokenizerTraining):  # what "auto" means is settled once, and written down
        wanted = training.losses.perceptual
        kind, _ = perceptual.find(wanted)
        training = replace(training, losses=replace(training.losses, perceptual=replace(wanted, kind=kind)))
    return training


def _create(folder: RunFolder, training: Training, classes: Sequence[str]) -> None:
    """The run folder, with what a resumed run goes by."""
    folder.create()
    folder.settings.write_text(yaml.safe_dump(config.dump(training), sort_keys=False), encoding="utf-8")
    folder.classes.write_text(json.dumps(list(classes), indent=2) + "\n", encoding="utf-8")


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


def _check_classes(folder: RunFolder, reader: Reader) -> None:
    """A class is its number: names that come, go or change places would give the numbers another meaning."""
    if not folder.classes.is_file():  # a run of before there was this file
        return
    began, now = json.loads(folder.classes.read_text(encoding="utf-8")), list(reader.classes)
    if began == now:
        return
    new = [name for name in now if name not in began]
    gone = [name for name in began if name not in now]
    changes = [f"{what} {_few(names)}" for what, names in (("new:", new), ("gone:", gone)) if names]
    remedy = "give the data it began with (--data), or begin a new run (another --out, without --resume)"
    raise UserError(
        f"the classes that the run began with, {_few(began) or 'none'}",
        f"{_few(now) or 'none'} ({', '.join(changes) or 'another order'})",
        remedy,
    )


def _few(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _place(recipe: str | Path, data: str | Path | None) -> dict[str, Any]:
    """What `data` says in a recipe's words; keys that the recipe has for data of another kind go."""
    if data is None:
        return {}
    given = config.read(recipe, into=TrainingSettings).get("data")
    given = given if isinstance(given, dict) else {}
    files = given["kind"] if given.get("kind", "shards") != "shards" else "folder"
    place = {"kind": "shards" if is_shards(Path(data)) else files, "root": str(data)}
    if given.get("kind") == place["kind"]:
        place = {**given, **place}
    return {"data": place}


def _open(data: Any) -> dict[str, Reader]:
    member = READERS[data.kind][1]
    return {split: member(data, split) for split in ("train", "val")}


def _with_classes(mapping: dict[str, Any]) -> dict[str, Any]:
    """The recipe's mapping in which a condition by classes has some: the data's, unless it names its own."""
    condition = mapping.get("condition")
    if not isinstance(condition, dict) or "classes" in condition:
        return mapping
    if condition.get("kind") not in ("label", "boxes", "points"):
        return mapping
    data = config.parse(mapping.get("data", {}), ReaderSettings, where="data")
    names = list(told.classes(condition["kind"], data, _open(data)["train"]))
    return {**mapping, "condition": {**condition, "classes": len(names), "names": names}}


def _tokenizer(training: PriorTraining, reader: Reader, device: torch.device) -> Tokenizer:
    """The tokenizer whose codes are learned; it must fit the crop, and shards if there are any."""
    tokenizer = _load_tokenizer(training.tokenizer, "tokenizer", device)
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


def _maps_tokenizer(training: PriorTraining, first: Tokenizer, device: torch.device) -> Tokenizer | None:
    """That of the condition's maps, where they have one of their own; it, or the first, must fit the maps."""
    path, key, data = training.condition_tokenizer, "condition_tokenizer", training.data
    tokenizer = None if path is None else _load_tokenizer(path, key, device)
    shared = training.condition.kind == "map" and training.condition.shared
    takes = first if shared else tokenizer
    if takes is not None and isinstance(data, PairsSettings):
        told.check_maps(data, takes, "tokenizer" if shared else key)
    return tokenizer


def _load_tokenizer(path: Path, key: str, device: torch.device) -> Tokenizer:
    try:
        model = library.load(path, device)
    except UserError as mistake:
        remedy = f"train one first: smalti train tokenizer_300 --data PICTURES --out runs/{key}, then give "
        remedy += f"{key}=runs/{key}"
        raise UserError(f"a trained {key.replace('_', ' ')} for the prior", mistake.got, remedy) from None
    tokenizer = model.tokenizer if isinstance(model, Generator) else model
    if not tokenizer.codebook_size:
        got = f"{path}, which has no codebook"
        raise UserError(f"a {key} with codes for the prior", got, "train one with quantizer.kind=vq")
    return tokenizer


def _feed(training: Training, readers: dict[str, Reader]) -> Feed:
    size, crop, skipped = training.crop_size, training.crop, _Skipping()
    loader = Loader(
        readers["train"],
        size=size,
        crop=crop,
        batch=training.batch,
        seed=training.seed,
        workers=training.workers,
        share=(processes.rank(), processes.world()),
        skipped=skipped,
    )
    if not len(readers["val"]):
        return Feed(train=loader.batches, validation=None)
    held_out = partial(
        in_order,
        readers["val"],
        size=size,
        crop=crop,
        batch=training.batch,
        most=VALIDATED,
        skipped=skipped,
    )
    return Feed(train=loader.batches, validation=held_out)


def _tell(readers: dict[str, Reader]) -> None:
    """What the data holds, before the first step. UserError where no training picture can be read."""
    for split, reader in readers.items():
        what = {"train": "training on", "val": "held out:"}[split]
        reader = reader.files if isinstance(reader, Maps | Pairs) else reader
        if not isinstance(reader, Folder | Annotated):
            tqdm.write(f"{what} {len(reader)} rows of codes", file=sys.stderr)
            continue
        report = inspect(reader)
        tqdm.write(f"{what} {report.text()}", file=sys.stderr)
        if split == "train" and report.unreadable and not report.headers:
            got = f"none among {len(report.unreadable)} looked at, the first {report.unreadable[0]}"
            raise UserError(f"pictures in {reader.root} that can be read", got, "mend or replace the files")


class _Skipping:
    """Names each sample that cannot be used once, on stderr."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, mistake: UserError) -> None:
        if mistake.got not in self._told:
            self._told.add(mistake.got)
            tqdm.write(f"skipped: {mistake}", file=sys.stderr)
