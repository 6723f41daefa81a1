"""Images to token shards, once, so that a prior trains without the tokenizers at work."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from tqdm import tqdm

from smalti import config, disk, library, locks, memory, precision, rounds, strategy
from smalti.conditions import CONDITIONS
from smalti.conditions.protocol import Condition
from smalti.config import Positive, Share, Workers, settings
from smalti.data import READERS
from smalti.data.buckets import Buckets
from smalti.data.columns import COLUMNS
from smalti.data.kinds import IMAGES, kind_of
from smalti.data.loader import Crops, Loader, collate, usable
from smalti.data.protocol import Reader, Sample
from smalti.data.shards import ShardMetadata, ShardWriter, begun, is_shards
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.reading.pixels import PixelReading
from smalti.sizes import Sides, Sizes, listed, plain
from smalti.tokenizer import Tokenizer
from smalti.training import folders, holding, limits, resuming, tokenizers, train
from smalti.training.interrupts import Interrupts, stop
from smalti.training.settings import PriorTraining, check_sides


@settings
class Encoding:
    """Which crops are encoded, and how."""

    size: Sizes  # pixels of a crop: a side, or height and width; several: as in a training
    crop: CropSettings = CropSettings()  # how crops are taken
    crops: Positive = 1  # random ones of every training image; held-out images give one, the middle
    val: Path | None = None  # a folder held out
    # of the images that are held out. Neither of both: what the tokenizer's training held out, where it was
    # on the same folder; else the splits that folders are by name, or a share of 0.05
    val_share: Share | None = None
    batch: Positive = 16  # images a pass
    workers: Workers = 0  # processes that open images
    seed: int = 0  # of the crops and flips
    max_pixels: Positive | None = None  # of an image, as the readers' data.max_pixels
    # as the reader of folders has them; None: as the tokenizer's training had them
    captions: str | None = None

    @property
    def sizes(self) -> tuple[Sides, ...]:
        """Return height and width of a crop in pixels, of each size."""
        return listed(self.size)


# what a recipe says by its own keys
RECIPES = {"size": "size", "crop": "crop"} | {
    name: f"data.{name}" for name in ("val", "val_share", "max_pixels", "captions")
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is encoded: crops of the images of two readers."""

    readers: Mapping[str, Any]  # by split
    how: Encoding
    told: str  # for a person: what is held out, and why
    condition: Condition | None = None  # whose work is kept beside the codes
    data: Mapping[str, Any] = field(default_factory=dict)  # a recipe's settings of them, but for places


def encode(
    tokenizer: Tokenizer,
    data: str | Path,
    out: str | Path,
    *,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    **options: Any,
) -> Path:
    """Encode a folder of images into token shards; gives their folder.

    recipe: of the prior that is to learn on them, with its settings, keys with dots for nested ones: what it
    is conditioned on is kept too; data, size and crops are as it says, unless options say otherwise. None: a
    folder of images, with its classes. options: those of `Encoding`; size in multiples of the factor. Crops
    are best taken as the tokenizer was trained, above all in scale: at 1.0 the crops of a square image differ
    by their flip alone. The shards carry the tokenizer's fingerprint and precision, and the classes by
    number. What is held out, and why, is told on stderr. resume: go on in an `out` whose encoding was
    interrupted, with the tokenizer, its precision, the images and the options it was begun with; all but
    workers and max_pixels must be the same, and so is then what comes out. UserError for an `out` that holds
    something else, and for an unreadable image.
    """
    folder = Path(out)
    with strategy.current().joined(tokenizer.last_layer.device), ExitStack() as stack:
        with rounds.agreed():
            stack.enter_context(locks.held(folder))
        return _shared(tokenizer, data, folder, (recipe, settings or {}, options), resume=resume)


