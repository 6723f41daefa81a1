"""A folder of pictures and a folder of their maps: depth, classes, edges, low resolution."""

from pathlib import Path
from typing import Literal

from jaxtyping import UInt8
from torch import Tensor

from smalti import images
from smalti.conditions.map_files import open_map
from smalti.config import Share, settings
from smalti.data.folder import Folder, FolderSettings
from smalti.data.maps import open_numbers
from smalti.data.protocol import Sample
from smalti.data.splits import Splits
from smalti.errors import UserError


@settings
class PairsSettings:
    """Where pictures and maps lie. A map has the picture's path below its folder, but for the suffix."""

    kind: Literal["pairs"] = "pairs"
    root: Path  # of the pictures
    maps: Path  # of those that are held out too, unless val_maps says otherwise
    content: Literal["picture", "depth", "segmentation"] = "picture"  # depth: one channel, see `open_map`
    shift: bool = False  # of class numbers, as the reader of maps has it
    val: Path | None = None  # a folder of pictures held out in place of a share of root
    val_maps: Path | None = None
    val_share: Share = 0.05  # of the pictures, by a hash of the path below root; 0: none
    splits: Splits | None = None  # as the reader of folders has them; maps have the same folders


class Pairs:
    """Pictures with their maps, split as a folder of pictures is."""

    classes: tuple[str, ...] = ()

    def __init__(self, settings: PairsSettings, split: Literal["train", "val"]) -> None:
        self.settings = settings
        folder = FolderSettings(
            root=settings.root,
            val=settings.val,
            val_share=settings.val_share,
            classes="none",
            splits=settings.splits,
        )
        self.files = Folder(folder, split)
        maps = settings.val_maps if split == "val" and settings.val_maps else settings.maps
        self.maps = _partners(self.files, maps)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        """A picture and its map, of one size. UserError with the path for what cannot be used."""
        path, source = self.files.paths[index], self.maps[index]
        picture = images.open_rgb(path)
        if self.settings.content == "segmentation":
            labels = open_numbers(source, shift=self.settings.shift)
            _check_sides(labels, picture, source)
            return Sample(image=picture, segmentation=labels, path=path)
        found = open_map(source, 3 if self.settings.content == "picture" else 1)
        _check_sides(found, picture, source)
        return Sample(image=picture, map=found, path=path)


def _partners(files: Folder, maps: Path) -> list[Path]:
    """The map of each picture."""
    there = {path.relative_to(maps).with_suffix(""): path for path in images.find_pictures(maps)}
    names = [path.relative_to(files.root).with_suffix("") for path in files.paths]
    alone = [name for name in names if name not in there]
    if alone:
        expected = f"a map in {maps} for each picture in {files.root}, of the same name but for the suffix"
        got = f"{len(alone)} of {len(names)} pictures without one, the first {alone[0]}"
        raise UserError(expected, got, "complete the maps, or read the pictures alone: data.kind=folder")
    return [there[name] for name in names]


def _check_sides(found: Tensor, picture: UInt8[Tensor, "3 H W"], source: Path) -> None:
    if found.shape[-2:] != picture.shape[-2:]:
        got = "{} x {} in {}".format(*found.shape[-2:], source)
        expected = "a map of its picture's size, {} x {} pixels".format(*picture.shape[-2:])
        raise UserError(expected, got, "resize one of the two")
