"""From a recipe to a run folder: what `smalti train` calls."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from smalti import config, disk, locks, memory, peers, precision, strategy
from smalti.conditions import CONDITIONS
from smalti.conditions.computed import computation
from smalti.data import READERS, kinds
from smalti.data.buckets import Buckets
from smalti.data.loader import Loader, in_order
from smalti.data.protocol import Batch, Reader
from smalti.errors import UserError
from smalti.files import as_path, read_json, read_texts
from smalti.losses import perceptual
from smalti.losses.protocol import AUTOENCODER, DISCRIMINATOR
from smalti.reading.pixels import PixelReading
from smalti.sizes import nearest
from smalti.tokenizer import Tokenizer
from smalti.training import (
    beginning,
    checkpoints,
    checks,
    folders,
    limits,
    origin,
    pixels,
    resuming,
    sharing,
    tokenizers,
)
from smalti.training.beginning import Beginning
from smalti.training.feed import Feed
from smalti.training.fit import Loop
from smalti.training.folder import RunFolder
from smalti.training.mishaps import Mishaps
from smalti.training.origin import Origin
from smalti.training.prior_task import PRIOR, PriorTask
from smalti.training.settings import (
    OptimizerSettings,
    PriorTraining,
    TokenizerTraining,
    Training,
    TrainingSettings,
)
from smalti.training.tokenizer_task import TokenizerTask
from smalti.training.tokenizers import Known
from smalti.training.validation import VALIDATED


@dataclass(frozen=True, kw_only=True)
class Start:
    """What is settled before anything is built."""

    training: Any  # a member of TrainingSettings
    readers: dict[str, Reader]  # by split; opened again where how values are read was settled
    origin: Origin  # of a run that begins still without its tokenizers
    begun: Beginning | None = None  # the model that training begins with
    moved: frozenset[str] = frozenset()  # of a resumed run: keys whose paths are others than they were


def train(
    recipe: str | Path | Any = None,
    data: str | Path | Any = None,
    out: str | Path | Any = None,
    resume: bool = False,
    **overrides: Any,
) -> Path:
    """Train a tokenizer or a prior; gives the run folder, which `smalti.load` opens.

    recipe: a name from `smalti recipes` or a YAML file; may be None with resume and out. data: a folder of
    images or of token shards. out: a new folder, runs/RECIPE unless given. overrides: settings in place of
    the recipe's, keys with dots for nested ones (`**{"optimizer.lr": 1.0e-4}`). resume: go on from the newest
    checkpoint in `out`, with the settings it was begun with; what is said again is no change, and only how
    long, how often shown, where it runs and where the same data and tokenizers lie may be changed then. The
    setting init_from names a model to begin with: its weights, those of the discriminator beside it, and the
    settings that they fit.
    """
    given = {"recipe": recipe, "data": data, "out": out}
    recipe, data, out = (path if path is None else as_path(path, name) for name, path in given.items())
    folder = RunFolder(_root(recipe, out, resume))
    with locks.held(folder.root):
        _train(folder, recipe, data, overrides, resume)
    return folder.root


def _train(
    folder: RunFolder, recipe: Path | None, data: Path | None, overrides: dict[str, Any], resume: bool
) -> None:
    """Train in a folder in which nobody else does."""
    if strategy.current().rank == 0:
        folder.clear() if resume else folder.check_new()
    start = _resumed(folder, recipe, data, overrides) if resume else begin(recipe, data, overrides)
    training, readers = start.training, start.readers
    checks.check(training, len(readers["val"]))
    device = strategy.choose(training.device)
    # what "auto" means is settled once, and written down
    training = replace(training, precision=precision.choose(training.precision, device))
    short = memory.needed(f"training with batch={training.batch}", partial(limits.remedy, training, folder))
    full = disk.needed(lambda: f"free some space; {_again(folder)}")
    with short, full:
        found = tokenizers_of(training, start, folder, device)
        limits.check_batch(training, readers["train"])
        limits.check_weights(training, device, found.get("tokenizer"))
        with peers.needed(folder.again), strategy.current().joined(device):
            task = task_of(training, found, device)
            if isinstance(task, PriorTask):
                task.pipeline.condition.agree(training.data, readers.values())
            if start.begun is not None:
                beginning.fill(task, start.begun)
            notes = learned(task, readers, folder if resume else None)
            buckets = {split: Buckets.of(reader, training.sizes) for split, reader in readers.items()}
            feed = _feed(training, readers, buckets)
            if strategy.current().rank == 0:
                checks.tell(training, readers, buckets)
                for note in notes:
                    strategy.current().say(note)
                _write_down(folder, task, start, found, resume)
            del start  # and with it the model that training began with
            networks, scaled = task.networks.values(), training.precision == "fp16"
            with sharing.using(training.strategy, networks, device, scaled=scaled):
                Loop(task, training, _rates(training), folder, device).run(feed)


def _again(folder: RunFolder) -> str:
    """Return, in words, what goes on with a run, which may have written nothing yet."""
    return f"go on with: {folder.again}" if folder.settings.is_file() else "then the same command again"


def learned(
    task: PriorTask | TokenizerTask, readers: dict[str, Reader], begun: RunFolder | None
) -> list[str]:
    """Let a condition learn of the data what it must, or take what it learned when the run began.

    Gives lines for a person. begun: the folder of a run that goes on.
    """
    if not isinstance(task, PriorTask):
        return []
    condition = task.pipeline.condition
    if begun is None:
        return condition.learn(readers["train"])
    condition.take(read_texts(begun.condition, condition.learned))
    return []


def _write_down(
    folder: RunFolder,
    task: PriorTask | TokenizerTask,
    start: Start,
    found: dict[str, Tokenizer],
    resume: bool,
) -> None:
    """Write what a resumed run goes by; one that did not note its tokenizers when it began does so now."""
    settings = config.dump(task.training)
    noted = replace(start.origin, tokenizers=start.origin.tokenizers or tokenizers.fingerprints(found))
    if resume:
        folder.change(settings, noted.text())
        return
    texts = task.pipeline.condition.files() if isinstance(task, PriorTask) else {}
    folder.begin(settings, start.readers["train"].classes, texts, noted.text())


def _rates(training: Training) -> dict[str, OptimizerSettings]:
    """Return the optimizer of each network that is trained."""
    if isinstance(training, TokenizerTraining):
        return {
            AUTOENCODER: training.optimizer,
            DISCRIMINATOR: training.discriminator_optimizer or training.optimizer,
        }
    return {PRIOR: training.optimizer}


def _root(recipe: Path | None, out: Path | None, resume: bool) -> Path:
    if out is not None and (resume or recipe is not None):
        return out
    if recipe is None:
        expected, remedy = "RECIPE, or a run to go on with", "--resume --out RUN, or see smalti recipes"
        raise UserError(expected, "neither", remedy)
    return Path("runs") / config.find_recipe(recipe).stem


def begin(
    recipe: str | Path | None,
    data: str | Path | None,
    overrides: dict[str, Any],
    read: PixelReading | None = None,
    opened: Callable[[Any], dict[str, Reader]] | None = None,
) -> Start:
    """Return a run that begins. read: how a prior's tokenizer reads images, where that is there already.

    opened: gives the readers of settings of data by split; None: those that open files.
    """
    opened = opened or _open
    assert recipe is not None, "without a recipe a run goes on"
    place = _place(recipe, data, overrides.get("data.kind"))
    mapping = config.read(recipe, {**place, **overrides}, TrainingSettings)
    path = mapping.get(beginning.KEY)
    begun = None if path is None else Beginning.read(as_path(path, beginning.KEY))
    mapping = beginning.settle(folders.all_images(mapping, overrides), overrides, begun)
    # whatever the classes are, first of all: to look for the data takes long on some disks
    data_settings = config.parse(_with_classes(mapping, ["any"]), TrainingSettings).data
    readers = opened(data_settings)
    mapping = _with_classes(mapping, readers["train"].classes, str(data_settings.root))
    training = pixels.settle(_settled(config.parse(mapping, TrainingSettings)), readers["train"], read)
    if training.data != data_settings:  # which now say how the files' values are read
        readers = opened(training.data)
    training = folders.settled(training, readers)
    noted = origin.note(recipe, readers, data_settings)
    return Start(training=training, readers=readers, origin=noted, begun=begun)


def _settled(training: Any) -> Any:
    """Return the training with what "auto" means settled once, and written down."""
    if isinstance(training, TokenizerTraining):
        wanted = training.losses.perceptual
        kind = perceptual.choose(wanted)
        training = replace(training, losses=replace(training.losses, perceptual=replace(wanted, kind=kind)))
    return training


def _resumed(
    folder: RunFolder, recipe: str | Path | None, data: str | Path | None, overrides: dict[str, Any]
) -> Start:
    """Return a run that goes on."""
    training, moved = resuming.settings(folder, recipe, data, overrides)
    noted, readers = origin.read(folder.origin), _open(training.data)
    _check_classes(folder, readers)
    _check_data(noted, readers, moved=any(key.startswith("data.") for key in moved))
    if recipe is not None and noted.recipe:  # whose changes are taken in by now
        noted = replace(noted, mapping=origin.said(recipe))
    done = checkpoints.done(folder.checkpoints)
    if done == training.steps:
        strategy.current().say(f"all {done} steps are done; steps=MORE makes the run longer")
    fresh = done is None
    begun = Beginning.read(training.init_from) if training.init_from is not None and fresh else None
    return Start(training=training, readers=readers, origin=noted, begun=begun, moved=frozenset(moved))


def _check_data(noted: Origin, readers: dict[str, Reader], *, moved: bool) -> None:
    """Data that lie elsewhere must be the same; where they lie as ever it is said that they are not."""
    for split, reader in readers.items():
        began, now = noted.data.get(split), reader.summary().fingerprint()
        if began is None or began == now:
            continue
        what = {"train": "data to train on", "val": "held-out data"}[split]
        count, other = began.split()[0], f"{len(reader)} others"
        if moved:
            remedy = "give the folder in which those lie now"
            raise UserError(f"the {what} that the run began with, {count} samples", other, remedy)
        changed = f"the {what} changed: {count} samples when the run began, now {other}"
        strategy.current().say(f"{changed}; it goes on with these")


def _check_classes(folder: RunFolder, readers: dict[str, Reader]) -> None:
    """Check the names of classes: a class is its number, to which they give its meaning."""
    if not folder.classes.is_file():  # a run of before there was this file
        return
    remedy = "delete it: classes are not compared then"
    began = read_json(folder.classes, list, "the names of the classes that the run began with", remedy)
    for reader in readers.values():
        reader.number_as(began)
    now = list(readers["train"].classes)
    if began == now:
        return
    known, there = set(began), set(now)
    new = [name for name in now if name not in known]
    gone = [name for name in began if name not in there]
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


def _place(recipe: str | Path, data: str | Path | None, kind: Any) -> dict[str, Any]:
    """Return what `data` says in a recipe's words; keys that the recipe has for data of another kind go.

    kind: that the user asks for; None: the recipe's. In place of a folder there may be the kind of data that
    are made.
    """
    if kind is None and data is not None and folders.is_made(data):
        data, kind = None, str(data)
    if data is None and kind is None:
        return {}
    given = config.read(recipe, into=TrainingSettings).get("data")
    given = given if isinstance(given, dict) else {}
    if data is None:
        return {} if given.get("kind", kind) == kind else {"data": {"kind": kind}}
    if kind in folders.made():
        remedy = "leave --data out: such data are made"
        raise UserError(f"data.kind={kind} without --data", f"--data {data}", remedy)
    there, wanted = kind or kinds.kind_of(Path(data)), given.get("kind", "shards")
    if kind is None and there != "shards" and wanted not in {"shards", *kinds.IMAGES, *folders.made()}:
        there = wanted  # a recipe of other files says itself what they are
    place = {"kind": there, "root": str(data)}
    if {given.get("kind"), place["kind"]} <= {*kinds.IMAGES}:  # the images of any are parted alike
        known = {one.name for one in fields(READERS[place["kind"]][0])}
        place = {**{name: value for name, value in given.items() if name in known}, **place}
    elif given.get("kind") == place["kind"]:
        place = {**given, **place}
    return {"data": place}


def _open(data: Any) -> dict[str, Reader]:
    member = READERS[data.kind][1]
    return {split: member(data, split) for split in ("train", "val")}


def _with_classes(mapping: dict[str, Any], classes: Sequence[str], root: str = "") -> dict[str, Any]:
    """Return the recipe's mapping in which the condition has what it takes from the data, their classes."""
    condition = mapping.get("condition")
    if not isinstance(condition, dict) or condition.get("kind") not in CONDITIONS:
        return mapping
    return {**mapping, "condition": CONDITIONS[condition["kind"]][1].settle(condition, classes, root)}


