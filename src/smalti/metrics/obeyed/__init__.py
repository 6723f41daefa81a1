"""Numbers that say whether images obey what they were drawn of, a judge for each kind of condition."""

from smalti.metrics.obeyed.boxes import Boxes
from smalti.metrics.obeyed.depth import Depth
from smalti.metrics.obeyed.edges import Edges
from smalti.metrics.obeyed.keypoints import Keypoints
from smalti.metrics.obeyed.label import Label
from smalti.metrics.obeyed.low_resolution import LowResolution
from smalti.metrics.obeyed.protocol import Judge
from smalti.metrics.obeyed.segmentation import Segmentation
from smalti.metrics.obeyed.text import Text

# by what an image can be drawn of
JUDGES: dict[str, type[Judge]] = {
    "label": Label,
    "segmentation": Segmentation,
    "depth": Depth,
    "edges": Edges,
    "low_resolution": LowResolution,
    "boxes": Boxes,
    "keypoints": Keypoints,
    "text": Text,
}

__all__ = ["JUDGES"]
