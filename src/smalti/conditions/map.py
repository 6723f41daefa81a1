"""A map: an image of depth, classes, edges or low resolution, told in the codes of a tokenizer."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor, nn

from smalti.conditions.computed import ComputeSettings, computation
from smalti.conditions.computed.protocol import Computation
from smalti.conditions.context import Context, GridContext, SameContext
from smalti.conditions.dropout import ConditionDropout
from smalti.conditions.map_files import one_hot, open_for
from smalti.conditions.protocol import ENCODE_FOR, Codec, Condition, is_list
from smalti.config import Positive, Share, dump, parse, settings
from smalti.errors import UserError
from smalti.files import feed
from smalti.reading.labels import LabelReading

TOGETHER = 16  # maps that are encoded at once
_FAR = 2.0  # values further from 0 are no map in [-1, 1], whatever a filter overshoots


@settings
class MapSettings:
    """How maps become tokens; whether they are of depth or classes is their tokenizer's business."""

    kind: Literal["map"] = "map"
    # pixels a side to which the map of a window is reduced first, by the nearest; None: it is not
    size: Positive | None = None
    shared: bool = False  # the tokenizer of the images is that of the maps too
    # how maps are computed of images, in training as in use; None: they lie in files of their own
    compute: ComputeSettings | None = None
    dropout: Share = 0.0  # of images shown without their map; above 0 the model can be guided