def tokenizers_of(
    training: Any, start: Start, folder: RunFolder, device: torch.device
) -> dict[str, Tokenizer]:
    """Return the tokenizers that a prior learns on, by the recipe's keys.

    What data and model say of each other must fit.
    """
    readers = start.readers
    if not isinstance(training, PriorTraining):
        if training.content == "segmentation":
            for reader in readers.values():
                reader.bound(training.network.in_channels)
        if training.compute is not None:
            for reader in readers.values():
                computation(training.compute).wanted_of(reader)
        return {}
    for reader in readers.values():
        reader.number_as(getattr(training.condition, "names", ()))
    CONDITIONS[training.condition.kind][1].needs(training.condition, training.data, readers["train"])
    parts = start.begun.parts if start.begun is not None else {}
    known = Known(read=parts, began=start.origin.tokenizers, copies=folder.model, moved=start.moved)
    return tokenizers.find(training, readers["train"], device, known)


def task_of(training: Any, found: dict[str, Tokenizer], device: torch.device) -> PriorTask | TokenizerTask:
    """Build it with new networks. found: the tokenizers of a prior, by the recipe's keys."""
    if isinstance(training, PriorTraining):
        return PriorTask.build(training, found["tokenizer"], device, found.get("condition_tokenizer"))
    return TokenizerTask.build(training, device)


