"""How the values of a picture file become those of a picture in [-1, 1]."""

from smalti.config import Count, settings


@settings
class PixelReading:
    """What the values in a picture's file mean; a model keeps it, and reads every picture by it."""

    range: tuple[float, float] | None = (
        None  # values that become black and white; None: those of the file's type
    )
    bands: tuple[Count, ...] | None = (
        None  # of the file, by number, that become the channels; None: red, green, blue
    )
