"""How the values of a label map become class numbers."""

from dataclasses import field

from smalti.config import Count, settings


@settings
class LabelReading:
    """What a value in a label map's file means; a model of maps keeps it, and reads every map by it."""

    merge: dict[Count, Count] = field(
        default_factory=dict
    )  # value in the file -> the value that it counts as
    shift: bool = (
        False  # then add 1, which makes of 255 (nothing known) class 0: COCO's maps, with 183 classes
    )