def _feed(training: Training, readers: dict[str, Reader], buckets: dict[str, Buckets]) -> Feed:
    crop, mishaps = training.crop, Mishaps()
    loader = Loader(
        readers["train"],
        size=buckets["train"],
        crop=crop,
        batch=training.batch,
        seed=training.seed,
        workers=training.workers,
        share=(strategy.current().rank, strategy.current().count),
        skipped=mishaps,
    )
    held_out = partial(
        in_order,
        readers["val"],
        size=buckets["val"],
        crop=crop,
        batch=training.batch,
        most=VALIDATED,
        skipped=mishaps,
    )
    validation = held_out if len(readers["val"]) else None
    if len(training.sizes) == 1:
        return Feed(train=loader.batches, validation=validation, notes=mishaps.notes)
    shown = partial(_shown, loader, validation)
    return Feed(train=loader.batches, validation=validation, shown=shown, notes=mishaps.notes)


def _shown(loader: Loader, validation: Callable[[], Iterator[Batch]] | None) -> list[Batch]:
    """Return a batch of each size that there are images of: the first that is held out, else trained on."""
    found: dict[int, Batch] = {}
    for batch in validation() if validation is not None else ():
        found.setdefault(nearest(batch.sides, loader.sizes), batch)
    for size, number in loader.firsts().items():
        if size not in found:
            found[size] = next(loader.batches(number))
    return [found[size] for size in sorted(found)]
