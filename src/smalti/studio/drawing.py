"""Drawing for a job: the same images as the commands, with previews on the way."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Int64
from PIL import Image
from torch import Tensor

from smalti import imaging
from smalti.drawing.loop import Pass
from smalti.pipeline import Pipeline
from smalti.samples import Samples
from smalti.studio.jobs import Job
from smalti.studio.pictures import picture
from smalti.tokenizer import Tokenizer
from smalti.tokenizer.use import in_use

SURE = 0.1  # of the cells, from which on it is told how long the others take: the first ones are slower
EVERY = 0.2  # seconds between two previews at least, of the turns that a job has, and of these:
SHARE = 0.2  # that previews take at most
SHOWN = 512  # pixels of a preview's longer side at most


class Drawing:
    """What a job does: all that is asked for is checked when it is made, and drawn when it is called."""

    came: Int64[Tensor, "b h w"]  # the pass in which a cell of this batch came; 0: it is kept

    def __init__(self, model: Pipeline, options: Mapping[str, Any]) -> None:
        """options: those of Pipeline.iter_passes. UserError as that raises it."""
        self.tokenizer = model.tokenizer
        self.parts = model.iter_passes(**options)
        self.passes = 0  # of this batch
        self.next_preview = 0.0  # seconds of the job's own turns

    def __call__(self, job: Job) -> Iterator[None]:
        """Draw all images, pass by pass."""
        self.job, self.begun = job, time.monotonic()
        for part in self.parts:
            if isinstance(part, Pass):
                self._see(*part)
            else:
                self._add(part)
            yield

    def _add(self, batch: Samples) -> None:
        for image, codes, made, order in zip(batch, batch.codes, batch.metadata, self.came, strict=False):
            told = {"seed": made["seed"], "metadata": made, "order": order.tolist()}
            self.job.add(imaging.png(image), codes, told)
        self.passes = 0

    def _see(self, codes: Int64[Tensor, "b h w"], laid: Bool[Tensor, "b h w"]) -> None:
        """Note which cells came, and now and then show them."""
        here = laid.cpu()
        if self.passes == 0:
            self.came = torch.full(here.shape, -1)
            if here.any():  # a part of an image that is shown already
                self.next_preview = max(self.next_preview, self.job.spent + EVERY)
        self.came[here & (self.came < 0)] = self.passes
        self.passes += 1
        is_new = self.passes > 1 and not here.all()  # at first nothing came, at the end the image is there
        if not is_new or self.job.spent < self.next_preview:
            return
        begun = time.monotonic()
        previews = previewed(self.tokenizer, codes, laid) if self.job.channel.listeners else []
        self._tell(here, previews)
        cost = time.monotonic() - begun
        self.next_preview = self.job.spent + cost + max(EVERY, cost / SHARE)

    def _tell(self, laid: Bool[Tensor, "b h w"], previews: list[Image.Image]) -> None:
        """Tell how far each image of this batch is, and how long all of them take yet."""
        first, num = len(self.job.images), self.job.num
        cells = laid[: num - first].sum((1, 2)).tolist()
        kept, each = int((self.came[0] == 0).sum()), laid[0].numel()
        drawn = first * (each - kept) + sum(count - kept for count in cells)
        spent = time.monotonic() - self.begun
        share = drawn / (num * (each - kept))
        left = round(spent * (1 / share - 1), 1) if share >= SURE else None
        for row, count in enumerate(cells):
            preview = picture(previews[row]) if previews else None
            told = {"cells": count, "of": each, "left_seconds": left, "preview": preview}
            self.job.show(first + row, told)


def previewed(
    tokenizer: Tokenizer, codes: Int64[Tensor, "b h w"], laid: Bool[Tensor, "b h w"]
) -> list[Image.Image]:
    """Return images of codes as far as they are laid; what is not is transparent.

    For the decoder it is nothing, zeros, as what lies beyond an image's borders; near to it an image changes
    yet.
    """
    with in_use(tokenizer):
        entries = tokenizer.quantizer.lookup(codes.where(laid, 0)) * laid[:, None]
        images = tokenizer.decode_latents(entries)
    found = imaging.to_pil(imaging.visible(images))
    masks = imaging.to_pil(laid[:, None].byte() * 255)
    for image, mask in zip(found, masks, strict=True):
        image.putalpha(mask.resize(image.size, Image.Resampling.NEAREST))
        image.thumbnail((SHOWN, SHOWN))
    return found
