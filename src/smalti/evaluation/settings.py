"""What a user may say of an evaluation."""

from pathlib import Path
from typing import Literal

from smalti.config import Positive, settings
from smalti.data.transforms import CropSettings
from smalti.imaging import Filter
from smalti.sizes import Size


@settings
class EvaluationSettings:
    """Which images, cut how, and which numbers."""

    metrics: tuple[str, ...] | None = None  # names in MEASURES; None: all that can be computed
    spaces: tuple[str, ...] | None = None  # names in SPACES; None: all that are there
    num: Positive | None = None  # images a side, evenly over the data; None: all of them
    per_class: Positive | None = None  # images drawn of every class, in place of the classes of the data
    size: Size | None = None  # pixels of a crop; None: as the model was trained, or as the images are
    resize: Literal["short", "none"] = "short"  # so that the crop just fits; none: cut at its own scale
    filter: Filter = "bicubic"
    # of a folder: what the model's training held out of it, or folders called val or test; train; or all.
    # auto: val where there is such a part, else all
    split: Literal["auto", "val", "train", "all"] = "auto"
    maps: Path | None = None  # of the images of the data, called alike, for a model that is told maps
    captions: str | None = None  # of the images of the data, as data.captions, for a model that is told texts
    train: Path | None = None  # training images, for what is held against them; None: the model's, if there
    # of them at most, evenly over all; None: 10,000, of data that are made as many as judges learn from
    train_num: Positive | None = None
    paired: bool = False  # image files are reconstructions of those of the data that are called alike
    save: Path | None = None  # where the images that are judged are written: a new folder, or an .npz
    seed: int = 0  # of the first drawn image; image i has seed + i

    @property
    def crop_size(self) -> tuple[int, int] | None:
        """Return height and width in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def crop(self) -> CropSettings:
        """Return how a crop is taken."""
        return CropSettings(resize=self.resize, filter=self.filter)
