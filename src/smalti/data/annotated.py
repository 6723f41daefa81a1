"""What readers of annotated boxes share: which boxes count, and which images have enough of them."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from smalti.conditions.box_tokens import Box, Object, Scene
from smalti.config import Positive, Share, settings
from smalti.data.pixels import PixelSettings
from smalti.data.protocol import Reader, Sample, Summary
from smalti.data.turned import Described, Size, in_words, turned_notes, turns_along
from smalti.errors import UserError
from smalti.opening import Header


@settings
class AnnotatedSettings(PixelSettings):
    """Where the data lie, in the publisher's layout, and what of them counts."""

    root: Path
    min_area: Share = 1.0e-5  # of the image: smaller boxes are left out
    min_objects: Positive = 2  # boxes that are left; images with fewer or more are left out
    max_objects: Positive = 30
    # what boxes describe of an image that EXIF turns, where its annotated size does not tell: the raster in
    # the file, and they turn with it, or the image as it is seen
    annotated: Described = "stored"


class Annotated(Reader):
    """Images with the things in them, in the order of the annotations."""

    gives = frozenset({"image", "scene"})

    def __init__(
        self,
        settings: AnnotatedSettings,
        root: Path,
        classes: Iterable[str],
        things: Mapping[str, list[Object]],
        sizes: Mapping[str, Size] | None = None,
    ) -> None:
        """root: of the images. things: of each image, by its path below root; labels are numbers.

        sizes: for which boxes were made, by the same paths; None where annotations do not say them.
        """
        self.settings, self.root, self.classes = settings, root, tuple(classes)
        counting = {name: _large(found, settings.min_area) for name, found in things.items()}
        least, most = settings.min_objects, settings.max_objects
        kept = {name: found for name, found in counting.items() if least <= len(found) <= most}
        if not kept:
            expected = f"images with {least} to {most} boxes of an area above {settings.min_area}"
            remedy = "change data.min_objects, data.max_objects or data.min_area"
            raise UserError(expected, f"none among {len(things)} that are annotated", remedy)
        self.paths = [root / name for name in kept]
        self._things = [tuple(found) for found in kept.values()]
        self.sized = sizes is not None
        self._sizes = [sizes[name] for name in kept] if sizes is not None else [None] * len(kept)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """An image and its things, turned with it where they describe what is stored.

        UserError with the path where it cannot be read, or is another than the annotated one.
        """
        path, things, said = self.paths[index], self._things[index], self._sizes[index]
        image, turn = self.settings.open_turned(path)
        upright = (image.shape[1], image.shape[2])
        along = turns_along(said, upright, turn, self.settings.annotated, alike)
        if along is None and said is not None:
            got, remedy = "{} x {} in {}".format(*said, path), "mend the annotation, or take the image away"
            raise UserError(f"boxes for the image's size, {in_words(upright, turn)}", got, remedy)
        if along and turn:
            things = tuple(Object(thing.label, *turn.box(thing.box)) for thing in things)
        return Sample(image=image, scene=Scene(things), path=path)

    def summary(self) -> Summary:
        """See Reader."""
        return Summary(count=len(self), root=self.root, paths=self.paths, pixels=self.settings)

    def notes(self, headers: Sequence[Header]) -> list[str]:
        """See Reader."""
        return turned_notes("boxes", self.settings.annotated, self.sized, headers)

    def most_objects(self) -> int:
        """See Reader."""
        return self.settings.max_objects

    def counts(self) -> dict[str, int]:
        """See Reader: things."""
        labels = Counter(int(thing.label) % len(self.classes) for found in self._things for thing in found)
        return {name: labels[number] for number, name in enumerate(self.classes)}


def inside(box: Box) -> Box:
    """Return a box cut at the borders of the image, which annotations overstep by rounding.

    ValueError for one that has no place.
    """
    if not all(map(math.isfinite, box)):
        raise ValueError(f"a box at {box}")
    x0, y0, x1, y1 = (min(max(at, 0.0), 1.0) for at in box)
    return x0, y0, x1, y1


def alike(said: Size, found: Size) -> bool:
    """Return whether boxes for a size are right in shares of another.

    A copy of it, scaled, its sides rounded.
    """
    ratios = [[(side + by) / own for by in (-1, 1)] for side, own in zip(found, said, strict=True)]
    return max(least for least, _ in ratios) < min(most for _, most in ratios)


def _large(things: list[Object], least: float) -> list[Object]:
    return [thing for thing in things if (thing.x1 - thing.x0) * (thing.y1 - thing.y0) > least]
