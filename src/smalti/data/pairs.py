"""A folder of images and a folder of their maps: depth, classes, edges, low resolution."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import eq
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Int64, Shaped
from torch import Tensor

from smalti import imaging
from smalti.conditions.map_files import open_map
from smalti.config import Count, Share, settings
from smalti.data.folder import Folder, FolderSettings
from smalti.data.maps import label_notes, reading
from smalti.data.pixels import PixelSettings
from smalti.data.protocol import Reader, Sample, Summary
from smalti.data.splits import Splits
from smalti.data.turned import Described, in_words, turned_notes, turns_along
from smalti.errors import UserError
from smalti.exif import Turn
from smalti.opening import Header
from smalti.reading.huge import Huge
from smalti.reading.labels import LabelReading, open_labels
from smalti.reading.pixels import Pixels


@settings
class PairsSettings(PixelSettings):
    """Where images and maps lie. A map has the image's path below its folder, but for the suffix."""

    kind: Literal["pairs"] = "pairs"
    root: Path  # of the images
    maps: Path  # of those that are held out too, unless val_maps says otherwise
    content: Literal["image", "depth", "segmentation"] = "image"  # depth: one channel, see `open_map`
    # of class maps, as the reader of maps has them; None: as their tokenizer was trained
    merge: dict[Count, Count] | None = None
    shift: bool | None = None
    # what a map describes of an image that EXIF turns, where sizes do not tell: the raster in the file, and
    # it turns with it, or the image as it is seen
    annotated: Described = "stored"
    val: Path | None = None  # a folder of images held out in place of a share of root
    val_maps: Path | None = None
    val_share: Share = 0.05  # of the images, by a hash of the path below root; 0: none
    splits: Splits | None = None  # as the reader of folders has them; maps have the same folders
    captions: str | None = None  # as the reader of folders has them

    @property
    def contents(self) -> dict[str, int]:
        """Return the maps, or the images, each with its channels; 0: as many as the network asks for."""
        maps = {"segmentation": {"segmentation": 0}, "depth": {"map": 1}, "image": {"map": 3}}
        return {**maps[self.content], "image": self.channels}


class Mapped:
    """Images with maps of their size: how these are read, and turned with an image that EXIF turns."""

    def __init__(self, settings: Any, content: Literal["image", "depth", "segmentation"]) -> None:
        """settings: those of pixels, and of maps as PairsSettings has them."""
        self.settings, self.content, self.labels = settings, content, reading(settings)
        self.most: int | None = None  # class numbers of maps are below it, where that is known

    def sample(
        self, path: Path, source: Path, *, label: int | None = None, texts: tuple[str, ...] | None = None
    ) -> Sample:
        """Return an image and its map, of one size: a map of the stored raster is turned with it.

        UserError with the path for what cannot be used.
        """
        image, turn = self.settings.open_turned(path)
        whole = Sample(image=image, label=label, texts=texts, path=path)
        if self.content == "segmentation":
            labels = open_labels(source, self.labels)
            self._check_classes(labels, source)
            return replace(whole, segmentation=self._fitted(labels, image, turn, source))
        found = self._fitted(open_map(source, 3 if self.content == "image" else 1), image, turn, source)
        return replace(whole, map=found)

    def _fitted(
        self, found: Shaped[Tensor, "*c _ _"], image: Pixels | Huge, turn: Turn, source: Path
    ) -> Shaped[Tensor, "*c H W"]:
        said, upright = (found.shape[-2], found.shape[-1]), (image.shape[1], image.shape[2])
        along = turns_along(said, upright, turn, self.settings.annotated, eq)
        if along is None:
            expected = f"a map of its image's size, {in_words(upright, turn)}"
            raise UserError(expected, "{} x {} in {}".format(*said, source), "resize one of the two")
        return turn.raster(found) if along else found

    def _check_classes(self, labels: Int64[Tensor, "H W"], source: Path) -> None:
        highest = int(labels.max())
        if self.most is not None and highest >= self.most:
            how = f" (values read so: {self.labels.told()})" if self.labels else ""
            remedy = f"'data.merge={{{highest}: 0}}' counts it as another, or renumber the map"
            if self.labels:
                remedy = "renumber the map as those that the tokenizer of maps was trained on"
            raise UserError(f"class numbers from 0 to {self.most - 1}", f"{highest} in {source}{how}", remedy)


class Pairs(Reader):
    """Images with their maps, split as a folder of images is."""

    classes: tuple[str, ...] = ()

    def __init__(self, settings: PairsSettings, split: Literal["train", "val"]) -> None:
        self.settings, self.both = settings, Mapped(settings, settings.content)
        folder = FolderSettings(
            root=settings.root,
            val=settings.val,
            val_share=settings.val_share,
            classes="none",
            splits=settings.splits,
            captions=settings.captions,
        )
        self.files = Folder(replace(folder, **settings.reads()), split)
        maps = settings.val_maps if split == "val" and settings.val_maps else settings.maps
        self.maps = _partners(self.files, maps)
        self.gives = self.files.gives | {"map"}

    @property
    def labels(self) -> LabelReading | None:
        """Return how class maps are read; a tokenizer of maps may know better, and sets it."""
        return self.both.labels

    @labels.setter
    def labels(self, how: LabelReading | None) -> None:
        self.both.labels = how

    def bound(self, classes: int) -> None:
        """See Reader."""
        self.both.most = classes

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        """An image and its map, of one size: a map of the stored raster is turned with it.

        UserError with the path for what cannot be used.
        """
        texts = self.files.texts(index)
        return self.both.sample(self.files.paths[index], self.maps[index], texts=texts)

    def captions(self) -> Iterator[str]:
        """See Reader."""
        return self.files.captions()

    def summary(self) -> Summary:
        """See Reader."""
        return self.files.summary()

    def notes(self, headers: Sequence[Header]) -> list[str]:
        """See Reader."""
        lines = label_notes(self.labels, self.maps) if self.settings.content == "segmentation" else []
        return [*lines, *turned_notes("maps", self.settings.annotated, True, headers)]


def _partners(files: Folder, maps: Path) -> list[Path]:
    """Return the map of each image."""
    there = {path.relative_to(maps).with_suffix(""): path for path in imaging.find_images(maps)}
    names = [path.relative_to(files.root).with_suffix("") for path in files.paths]
    alone = [name for name in names if name not in there]
    if alone:
        expected = f"a map in {maps} for each image in {files.root}, of the same name but for the suffix"
        got = f"{len(alone)} of {len(names)} images without one, the first {alone[0]}"
        raise UserError(expected, got, "complete the maps, or read the images alone: data.kind=folder")
    return [there[name] for name in names]
