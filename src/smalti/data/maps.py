"""A folder of label maps: image files whose values are class numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from smalti.config import Count, Positive, Share, settings
from smalti.data.folder import Folder, FolderSettings
from smalti.data.protocol import Reader, Sample, Summary
from smalti.data.splits import Splits
from smalti.errors import UserError
from smalti.opening import Header
from smalti.reading.labels import LabelReading, mixture, open_labels


@settings
class MapsSettings:
    """Where the label maps lie, which are held out, and how their values are numbered."""

    kind: Literal["maps"] = "maps"
    root: Path
    val: Path | None = None  # a folder held out in place of a share of root
    val_share: Share = 0.05  # of the maps, by a hash of the path below root; 0: none
    splits: Splits | None = None  # as the reader of folders has them
    classes: Positive  # numbers are 0 .. classes - 1
    # value in a file -> the value that it counts as: merged classes, ignored values; None: each as itself
    merge: dict[Count, Count] | None = None
    # then add 1, which makes of 255 (nothing known) class 0: COCO's maps, with 183 classes; None: do not
    shift: bool | None = None

    @property
    def contents(self) -> dict[str, int]:
        """Return what can be rebuilt of such data, each with its channels."""
        return {"segmentation": self.classes}


class Maps(Reader):
    """The label maps of a folder and those below it, split as a folder of images is."""

    classes: tuple[str, ...] = ()
    gives = frozenset({"map"})

    def __init__(self, settings: MapsSettings, split: Literal["train", "val"]) -> None:
        self.settings, self.labels = settings, reading(settings)
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
        labels = open_labels(path, self.labels)
        highest = int(labels.max())
        if highest >= how.classes:
            got = f"{highest} in {path}" + (" (after the shift)" if how.shift else "")
            remedy = f"data.classes={highest + 1}" if how.shift or highest != 255 else "data.shift=true"
            merge = f"'data.merge={{{highest - bool(how.shift)}: 0}}' counts it as another"
            raise UserError(f"class numbers from 0 to {how.classes - 1}", got, f"{remedy}; or {merge}")
        return Sample(segmentation=labels, path=path)

    def summary(self) -> Summary:
        """See Reader."""
        return self.files.summary()

    def notes(self, headers: Sequence[Header]) -> list[str]:
        """See Reader."""
        return label_notes(self.labels, self.files.paths)


def reading(data: Any) -> LabelReading | None:
    """Return how data of kind maps or pairs say that label maps are read; None for values as they are."""
    found = LabelReading(merge=data.merge or {}, shift=bool(data.shift))
    return None if found == LabelReading() else found


def label_notes(how: LabelReading | None, paths: Sequence[Path]) -> list[str]:
    """Return how the values of label maps are read, and whether files of several kinds lie together."""
    read = [f"values of label maps: {how.told()}"] if how else []
    return [*read, *filter(None, [mixture(paths)])]
