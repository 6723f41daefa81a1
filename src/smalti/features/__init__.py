"""Feature spaces: trained networks in which sets of images can be compared, by name."""

from smalti.features.inception import Inception
from smalti.features.lite0 import Lite0
from smalti.features.mobilenet_v2 import MobileNetV2
from smalti.features.protocol import Space

# by the name that numbers over their features carry; the better yardstick first
SPACES: dict[str, type[Space]] = {"mobilenet_v2": MobileNetV2, "lite0": Lite0, "inception": Inception}

__all__ = ["SPACES"]
