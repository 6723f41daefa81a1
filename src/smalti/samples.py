"""What drawing gives: images with their codes and the record of how each was made."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from smalti import imaging
from smalti.drawing.request import needed
from smalti.files import as_path
from smalti.reading import writing
from smalti.reading.pixels import PixelReading
from smalti.tokenizer import Tokenizer
from smalti.user_images import grid

PIXELS = 16 * 256 * 256  # decoded together, at least one image: bounds the memory of the decoder
SUFFIXES = (".png", ".tif")  # of the files that `Samples.save` writes


class Samples:
    """A sequence of drawn images, as Pillow's: `len`, an index, a loop; a slice gives Samples again.

    Codes are there at once. Images are decoded when they are first asked for, by the tokenizer as it is then:
    who wants codes alone does not wait for them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        codes: Int64[Tensor, "b h w"],
        metadata: Sequence[Mapping[str, Any]],
        *,
        batch: int,
        padded: bool,
        size: tuple[int, int] | None = None,
    ) -> None:
        """metadata: of each image, plain values. batch: images decoded together; padded: always so many.

        size: height and width in pixels of what is shown, from the top left; None: all.
        """
        self.codes, self.metadata = codes, [dict(one) for one in metadata]
        self._tokenizer, self._batch, self._padded, self._size = tokenizer, batch, padded, size

    @classmethod
    def joined(cls, parts: Sequence["Samples"]) -> "Samples":
        """Make one of several batches of one drawing, at least one."""
        first = parts[0]
        codes = torch.cat([part.codes for part in parts])
        metadata = [one for part in parts for one in part.metadata]
        return first._with(codes, metadata)

    def cut(self, size: tuple[int, int], told: Mapping[str, Any]) -> "Samples":
        """Return the same, of which images show so many pixels (height, width) from the top left.

        told: more metadata of each.
        """
        made = [{**one, "height": size[0], "width": size[1], **told} for one in self.metadata]
        return Samples(self._tokenizer, self.codes, made, batch=self._batch, padded=self._padded, size=size)

    @cached_property
    def images(self) -> list[Image.Image]:
        """Return the images, each with its metadata as JSON in info["smalti"], which `save` writes.

        Gray ones of more than 8 bits in 16, others in 8 bits. UserError for models of other than 1 or 3
        channels, whose `values` and `tensors` are there.
        """
        how = self._tokenizer.settings.pixels
        found = [image for part in self._decoded() for image in writing.to_pil(part, how)]
        for image, made in zip(found, self.metadata, strict=True):
            image.info[imaging.METADATA] = json.dumps(made)
        return found

    @property
    def tensors(self) -> Float[Tensor, "b c H W"]:
        """Return the images as the decoder gives them, around [-1, 1], not clipped; decoded at each call."""
        return torch.cat(list(self._decoded()))

    def values(self) -> list[NDArray[Any]]:
        """Give the images in the numbers of the files that the model was trained on, (bands, H, W) each."""
        return [found.samples for found in self._in_file_values()]

    def save(self, folder: str | Path | Any, first: int = 0, *, keep: bool = False) -> list[Path]:
        """Write the images as 00000.png, ..., counted from `first`, with their metadata; gives the files.

        In the numbers of the files that the model was trained on where 8 bits cannot hold them: as PNG of 16
        bits where they fit, else as .tif. UserError, with nothing written yet, where a name is taken; keep:
        what is there stays, and the others are written.
        """
        stems = [as_path(folder, "folder") / f"{first + index:05}" for index in range(len(self))]
        is_there = [any(stem.with_suffix(end).exists() for end in SUFFIXES) for stem in stems]
        if not keep:
            imaging.refuse_existing([stem.with_suffix(end) for stem in stems for end in SUFFIXES])
        if writing.is_needed(self._tokenizer.settings.pixels):
            found = zip(self._in_file_values(), stems, is_there, strict=True)
            return [image.save(stem) for image, stem, skipped in found if not skipped]
        images = zip(self.images, stems, is_there, strict=True)
        return [imaging.save_png(f"{stem}.png", image) for image, stem, skipped in images if not skipped]

    def chosen(self, rows: Sequence[int], told: Sequence[Mapping[str, Any]]) -> "Samples":
        """Return some of them, in the order given; told: more metadata of each of these."""
        made = [{**self.metadata[row], **more} for row, more in zip(rows, told, strict=True)]
        codes = self.codes[torch.tensor(rows, device=self.codes.device)]
        return self._with(codes, made)

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...

    @overload
    def __getitem__(self, index: slice) -> "Samples": ...

    def __getitem__(self, index: int | slice) -> Any:
        if not isinstance(index, slice):
            return self.images[index]
        part = self._with(self.codes[index], self.metadata[index])
        if "images" in self.__dict__:
            part.images = self.images[index]
        return part

    def __iter__(self) -> Iterator[Image.Image]:
        return iter(self.images)

    def __repr__(self) -> str:
        height, width = self._shown()
        return f"<{len(self)} samples of {height} x {width} pixels: .images, .codes, .metadata>"

    def _repr_png_(self) -> bytes | None:
        """Return what a notebook shows: all images side by side; None where Pillow has no such images."""
        how, data = self._tokenizer.settings.pixels, io.BytesIO()
        if how is not None and how.channels not in (1, 3):
            return None
        grid(self.images, min(len(self), 8)).save(data, "PNG")
        return data.getvalue()

    def _in_file_values(self) -> Iterator[writing.FileValues]:
        how = self._tokenizer.settings.pixels or PixelReading()
        drawn = (image for part in self._decoded() for image in part)
        for image, made in zip(drawn, self.metadata, strict=True):
            yield writing.file_values(image, how, json.dumps(made))

    def _decoded(self) -> Iterator[Float[Tensor, "r c H W"]]:
        """Decode the codes in the batches in which they were drawn, or fewer at a time."""
        height, width = (side * self._tokenizer.factor for side in self.codes.shape[1:])
        most = max(1, PIXELS // (height * width))
        for first in range(0, len(self), self._batch):
            end = min(first + self._batch, len(self))
            size = min(self._batch if self._padded else end - first, most)
            for begin in range(first, end, size):
                rows = torch.arange(begin, begin + size if self._padded else min(begin + size, end))
                rows = rows.clamp(max=end - 1).to(self.codes.device)
                with needed(len(rows), (height, width), 1):
                    part = self._tokenizer.decode(self.codes[rows])
                yield part[: end - begin, :, : self._shown()[0], : self._shown()[1]]

    def _shown(self) -> tuple[int, int]:
        """Return height and width of an image."""
        factor = self._tokenizer.factor
        return self._size or (self.codes.shape[1] * factor, self.codes.shape[2] * factor)

    def _with(self, codes: Tensor, metadata: Sequence[Mapping[str, Any]]) -> "Samples":
        """Return others of the same drawing."""
        return Samples(
            self._tokenizer,
            codes,
            metadata,
            batch=self._batch,
            padded=self._padded,
            size=self._size,
        )
