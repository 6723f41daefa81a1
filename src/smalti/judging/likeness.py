"""A judge that has seen real images: how near an image comes to the nearest of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from smalti import imaging
from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import in_order
from smalti.data.splits import Splits
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.features import SPACES
from smalti.judging.protocol import Asked, Scorer
from smalti.losses import DISTANCES
from smalti.metrics.neighbours import nearest
from smalti.pipeline import Pipeline
from smalti.weights.catalogue import WEIGHTS

SEEN = 1024  # real images at most, evenly over the folder: each takes the time of a pass of a network
CANDIDATES = 4  # of them nearest by features, among which the perceptually nearest is looked for
_BATCH = 16


class Likeness(Scorer):
    """The perceptual distance to the nearest real image of a folder, of the asked class where it has that.

    It is looked for among the few that are nearest by the features of a classifier: a perceptual distance
    takes long. Copies have the best scores of all: see `smalti evaluate` for how near they come.
    """

    def __init__(self, folder: Path, pipeline: Pipeline, size: tuple[int, int]) -> None:
        """size: of the drawn images in pixels, to which real ones are brought."""
        distance, device = _first(DISTANCES), pipeline.order.device
        self.scores = f"minus {distance.title} to the nearest image of {folder}"
        self.name, self._classes = distance.name, pipeline.classes
        if min(size) < distance.least:
            expected = f"images of at least {distance.least} pixels a side for {distance.title}"
            raise UserError(expected, "{} x {}".format(*size), "a larger --size, or another judge")
        how = pipeline.tokenizer.settings
        if how.content == "segmentation" or (how.pixels is not None and how.pixels.range is not None):
            got = "one of segmentations" if how.content == "segmentation" else "one with data.range"
            raise UserError(f"a model of common images, for {distance.title}", got, "judge by a MODEL")
        self._distance, self._space = distance.read().to(device), _first(SPACES).read().to(device)
        reader = Folder(FolderSettings(root=folder, val_share=0.0, splits=Splits()), "train")
        self._names, labels, images, features = reader.classes, [], [], []
        real = in_order(reader, size=size, crop=CropSettings(), batch=_BATCH, most=SEEN)
        for batch in tqdm(real, desc=f"images of {folder}", unit=" batches", disable=None):
            assert batch.images is not None, "a folder is one of images"
            images.append(imaging.to_uint8(imaging.visible(batch.images)))
            features.append(self._space.features(imaging.to_float(images[-1]).expand(-1, 3, -1, -1)))
            labels.append(torch.full((batch.size,), -1) if batch.labels is None else batch.labels)
        self._images, self._labels, self._features = map(torch.cat, (images, labels, features))
        if len(self._images) <= CANDIDATES:
            raise UserError(f"more than {CANDIDATES} images in {folder}", str(len(self._images)), "give more")

    def score(
        self, images: Float[Tensor, "b c H W"], codes: Int64[Tensor, "b h w"], asked: Asked
    ) -> Float[Tensor, " b"]:
        """See Scorer."""
        rows = self._rows(asked)
        shown = images.expand(-1, 3, -1, -1)
        found = nearest(self._space.features(shown), self._features[rows], CANDIDATES)
        scores = []
        for image, candidates in zip(shown, rows[found.indices.cpu()], strict=True):
            real = imaging.to_float(self._images[candidates]).to(image.device)
            with torch.no_grad():
                scores.append(-self._distance(image[None].expand(CANDIDATES, -1, -1, -1), real).amin())
        return torch.stack(scores)

    @property
    def protocol(self) -> Mapping[str, Any]:
        """See Scorer."""
        how = {"weights": self._distance.digest[:16], "candidates": CANDIDATES, "space": self._space.name}
        return {**how, "real": len(self._images)}

    def _rows(self, asked: Asked) -> Int64[Tensor, " n"]:
        """Return the numbers of the images of the asked class, or of all."""
        everything = torch.arange(len(self._images))
        name = str(self._classes[asked.label]) if asked.label is not None else None
        if name not in self._names:
            return everything
        own = everything[self._labels == self._names.index(name)]
        return own if len(own) > CANDIDATES else everything


def _first(shelf: Mapping[str, type[Any]]) -> type[Any]:
    """Return the first network of a shelf whose weights are on this disk; of none the first of all."""
    return next(
        (member for name, member in shelf.items() if WEIGHTS[name].at_hand), next(iter(shelf.values()))
    )
