"""What readers of annotated boxes share: which boxes count, and which pictures have enough of them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from smalti.conditions.box_tokens import Box, Object, Scene
from smalti.config import Positive, Share, settings
from smalti.data.pixels import PixelSettings
from smalti.data.protocol import Sample
from smalti.errors import UserError


@settings
class AnnotatedSettings(PixelSettings):
    """Where the data lie, in the publisher's layout, and what of them counts."""

    root: Path
    min_area: Share = 1.0e-5  # of the picture: smaller boxes are left out
    min_objects: Positive = 2  # boxes that are left; pictures with fewer or more are left out
    max_objects: Positive = 30


class Annotated:
    """Pictures with the things in them, in the order of the annotations."""

    def __init__(
        self,
        settings: AnnotatedSettings,
        root: Path,
        classes: Iterable[str],
        things: Mapping[str, list[Object]],
    ) -> None:
        """root: of the pictures. things: of each picture, by its path below root; labels are numbers."""
        self.root, self.classes, self.pixels = root, tuple(classes), settings
        counting = {name: _large(found, settings.min_area) for name, found in things.items()}
        least, most = settings.min_objects, settings.max_objects
        kept = {name: found for name, found in counting.items() if least <= len(found) <= most}
        if not kept:
            expected = f"pictures with {least} to {most} boxes of an area above {settings.min_area}"
            remedy = "change data.min_objects, data.max_objects or data.min_area"
            raise UserError(expected, f"none among {len(things)} that are annotated", remedy)
        self.paths = [root / name for name in kept]
        self._things = [tuple(found) for found in kept.values()]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """A picture and its things. UserError with the path where it cannot be read."""
        path = self.paths[index]
        return Sample(image=self.pixels.open(path), scene=Scene(self._things[index]), path=path)

    def counts(self) -> dict[str, int]:
        """How many things there are of each class."""
        labels = Counter(int(thing.label) % len(self.classes) for found in self._things for thing in found)
        return {name: labels[number] for number, name in enumerate(self.classes)}


def inside(box: Box) -> Box:
    """A box cut at the borders of the picture, which annotations overstep by rounding."""
    x0, y0, x1, y1 = (min(max(at, 0.0), 1.0) for at in box)
    return x0, y0, x1, y1


def _large(things: list[Object], least: float) -> list[Object]:
    return [thing for thing in things if (thing.x1 - thing.x0) * (thing.y1 - thing.y0) > least]
