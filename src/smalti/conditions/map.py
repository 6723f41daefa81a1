"""A map: a picture of depth, classes, edges or low resolution, told in the codes of a tokenizer."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor

from smalti.conditions.hiding import Hiding
from smalti.conditions.map_files import one_hot, open_for
from smalti.conditions.prompt import GridPrompt, SamePrompt
from smalti.conditions.protocol import Codec, Prompt
from smalti.config import Positive, Share, settings
from smalti.errors import UserError

TOGETHER = 16  # maps that are encoded at once
_FAR = 2.0  # values further from 0 are no map in [-1, 1], whatever a filter overshoots


@settings
class MapSettings:
    """How maps become tokens; whether they are of depth or classes is their tokenizer's business."""

    kind: Literal["map"] = "map"
    # pixels a side to which the map of a window is reduced first, by the nearest; None: it is not
    size: Positive | None = None
    shared: bool = False  # the tokenizer of the pictures is that of the maps too
    dropout: Share = 0.0  # of pictures shown without their map; above 0 the model can be guided


class MapCondition:
    """Takes a map of the picture's size. With dropout one more token says that no map is given."""

    argument: str | None = "map"
    shift = 0

    def __init__(self, settings: MapSettings, tokenizer: Codec | None = None) -> None:
        assert tokenizer is not None, "maps need a tokenizer"
        self.size, self.tokenizer = settings.size, tokenizer
        if settings.size is not None and settings.size % tokenizer.factor:
            expected = (
                f"condition.size as a multiple of {tokenizer.factor}, the factor of the maps' tokenizer"
            )
            remedy = f"condition.size={max(1, round(settings.size / tokenizer.factor)) * tokenizer.factor}"
            raise UserError(expected, str(settings.size), remedy)
        self.hiding = Hiding(what="maps", share=settings.dropout, token=tokenizer.codebook_size)
        self.vocabulary = tokenizer.codebook_size + self.hiding.extra
        self.of_classes = tokenizer.settings.content == "segmentation"

    def length(self, grid: tuple[int, int]) -> int:
        """A token a cell of the window, or of the reduced map."""
        if self.size is None:
            return grid[0] * grid[1]
        return (self.size // self.tokenizer.factor) ** 2

    def encode(self, value: Any, *, num: int, grid: tuple[int, int], device: torch.device) -> Prompt:
        """One map for all canvases, or a sequence or tensor of num of them.

        A map is a picture file, a Pillow picture, or a tensor: floats (c H W) as its tokenizer takes them,
        in [-1, 1]; of classes also their numbers (H W). Values in files and Pillow pictures of classes mean
        what they did in training (shifted, merged: the tokenizer's settings.labels); tensors hold class
        numbers already. H and W are those of the picture. UserError for others.
        """
        maps = self._maps(value, num, grid)
        if self.size is not None:
            return ReducedPrompt(condition=self, maps=maps.to(device), num=num, grid=grid)
        return GridPrompt(tokens=self.codes(maps.to(device)).expand(num, -1, -1))

    def open(self, source: str | Path | Image.Image) -> Float[Tensor, "1 c H W"]:
        """A map out of a file or a Pillow picture, of its own size; of classes one channel each, 0 or 1."""
        return open_for(self.tokenizer, source)

    def decode(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b c H W"]:
        """Maps as their codes tell them; of classes their logits."""
        return self.tokenizer.decode(codes)

    def null(self, *, num: int, grid: tuple[int, int], device: torch.device) -> SamePrompt:
        """A prefix of "no map"; UserError if training never showed it."""
        return self.hiding.null(num=num, length=self.length(grid), device=device)

    def vary(self, prefix: Int64[Tensor, "b m"], generator: torch.Generator) -> Int64[Tensor, "b m"]:
        """The prefix, with a share `dropout` of the maps replaced by "no map"."""
        return self.hiding.hide(prefix, generator)

    def count(self, value: Any) -> int | None:
        """As many as there are maps in a sequence or a tensor."""
        if isinstance(value, Tensor):
            return len(value) if value.dim() == (4 if value.is_floating_point() else 3) else None
        return len(value) if _is_list(value) else None

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """Files by their names, the others by a hash of what they hold."""
        several = [_named(one) for one in (value if self.count(value) is not None else [value])]
        return several * (num // len(several))

    def codes(self, maps: Float[Tensor, "b c H W"]) -> Int64[Tensor, "b h w"]:
        """What the tokenizer makes of maps, a few at a time."""
        firsts = range(0, len(maps), TOGETHER)
        parts = [maps[first : first + TOGETHER] for first in firsts]
        return torch.cat([self.tokenizer.encode(part, is_checked=True) for part in parts])

    def _maps(self, value: Any, num: int, grid: tuple[int, int]) -> Float[Tensor, "b c H W"]:
        """b = 1 for all canvases, or num."""
        if value is None:
            raise UserError("a map", "none", "give map= a picture file, or a tensor")
        found = [self._one(one, grid) for one in value] if _is_list(value) else [self._one(value, grid)]
        count, sides = sum(map(len, found)), sorted({tuple(maps.shape[2:]) for maps in found})
        if count not in (1, num):
            raise UserError(f"one map, or {num} of them", str(count), "give one for each picture")
        if len(sides) > 1:
            got = f"{sides[0][0]} x {sides[0][1]} and {sides[1][0]} x {sides[1][1]}"
            raise UserError("maps of one size", got, "resize them alike")
        return torch.cat(found)

    def _one(self, given: Any, grid: tuple[int, int]) -> Float[Tensor, "b c H W"]:
        """A file, a picture or a tensor, which may hold several maps."""
        if isinstance(given, str | Path | Image.Image):
            maps = self.open(given)
        elif isinstance(given, Tensor):
            maps = self._floats(given)
        else:
            remedy = "give map= a picture file, a Pillow picture or a tensor"
            raise UserError("a map", f"{type(given).__name__} {str(given)[:40]}", remedy)
        cell = maps.shape[2] // grid[0] if self.size is not None else self.tokenizer.factor
        if tuple(maps.shape[2:]) != (cell * grid[0], cell * grid[1]) or not cell:
            self._refuse_size(maps, grid)
        return maps

    def _floats(self, given: Tensor) -> Float[Tensor, "b c H W"]:
        if self.of_classes and not given.is_floating_point():
            return self._one_hot(given)
        maps = given if given.dim() == 4 else given[None]
        channels = self.tokenizer.channels
        if maps.dim() != 4 or maps.shape[1] != channels or not maps.is_floating_point():
            numbers = " or class numbers (b H W)" if self.of_classes else ""
            expected = f"maps as floats (b {channels} H W){numbers}"
            raise UserError(expected, f"{given.dtype} {tuple(given.shape)}", "change the tensor")
        if not (maps.abs() <= _FAR).all():  # not a number fails too
            got = f"{maps.min().item():g} to {maps.max().item():g}"
            raise UserError("maps in [-1, 1]", got, "divide values of 0 to 255 by 127.5 and subtract 1")
        return maps.float()

    def _one_hot(self, labels: Tensor) -> Float[Tensor, "b c H W"]:
        count = self.tokenizer.channels
        labels = labels if labels.dim() == 3 else labels[None]
        if labels.dim() != 3 or labels.dtype == torch.bool:
            got = f"{labels.dtype} {tuple(labels.shape)}"
            raise UserError("class numbers (b H W)", got, f"give int64, or floats (b {count} H W)")
        return one_hot(labels, count)

    def _refuse_size(self, maps: Tensor, grid: tuple[int, int]) -> None:
        got, factor = f"{maps.shape[2]} x {maps.shape[3]}", self.tokenizer.factor
        expected = f"a map of the picture's size, {grid[0] * factor} x {grid[1] * factor} pixels"
        if self.size is not None:  # how many pixels a cell of the picture has is its own tokenizer's business
            expected = f"a map of the picture's size, {grid[0]} x {grid[1]} cells of whole pixels, all equal"
        raise UserError(expected, got, f"resize the map, or give size=({maps.shape[2]}, {maps.shape[3]})")


@dataclass(frozen=True, kw_only=True)
class ReducedPrompt:
    """Maps of which each window is reduced and encoded by itself: their cells are not those of the canvas."""

    condition: MapCondition
    maps: Float[Tensor, "b c H W"]  # b = 1 for all canvases, or num
    num: int
    grid: tuple[int, int]

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """The codes of the window's part of the map, reduced to the size the model knows."""
        side, size = self.maps.shape[2] // self.grid[0], self.condition.size
        assert size is not None, "maps of the picture's size need no reduction"
        part = self.maps[:, :, top * side : (top + height) * side, left * side : (left + width) * side]
        reduced = F.interpolate(part, size=(size, size))  # nearest, as in the 2021 code
        return self.condition.codes(reduced).flatten(1).expand(self.num, -1)

    def take(self, rows: Int64[Tensor, " r"]) -> "ReducedPrompt":
        """See Prompt."""
        maps = self.maps if len(self.maps) == 1 else self.maps[rows]
        return replace(self, maps=maps, num=len(rows))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _named(given: Any) -> str:
    if isinstance(given, str | Path):
        return str(given)
    data = given.detach().cpu().contiguous().numpy() if isinstance(given, Tensor) else given
    raw = data.tobytes()
    return f"{type(given).__name__} {hashlib.blake2b(raw, digest_size=8).hexdigest()}"