class MapCondition(Condition):
    """Takes a map of the image's size. With dropout one more token says that no map is given.

    Its part is the tokenizer of its maps, unless the images' is shared.
    """

    argument: ClassVar[str | None] = "map"
    example = 'map="map.png"'

    def __init__(
        self, settings: MapSettings, tokenizer: Codec | None = None, part: nn.Module | None = None
    ) -> None:
        super().__init__(settings)
        self.compute = None if settings.compute is None else computation(settings.compute)
        if self.compute is not None:
            self.example = 'from_image="photo.png"'
        _check_part(settings, tokenizer, part)
        maps: Any = tokenizer if settings.shared else part
        self.size, self.tokenizer = settings.size, maps
        if settings.size is not None and settings.size % self.tokenizer.factor:
            factor = self.tokenizer.factor
            expected = f"condition.size as a multiple of {factor}, the factor of the maps' tokenizer"
            remedy = f"condition.size={max(1, round(settings.size / factor)) * factor}"
            raise UserError(expected, str(settings.size), remedy)
        vocabulary = self.tokenizer.codebook_size
        self.dropout = ConditionDropout(what="maps", share=settings.dropout, token=vocabulary)
        self.vocabulary = self.tokenizer.codebook_size + self.dropout.extra
        self.of_classes = self.tokenizer.settings.content == "segmentation"

    def length(self, grid: tuple[int, int]) -> int:
        """Return a token a cell of the window, or of the reduced map."""
        if self.size is None:
            return grid[0] * grid[1]
        return (self.size // self.tokenizer.factor) ** 2

    def is_by_cell(self, grid: tuple[int, int]) -> bool:
        """Return whether maps have the window's cells: of maps that are reduced few have."""
        side = None if self.size is None else self.size // self.tokenizer.factor
        return side is None or grid == (side, side)

    def from_user(self, value: Any, *, num: int, grid: tuple[int, int]) -> Float[Tensor, "b c H W"]:
        """Return maps as their tokenizer takes them; b = 1 for all canvases, or num.

        value: a map, or a sequence or tensor of num of them. A map is an image file, a Pillow image, or a
        tensor: floats (c H W) as its tokenizer takes them, in [-1, 1]; of classes also their numbers (H W).
        Values in files and Pillow images of classes mean what they did in training (shifted, merged: the
        tokenizer's settings.labels); tensors hold class numbers already. H and W are those of the image.
        UserError for others.
        """
        if value is None:
            computed = (
                "" if self.compute is None else "from_image= (--from) an image that it is computed of, or "
            )
            raise UserError("a map", "none", f"give {computed}map= an image file, or a tensor")
        found = [self._one(one, grid) for one in value] if is_list(value) else [self._one(value, grid)]
        count, sides = sum(map(len, found)), sorted({tuple(maps.shape[2:]) for maps in found})
        if count not in (1, num):
            raise UserError(f"one map, or {num} of them", str(count), "give one for each image")
        if len(sides) > 1:
            got = f"{sides[0][0]} x {sides[0][1]} and {sides[1][0]} x {sides[1][1]}"
            raise UserError("maps of one size", got, "resize them alike")
        return torch.cat(found)

    def from_batch(self, batch: Any) -> Float[Tensor, "b c H W"] | Int64[Tensor, "b m"]:
        """Return the maps, or those of the classes, a channel each; or the codes of crops, from shards."""
        if self.key in batch.precomputed:
            return batch.precomputed[self.key]
        return self._floats(batch.segmentations if batch.maps is None else batch.maps)

    @property
    def precomputes(self) -> dict[str, dict[str, Any]]:
        """See Condition: codes; with those of classes what values in files mean."""
        labels = self.tokenizer.settings.labels if self.of_classes else None
        meant = {} if labels is None else {"labels": dump(labels)}
        return {self.key: {"vocabulary": self.tokenizer.codebook_size, **meant}}

    def precompute(
        self, batch: Any, *, grid: tuple[int, int], device: torch.device
    ) -> dict[str, Int64[Tensor, "b m"]]:
        """See Condition."""
        context = self.encode(self.from_batch(batch), num=batch.size, grid=grid, device=device)
        prefix = context.window(0, 0, *grid)
        assert isinstance(prefix, Tensor), "a map fills all places"
        return {self.key: prefix}

    @cached_property
    def key(self) -> str:
        """Return what tells codes of these maps from others: whose they are, and of which size."""
        reduced = "" if self.size is None else f" at {self.size}"
        if self.settings.compute is not None:
            reduced += f" of {json.dumps(dump(self.settings.compute), sort_keys=True)}"
        if self.settings.shared:  # shards are those of one tokenizer of images
            return f"map by the images' tokenizer{reduced}"
        digest = hashlib.sha256()
        feed(digest, self.tokenizer.state_dict())
        return f"map by {digest.hexdigest()[:16]}{reduced}"

    def encode(
        self,
        value: Float[Tensor, "b c H W"] | Int64[Tensor, "b m"],
        *,
        num: int,
        grid: tuple[int, int],
        device: torch.device,
    ) -> Context:
        """Return the codes of the maps; of maps that are reduced, those of each window's part."""
        if not value.is_floating_point():
            codes = value.to(device)
            return SameContext(prefix=codes) if self.size else GridContext(tokens=codes.view(num, *grid))
        if self.size is not None:
            return ReducedContext(condition=self, maps=value.to(device), num=num, grid=grid)
        return GridContext(tokens=self.codes(value.to(device)).expand(num, -1, -1))

    @classmethod
    def needs(cls, settings: Any, data: Any, reader: Any) -> None:
        """See Condition: images with maps, images alone where maps are computed of them, or codes of both."""
        if settings.compute is not None and "codes" not in reader.gives:
            # images that are made have maps anyway, which nobody gave
            in_files = "map" in reader.gives and reader.summary().paths
            if "image" not in reader.gives or in_files:
                expected = "images alone for condition.compute, of which maps are computed"
                remedy = "give data.kind=folder, or condition.compute=null for maps in files"
                raise UserError(expected, f"data.kind={data.kind}", remedy)
            return
        if "map" not in reader.gives or not {"image", "codes"} & reader.gives:
            remedy = (
                "give data.kind=pairs, data.root and data.maps, or compute maps: condition.compute.kind=edges"
            )
            remedy = ENCODE_FOR if "codes" in reader.gives else remedy
            raise UserError("images with maps for condition.kind=map", f"data.kind={data.kind}", remedy)

    @classmethod
    def takes_part(cls, settings: Any) -> bool:
        """See Condition."""
        return not settings.shared

    def agree(self, data: Any, readers: Iterable[Any]) -> None:
        """See Condition: that the data's maps, or their codes, are those of the tokenizer.

        Of class maps the tokenizer knows what values in files mean, and so a user's, from its training; one
        that does not (it was trained on class numbers as they are, or before this was kept) takes it from the
        data. UserError where both say it and differ.
        Maps that are computed of images have the computation's channels; readers are told to compute them.
        """
        for reader in readers:
            if "codes" in reader.gives:
                self._take_codes(reader)
            elif self.compute is not None:
                self._agree_on_computed(self.compute, reader)
            else:
                self._take_maps(data, reader)

    def _take_codes(self, reader: Any) -> None:
        root, kept = reader.summary().root, self.tokenizer.settings.labels
        if self.key not in reader.precomputed:
            there = ", ".join(reader.precomputed) or "none"
            raise UserError(f"codes of the {self.key} in {root}", there, ENCODE_FOR)
        labels = reader.precomputed[self.key].get("labels")
        meant = None if labels is None else parse(labels, LabelReading)
        if kept is None:
            self.tokenizer.settings = replace(self.tokenizer.settings, labels=meant)
        elif kept != meant:
            got = f"{'numbers of classes' if meant is None else meant.told()} in {root}"
            raise UserError(f"maps whose values are read so: {kept.told()}", got, ENCODE_FOR)

    def _take_maps(self, data: Any, reader: Any) -> None:
        key, how = "tokenizer" if self.settings.shared else "condition_tokenizer", self.tokenizer.settings
        if how.pixels is not None:
            remedy = f"give a {key} that was trained with content=map and data.kind=pairs, or none of its own"
            expected = f"a {key} of maps, which are read as they are"
            raise UserError(expected, "one with data.range or bands", remedy)
        channels = self.tokenizer.channels
        takes = {1: "depth", 3: "image"}.get(channels, f"{channels} channels")
        takes = "segmentation" if self.of_classes else takes
        if data.content != takes:
            expected = f"data.content={takes}, which {key} takes"
            raise UserError(expected, data.content, f"data.content={takes}, or another {key}")
        if self.of_classes:
            self._read_alike(reader)

    def _agree_on_computed(self, compute: Computation, reader: Any) -> None:
        key, channels = "tokenizer" if self.settings.shared else "condition_tokenizer", compute.channels
        if self.of_classes or channels not in (0, self.tokenizer.channels):
            got = "one of classes" if self.of_classes else f"one of {self.tokenizer.channels}"
            remedy = f"train one: content=map compute.kind={compute.settings.kind}"
            raise UserError(f"a {key} of maps with {channels or 'the images'} channels", got, remedy)
        compute.wanted_of(reader)

    def _read_alike(self, reader: Any) -> None:
        kept = self.tokenizer.settings.labels
        if kept is None:
            self.tokenizer.settings = replace(self.tokenizer.settings, labels=reader.labels)
        else:
            for name in ("merge", "shift"):
                said, known = getattr(reader.settings, name), getattr(kept, name)
                if said is not None and said != known:
                    expected = (
                        f"data.{name}={str(known).lower()}, with which the tokenizer of maps was trained"
                    )
                    remedy = f"leave data.{name} out, or use a tokenizer that was trained with it"
                    raise UserError(expected, str(said).lower(), remedy)
            reader.labels = kept
        reader.bound(self.tokenizer.channels)

    def from_option(self, given: Any, fit: Callable[[Tensor, str], Tensor | None]) -> Any:
        """Return the map scaled to the canvas; one that fits stays a path, which the images then name."""
        fitted = fit(self.open(given), "nearest-exact" if self.of_classes else "bilinear")
        return given if fitted is None else fitted

    @property
    def own(self) -> Any:
        """Return the tokenizer of the maps; None where the images' is shared."""
        return None if self.settings.shared else self.tokenizer

    def open(self, source: str | Path | Image.Image) -> Float[Tensor, "1 c H W"]:
        """Return a map of a file or a Pillow image, of its own size; of classes a channel each, 0 or 1."""
        return open_for(self.tokenizer, source)

    def decode(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b c H W"]:
        """Return maps as their codes tell them; of classes their logits."""
        return self.tokenizer.decode(codes)

    def count(self, value: Any) -> int | None:
        """Return how many maps there are in a sequence or a tensor; None for one map."""
        if isinstance(value, Tensor):
            return len(value) if value.dim() == (4 if value.is_floating_point() else 3) else None
        return len(value) if is_list(value) else None

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """Return files by their names, the others by a hash of what they hold."""
        several = [_named(one) for one in (value if self.count(value) is not None else [value])]
        return several * (num // len(several))

    def codes(self, maps: Float[Tensor, "b c H W"]) -> Int64[Tensor, "b h w"]:
        """Return what the tokenizer makes of maps, a few at a time."""
        firsts = range(0, len(maps), TOGETHER)
        parts = [maps[first : first + TOGETHER] for first in firsts]
        return torch.cat([self.tokenizer.encode(part, is_checked=True) for part in parts])

    def _one(self, given: Any, grid: tuple[int, int]) -> Float[Tensor, "b c H W"]:
        """Return a file, an image or a tensor, which may hold several maps."""
        if isinstance(given, str | Path | Image.Image):
            maps = self.open(given)
        elif isinstance(given, Tensor):
            maps = self._floats(given)
        else:
            remedy = "give map= an image file, a Pillow image or a tensor"
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
        expected = f"a map of the image's size, {grid[0] * factor} x {grid[1] * factor} pixels"
        if self.size is not None:  # how many pixels a cell of the image has is its own tokenizer's business
            expected = f"a map of the image's size, {grid[0]} x {grid[1]} cells of whole pixels, all equal"
        raise UserError(expected, got, f"resize the map, or give size=({maps.shape[2]}, {maps.shape[3]})")


@dataclass(frozen=True, kw_only=True)
class ReducedContext:
    """Maps of which each window is reduced and encoded by itself: their cells are not those of the canvas."""

    condition: MapCondition
    maps: Float[Tensor, "b c H W"]  # b = 1 for all canvases, or num
    num: int
    grid: tuple[int, int]

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """Return the codes of the window's part of the map, reduced to the size the model knows."""
        side, size = self.maps.shape[2] // self.grid[0], self.condition.size
        assert size is not None, "maps of the image's size need no reduction"
        part = self.maps[:, :, top * side : (top + height) * side, left * side : (left + width) * side]
        reduced = F.interpolate(part, size=(size, size))  # nearest, as in the 2021 code
        return self.condition.codes(reduced).flatten(1).expand(self.num, -1)

    def take(self, rows: Int64[Tensor, " r"]) -> "ReducedContext":
        """See Context."""
        maps = self.maps if len(self.maps) == 1 else self.maps[rows]
        return replace(self, maps=maps, num=len(rows))


def _check_part(settings: MapSettings, tokenizer: Any, part: Any) -> None:
    """UserError unless there is a tokenizer of the maps where it is needed, and one that fits."""
    wanted = not settings.shared
    if wanted != (part is not None):
        remedy = "give condition_tokenizer=, or condition.shared=true" if wanted else "leave it out"
        kind = "a tokenizer of the maps" if wanted else "no second tokenizer"
        raise UserError(f"{kind} for {settings}", "none" if wanted else "one", remedy)
    if part is not None and settings.size is None and part.factor != tokenizer.factor:
        expected = f"a tokenizer of the maps with the images' factor, {tokenizer.factor}"
        raise UserError(expected, str(part.factor), "use another one, or set condition.size")


def _named(given: Any) -> str:
    if isinstance(given, str | Path):
        return str(given)
    data = given.detach().cpu().contiguous().numpy() if isinstance(given, Tensor) else given
    raw = data.tobytes()
    return f"{type(given).__name__} {hashlib.blake2b(raw, digest_size=8).hexdigest()}"
