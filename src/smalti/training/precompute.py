"""Images to token shards, once, so that a prior trains without the tokenizer at work."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from smalti import config, library, memory, precision
from smalti.config import Positive, Share, Workers, settings
from smalti.data.folder import Folder
from smalti.data.loader import Crops, Loader, collate
from smalti.data.protocol import Batch
from smalti.data.shards import ShardMetadata, ShardWriter, begun_classes, is_shards
from smalti.data.transforms import CropSettings, Size
from smalti.errors import UserError
from smalti.reading.pixels import PixelReading
from smalti.tokenizer import Tokenizer
from smalti.training import holding, limits
from smalti.training.interrupts import Interrupts, stop


@settings
class Encoding:
    """Which crops are encoded, and how."""

    size: Size  # pixels of a crop: a side, or height and width
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
    captions: str | None = (
        None  # as the reader of folders has them; None: as the tokenizer's training had them
    )

    @property
    def crop_size(self) -> tuple[int, int]:
        """Return height and width of a crop in pixels."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)


def encode(
    tokenizer: Tokenizer, data: str | Path, out: str | Path, *, resume: bool = False, **options: Any
) -> Path:
    """Encode a folder of images into token shards; gives their folder.

    options: those of `Encoding`; size in multiples of the factor. Crops are best taken as the tokenizer was
    trained, above all in scale: at 1.0 the crops of a square image differ by their flip alone. The shards
    carry the tokenizer's fingerprint and precision, and the classes by number. What is held out, and why, is
    told on stderr. resume: go on in an `out` whose encoding was interrupted, with the tokenizer, its
    precision, the images and the options it was begun with; all but workers and max_pixels must be the
    same, and so is then what comes out. UserError for an `out` that holds something else, and for an
    unreadable image.
    """
    how: Encoding = config.parse(options, Encoding)
    if any(side % tokenizer.factor for side in how.crop_size):
        expected = f"a size in multiples of {tokenizer.factor} pixels"
        near = max(1, round(how.crop_size[0] / tokenizer.factor)) * tokenizer.factor
        raise UserError(expected, "{} x {}".format(*how.crop_size), f"size={near}")
    where, why = holding.find(Path(data), how.val, how.val_share, tokenizer)
    read = tokenizer.settings.pixels or PixelReading()
    where = replace(
        where,
        captions=how.captions or where.captions,
        range=read.range,
        bands=read.bands,
        max_pixels=how.max_pixels,
    )
    readers = {split: Folder(where, split) for split in ("train", "val")}
    if resume and is_shards(Path(out)):
        classes = begun_classes(Path(out))
        for reader in readers.values():
            reader.number_as(classes)
    rest = _Rest(readers["train"], readers["val"], how)
    metadata = ShardMetadata(
        tokenizer=library.fingerprint(tokenizer),
        codebook_size=tokenizer.codebook_size,
        factor=tokenizer.factor,
        classes=readers["train"].classes,
        precision=precision.name(tokenizer.dtype),
        made=_made(how, readers["train"], readers["val"]),
    )
    limits.check_together(how.batch, rest.total, how.crop_size)
    remedy = (
        f"--resume goes on once there is more, or encode into another OUT with --batch {how.batch // 2 or 1}"
    )
    short = memory.needed(f"{how.batch} crops encoded together; those done are kept", remedy)
    with short, Interrupts() as interrupts, ShardWriter(Path(out), metadata, resume=resume) as writer:
        tqdm.write(holding.text(readers["train"], readers["val"], why, how.val_share), file=sys.stderr)
        begun = sum(writer.rows.values())
        with tqdm(total=rest.total, initial=begun, unit="crop", desc="encoding", disable=None) as bar:
            for split, batch in rest.batches(writer.rows["train"], writer.rows["val"]):
                writer.add(split, _encoded(tokenizer, batch), batch.labels, batch.captions)
                bar.update(batch.size)
                if interrupts.received is not None:
                    break
        if interrupts.received is None:
            return writer.close()
    done = f"{sum(writer.rows.values())} of {rest.total} crops"
    tqdm.write(f"stopped after {done}; go on with --resume", file=sys.stderr)
    stop(interrupts.received)


class _Rest:
    """The batches that are still to be encoded, the same ones wherever the work was left."""

    def __init__(self, train: Folder, val: Folder, how: Encoding) -> None:
        size, self._batch = how.crop_size, how.batch
        self._loader = Loader(
            train, size=size, crop=how.crop, batch=how.batch, seed=how.seed, workers=how.workers
        )
        self._held_out = Crops(val, size, how.crop.for_validation(), how.seed)
        self._train, self._val = len(train) * how.crops, len(val)
        self.total = self._train + self._val

    def batches(self, train: int, val: int) -> Iterator[tuple[str, Batch]]:
        """Return split and batch, after so many rows of each split, which end with a batch."""
        firsts = range(train, self._train, self._batch)  # before the batches, which are endless
        for first, batch in zip(firsts, self._loader.batches(train // self._batch), strict=False):
            yield "train", _cut(batch, self._train - first)
        for index in range(val, self._val):
            yield "val", collate([self._held_out[0, index]])


def _cut(batch: Batch, most: int) -> Batch:
    """Return the first samples of a batch."""
    assert batch.images is not None, "a folder gives images"
    return Batch(
        images=batch.images[:most],
        labels=None if batch.labels is None else batch.labels[:most],
        captions=None if batch.captions is None else batch.captions[:most],
    )


def _encoded(tokenizer: Tokenizer, batch: Batch) -> Tensor:
    assert batch.images is not None, "a folder gives images"
    device: torch.device = tokenizer.last_layer.device
    return tokenizer.encode(batch.images.to(device), is_checked=True)


def _made(how: Encoding, train: Folder, val: Folder) -> dict[str, Any]:
    """Return all that decides which rows come out, beside the tokenizer.

    options, and the names of the images.
    """
    made = config.dump(how)
    for name in ("workers", "max_pixels", "val", "val_share"):  # the images tell what the last two chose
        del made[name]
    names = [path.relative_to(folder.root).as_posix() for folder in (train, val) for path in folder.paths]
    names += [caption for folder in (train, val) for caption in folder.captions()]
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()
    images = f"{len(train) + len(val)} files {digest}"
    return {**made, "size": list(how.crop_size), "images": images, "held_out": len(val)}
