"""Samples in place of data that nobody has named: made scenes, in the form that a recipe's data have."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from smalti.data.protocol import Reader, Sample, Summary
from smalti.data.scenes import Scenes, ScenesSettings
from smalti.sizes import Sides
from smalti.training import folders

KINDS = 16  # samples that differ; the others are the same again
_COUNT, _SIDE = 10_000, 64  # samples of a split; pixels of a scene before it is enlarged
Content = Literal["segmentation", "depth"]


class Synthetic(Reader):
    """Gives all that data of a kind may have: images, maps, classes, captions ...; of token shards codes."""

    def __init__(self, settings: Any, split: Literal["train", "val"]) -> None:
        assert split in ("train", "val"), f"no split {split}"
        self.settings = settings
        self._content: Content = "depth" if "map" in settings.contents else "segmentation"
        self._sides: Sides = (_SIDE, _SIDE)
        self.classes, self.joints = Scenes.classes, Scenes.joints
        self.labels = None  # as scenes have it: class numbers as they are
        self.gives = Scenes.gives | ({"codes"} if settings.kind == "shards" else set())
        self._channels: int = settings.contents.get("image", 0) or 3
        self._bound: int | None = None
        self._codes: tuple[Sides, int] | None = None
        self._made = lru_cache(maxsize=KINDS)(self._sample)

    def __len__(self) -> int:
        return _COUNT

    def __getitem__(self, index: int) -> Sample:
        """One of a few samples."""
        return self._made(index % KINDS)

    def fit(self, sides: Sides, codes: tuple[Sides, int] | None) -> None:
        """Give images of these sides from now on, or codes: rows and columns, and how many there are.

        codes: None: the data are images.
        """
        self._sides, self._codes = sides, codes
        self._made.cache_clear()

    def summary(self) -> Summary:
        """See Reader."""
        return Summary(count=len(self), root=Path("synthetic"), sides=[self._sides])

    def sides(self) -> Iterator[Sides]:
        """See Reader."""
        return iter([self._sides] * len(self))

    def captions(self) -> Iterator[str]:
        """See Reader: those of the samples, which have fewer words than real ones."""
        return (text for index in range(KINDS) for text in self[index].texts or ())

    def bound(self, classes: int) -> None:
        """See Reader."""
        self._bound = classes
        self._made.cache_clear()

    def _sample(self, index: int) -> Sample:
        found = _scene(self._content, index)
        if self._codes is not None:
            (grid, size), chance = self._codes, torch.Generator().manual_seed(index)
            codes = torch.randint(size, grid, generator=chance)
            return replace(found, image=None, segmentation=None, map=None, codes=codes)
        channels = torch.arange(self._channels) % 3
        labels = found.segmentation
        if labels is not None:
            labels = _enlarged(labels[None], self._sides)[0]
            labels = labels if self._bound is None else labels.clamp(max=self._bound - 1)
        shown = None if found.map is None else _enlarged(found.map, self._sides)
        assert isinstance(found.image, Tensor), "as scenes are"
        image = _enlarged(found.image[channels], self._sides)
        return replace(found, image=image, segmentation=labels, map=shown)


def open_synthetic(settings: Any) -> dict[str, Reader]:
    """Return readers by split in place of those of settings."""
    return {split: Synthetic(settings, split) for split in ("train", "val")}


def needs_root(mapping: Mapping[str, Any]) -> bool:
    """Return whether a recipe's data lie in a folder that it does not name."""
    data = mapping.get("data")
    data = data if isinstance(data, Mapping) else {}
    return "root" not in data and data.get("kind") not in folders.made()


@lru_cache(maxsize=2 * KINDS)
def _scene(content: Content, index: int) -> Sample:
    return Scenes(ScenesSettings(size=_SIDE, content=content, people=1.0), "train")[index]


def _enlarged(values: Tensor, sides: Sides) -> Tensor:
    """Return values (c h w) as large as an image, of the same type."""
    found = F.interpolate(values[None].float(), size=sides, mode="nearest")[0]
    return found.to(values.dtype)