def _shared(
    tokenizer: Tokenizer, data: str | Path, folder: Path, asked: tuple[Any, ...], *, resume: bool
) -> Path:
    """Encode together with the other processes, batch i in process i mod n; process 0 writes."""
    way, before, writer = strategy.current(), None, None
    with rounds.agreed():
        job = _job(tokenizer, data, *asked)
        if way.rank == 0 and resume and is_shards(folder):
            before = begun(folder)
    before = way.collect(before)[0]
    with rounds.agreed():
        if before is not None:
            for reader in job.readers.values():
                reader.number_as(before["classes"])
        metadata, how = _metadata(tokenizer, job, before), job.how
        rest = _Rest(job.readers["train"], job.readers["val"], how, shuffled="order" not in metadata.made)
        limits.check_together(how.batch, rest.total, max(how.sizes, key=math.prod))
        if way.rank == 0:
            with disk.needed(lambda: "free some space, then the same command again"):
                writer = ShardWriter(folder, metadata, resume=resume)
    begun_at = way.collect(dict(writer.rows) if writer is not None else {})[0]
    done = dict(begun_at)
    way.say(job.told)
    received, hidden = None, way.rank != 0 or None  # None: on a terminal only
    with (
        disk.needed(lambda: "free some space; --resume goes on then"),
        Interrupts() as interrupts,
        writer or nullcontext(),
    ):
        made = _made_by(interrupts, rest.batches(begun_at, (way.rank, way.count)), tokenizer, job, metadata)
        counts = {"total": rest.total, "initial": sum(done.values())}
        with tqdm(**counts, unit="crop", desc="encoding", disable=hidden) as bar:
            for split, rows, received in rounds.in_order(made):
                done[split] += len(rows["codes"])
                if writer is not None:
                    writer.add_rows(split, {name: torch.from_numpy(array) for name, array in rows.items()})
                bar.update(len(rows["codes"]))
                if received is not None:
                    break
        if received is None:
            return folder if writer is None else writer.close()
    way.say(f"stopped after {sum(done.values())} of {rest.total} crops; go on with --resume")
    stop(received)


def _made_by(
    interrupts: Interrupts,
    batches: Iterator[tuple[str, list[Sample]]],
    tokenizer: Tokenizer,
    job: Job,
    metadata: ShardMetadata,
) -> Iterator[tuple[str, dict[str, NDArray[Any]], int | None]]:
    """Encode this process's batches: gives split, rows as files hold them, and the signal that ends all.

    Rows are arrays: tensors of uint16 do not pickle.
    """
    batch = job.how.batch
    remedy = f"--resume goes on once there is more, or encode into another OUT with --batch {batch // 2 or 1}"
    with memory.needed(f"{batch} crops encoded together; those done are kept", remedy):
        for split, samples in batches:
            rows = metadata.rows(_encoded(tokenizer, job.condition, samples))
            yield split, {name: found.numpy() for name, found in rows.items()}, interrupts.received


