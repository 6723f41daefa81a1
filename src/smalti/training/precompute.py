"""Pictures to token shards, once, so that a prior trains without the tokenizer at work."""

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from smalti import library
from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Crops, Loader, collate
from smalti.data.protocol import Batch
from smalti.data.shards import ShardFacts, ShardWriter
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.tokenizer import Tokenizer

AS_IT_FITS = CropSettings()


def encode(
    tokenizer: Tokenizer,
    data: str | Path,
    out: str | Path,
    *,
    size: int | tuple[int, int],
    crops: int = 1,
    batch: int = 16,
    workers: int = 0,
    seed: int = 0,
    crop: CropSettings = AS_IT_FITS,
) -> Path:
    """Encode a folder of pictures into token shards; gives their folder.

    size: of a crop in pixels, multiples of the factor. crops: random ones of every training picture; held-out
    pictures give one, the middle. crop: how they are taken, best as the tokenizer was trained, above all in
    scale: at 1.0 the crops of a square picture differ by their flip alone. The shards carry the tokenizer's
    fingerprint, and the classes by number. UserError for an `out` that holds something, and for an
    unreadable picture.
    """
    size = size if isinstance(size, tuple) else (size, size)
    if crops < 1 or any(side % tokenizer.factor for side in size):
        expected = f"one crop or more, of sides that are multiples of {tokenizer.factor}"
        raise UserError(expected, f"{crops} of {size[0]} x {size[1]}", f"size={tokenizer.factor * 8}")
    readers = {split: Folder(FolderSettings(root=Path(data)), split) for split in ("train", "val")}
    facts = ShardFacts(
        tokenizer=library.fingerprint(tokenizer),
        codebook_size=tokenizer.codebook_size,
        factor=tokenizer.factor,
        classes=readers["train"].classes,
    )
    writer = ShardWriter(Path(out), facts)
    loader = Loader(readers["train"], size=size, crop=crop, batch=batch, seed=seed, workers=workers)
    rows = len(readers["train"]) * crops
    with tqdm(total=rows + len(readers["val"]), unit="crop", desc="encoding") as bar:
        for number, found in enumerate(loader.batches()):
            left = rows - number * batch
            _add(writer, "train", tokenizer, found, min(left, batch))
            bar.update(min(left, batch))
            if left <= batch:
                break
        held_out = Crops(readers["val"], size, crop.for_validation(), seed)
        for index in range(len(readers["val"])):
            _add(writer, "val", tokenizer, collate([held_out[0, index]]), 1)
            bar.update()
    return writer.close()


def _add(writer: ShardWriter, split: str, tokenizer: Tokenizer, batch: Batch, count: int) -> None:
    """Codes of the first `count` pictures of a batch."""
    pictures, labels = batch.images, batch.labels
    assert pictures is not None, "a folder gives pictures"
    device: torch.device = tokenizer.last_layer.device
    codes: Tensor = tokenizer.encode(pictures[:count].to(device))
    writer.add(split, codes, None if labels is None else labels[:count])
