"""A folder of label maps: picture files whose values are class numbers."""

from pathlib import Path
from typing import Literal

from jaxtyping import Int64
from torch import Tensor

from smalti import images
from smalti.config import Positive, Share, settings
from smalti.data.folder import Folder, FolderSettings
from smalti.data.protocol import Sample
from smalti.data.splits import Splits
from smalti.errors import UserError


@settings
class MapsSettings:
    """Where the label maps lie, which are held out, and how their values are numbered."""

    kind: Literal["maps"] = "maps"
    root: Path
    val: Path | None = None  # a folder held out in place of a share of root
    val_share: Share = 0.05  # of the maps, by a hash of the path below root; 0: none
    splits: Splits | None = None  # as the reader of folders has them
    classes: Positive  # numbers are 0 .. classes - 1
    shift: bool = False  # add 1, which makes of 255 (nothing known) class 0: COCO's maps, with 183 classes


class Maps:
    """The label maps of a folder and those below it, split as a folder of pictures is."""

    classes: tuple[str, ...] = ()

    def __init__(self, settings: MapsSettings, split: Literal["train", "val"]) -> None:
        self.settings = settings
        where = FolderSettings(
            root=settings.root,
            val=settings.val,
            val_share=settings.val_share,
            classes="none",
            splits=settings.splits,
        )
        self.files = Folder(where, split)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        """A label map. UserError with the path for what is none, and for a number that is no class."""
        path, how = self.files.paths[index], self.settings
        labels = open_numbers(path, shift=how.shift)
        highest = int(labels.max())
        if highest >= how.classes:
            got = f"{highest} in {path}" + (" (after the shift)" if how.shift else "")
            remedy = f"data.classes={highest + 1}" if how.shift or highest != 255 else "data.shift=true"
            raise UserError(f"class numbers from 0 to {how.classes - 1}", got, remedy)
        return Sample(segmentation=labels, path=path)


def open_numbers(path: Path, *, shift: bool) -> Int64[Tensor, "H W"]:
    """The class numbers of a label map; shift: plus 1, in 8 bits. UserError with the path for others."""
    labels = images.open_labels(path)
    return (labels + 1) % 256 if shift else labels