def _job(
    tokenizer: Tokenizer,
    data: str | Path,
    recipe: str | Path | None,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Job:
    if recipe is None:
        return _plain(tokenizer, Path(data), config.parse(options, Encoding))
    return _for_recipe(tokenizer, data, recipe, settings, options)


def _plain(tokenizer: Tokenizer, data: Path, how: Encoding) -> Job:
    """Return the work on a folder of images, or on images that are made."""
    check_sides(how.sizes, tokenizer.factor)
    if folders.is_made(data):
        return _made_plain(tokenizer, str(data), how)
    kind, read = kind_of(data), tokenizer.settings.pixels or PixelReading()
    if kind in IMAGES and kind != "folder":
        where, why = holding.of_kind(kind, data, how.val, how.val_share, tokenizer)
        if how.captions is not None:
            raise UserError(f"data of kind {kind} without --captions", how.captions, "they have their own")
    else:
        kind = "folder"
        where, why = holding.find(data, how.val, how.val_share, tokenizer)
        where = replace(where, captions=how.captions or where.captions)
    where = replace(where, range=read.range, bands=read.bands, max_pixels=how.max_pixels)
    train, val = (READERS[kind][1](where, split) for split in ("train", "val"))
    told = holding.text(train, val, why, how.val_share)
    return Job(readers={"train": train, "val": val}, how=how, told=told)


def _made_plain(tokenizer: Tokenizer, kind: str, how: Encoding) -> Job:
    """Return the work on images that are made: those of the tokenizer's training, or as large as crops.

    UserError for options of files: such data hold out others, and have captions.
    """
    for name in ("val", "val_share", "captions", "max_pixels"):
        if getattr(how, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"a folder of images, for {option}", f"{option} with {kind}", "leave it out")
    settings = holding.as_made(kind, how.size, [tokenizer])
    readers = {split: READERS[kind][1](settings, split) for split in ("train", "val")}
    held_out, every = len(readers["val"]), sum(map(len, readers.values()))
    told = f"held out: {held_out} of {every} images of {kind}"
    return Job(readers=readers, how=how, told=told, data=config.dump(settings))


def _for_recipe(
    tokenizer: Tokenizer,
    data: str | Path,
    recipe: str | Path,
    changes: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Job:
    """Return the work that a prior's training would leave to the tokenizers."""
    said = {RECIPES[name]: value for name, value in options.items() if name in RECIPES and value is not None}
    if config.read(recipe).get("kind", "tokenizer") != "prior":
        raise UserError("the recipe of a prior", f"{recipe}, of a tokenizer", "give --for that of the prior")
    read = tokenizer.settings.pixels or PixelReading()
    start = train.begin(recipe, data, {**changes, **said}, read)
    training, readers = start.training, start.readers
    assert isinstance(training, PriorTraining), "the recipe says so"
    if "image" not in readers["train"].gives:
        got = f"data.kind={training.data.kind} in {training.data.root}"
        raise UserError("images to encode", got, "give the folder of images")
    check_sides(training.sizes, tokenizer.factor)
    member = CONDITIONS[training.condition.kind][1]
    member.needs(training.condition, training.data, readers["train"])
    known = tokenizers.Known(read={training.tokenizer: tokenizer})
    device = next(tokenizer.parameters()).device
    found = tokenizers.find(training, readers["train"], device, known)
    condition = member(training.condition, tokenizer, found.get("condition_tokenizer"))
    condition.agree(training.data, readers.values())
    others = {name: value for name, value in options.items() if name not in RECIPES}
    how = config.parse({**others, "size": training.size, "crop": config.dump(training.crop)}, Encoding)
    held_out, every = len(readers["val"]), sum(map(len, readers.values()))
    return Job(
        readers=readers,
        how=how,
        told=f"held out: {held_out} of {every} images, as {recipe} says",
        condition=condition,
        data={name: value for name, value in config.dump(training.data).items() if _counts(name)},
    )


def _counts(name: str) -> bool:
    """Return whether a setting of data decides which rows there are: places and limits do not."""
    return f"data.{name}" not in resuming.PLACES and name != "max_pixels"


class _Rest:
    """The batches that are still to be encoded, the same ones wherever the work was left.

    Of several sizes bucket after bucket, so that files hold codes of one grid each.
    """

    def __init__(self, train: Reader, val: Reader, how: Encoding, *, shuffled: bool) -> None:
        """shuffled: rows in the order of a training's first passes, as encodings of before have them."""
        self._reader, self._how, self._shuffled = train, how, shuffled
        self._buckets = Buckets.of(train, how.sizes).each() if len(train) else []
        self._held_out = Crops(val, Buckets.of(val, how.sizes), how.crop.for_validation(), how.seed)
        self._val = [index for members in self._held_out.buckets.members for index in members]
        self.total = len(train) * how.crops + len(val)

    def batches(self, done: Mapping[str, int], share: tuple[int, int]) -> Iterator[tuple[str, list[Sample]]]:
        """Return split and cropped samples, after so many rows of each split, which end with a batch.

        share: rank and number of processes: of the batches that are left every so many, from that one on.
        """
        (rank, processes), train, number = share, done["train"], 0
        for bucket in self._buckets:
            count = len(bucket.members[0]) * self._how.crops
            begin = min(train, count)
            own = (rank - number) % processes
            yield from (("train", samples) for samples in self._cropped(bucket, begin, count, own, processes))
            train -= begin
            number += len(range(begin, count, self._how.batch))
        held_out = self._held_out
        stream = held_out.reader.samples(held_out.seed, done["val"])
        for turn, index in enumerate(self._val[done["val"] :], number):
            sample = None if stream is None else next(stream)  # also those of others: it knows no numbers
            if turn % processes == rank:
                one = held_out[0, index] if sample is None else held_out.cropped(sample, (0, index))
                yield "val", usable([one])

    def _cropped(self, bucket: Buckets, done: int, count: int, own: int, step: int) -> Iterator[list[Sample]]:
        """Return crops of a bucket, count in all, after those that are done: batch own, own + step, ..."""
        how = self._how
        begin = done + own * how.batch
        firsts = range(begin, count, step * how.batch)  # before the batches, which are endless
        loader = Loader(
            self._reader, size=bucket, crop=how.crop, batch=how.batch, seed=how.seed, workers=how.workers
        )
        cropped = loader.samples(done // how.batch + own, shuffled=self._shuffled, step=step)
        for first, samples in zip(firsts, cropped, strict=False):
            yield samples[: count - first]


def _encoded(tokenizer: Tokenizer, condition: Condition | None, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples as codes, with the work of a condition on them."""
    batch, device = collate(samples), tokenizer.last_layer.device
    assert batch.images is not None, "encode has looked"
    codes = tokenizer.encode(batch.images.to(device), is_checked=True).cpu()
    grid, made = (codes.shape[1], codes.shape[2]), {}
    if condition is not None:
        with torch.no_grad():
            found = condition.precompute(batch, grid=grid, device=device)
        made = {key: tokens.cpu() for key, tokens in found.items()}
    return [
        replace(
            sample,
            image=None,
            segmentation=None,
            map=None,
            codes=codes[row],
            precomputed={key: tokens[row] for key, tokens in made.items()},
        )
        for row, sample in enumerate(samples)
    ]


def _metadata(tokenizer: Tokenizer, job: Job, before: Mapping[str, Any] | None) -> ShardMetadata:
    """Return what shards say of themselves. before: what those say that are gone on with."""
    train, made = job.readers["train"], _made(job)
    holds = [name for name in COLUMNS if name in train.gives | {"part"}]
    if before is not None and "order" not in before["made"]:  # of an earlier version, which did less
        holds = before["holds"]
        del made["order"]
    return ShardMetadata(
        tokenizer=library.fingerprint(tokenizer),
        codebook_size=tokenizer.codebook_size,
        factor=tokenizer.factor,
        classes=tuple(train.classes),
        precision=precision.name(tokenizer.dtype),
        holds=tuple(holds),
        joints=tuple(train.joints),
        conditions={} if job.condition is None else job.condition.precomputes,
        made=made,
    )


def _made(job: Job) -> dict[str, Any]:
    """Return all that decides which rows come out, beside the tokenizers.

    options, a recipe's settings of data, and the names of the images.
    """
    made, summaries = config.dump(job.how), [reader.summary() for reader in job.readers.values()]
    for name in ("workers", "max_pixels", "val", "val_share"):  # the images tell what the last two chose
        del made[name]
    files = [(one, path) for one in summaries if not one.marks for path in one.paths]
    names = [path.relative_to(one.root).as_posix() for one, path in files if isinstance(path, Path)]
    said = [caption for reader in job.readers.values() for caption in reader.captions() if names]
    digest = hashlib.blake2b("\n".join([*names, *said]).encode(), digest_size=8).hexdigest()
    made |= {"images": f"{len(names)} files {digest}", "held_out": len(job.readers["val"])}
    if not names:  # data that are made; or in archives, which know themselves which they are
        which = [one.fingerprint() for one in summaries if one.paths] or [summaries[0].fingerprint()]
        made["images"] = " ".join(which)
    asked = {"data": dict(job.data)} if job.data else {}
    return {**asked, **made, "size": plain(job.how.sizes), "order": "reader"}
