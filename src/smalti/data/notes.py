"""What a person should know about how their maps and boxes are read, before anything is trained on them."""

from collections.abc import Sequence

from smalti.data.annotated import Annotated
from smalti.data.maps import Maps
from smalti.data.pairs import Pairs
from smalti.data.protocol import Reader
from smalti.data.turned import undecided
from smalti.opening import Header
from smalti.reading.labels import mixture


def notes(reader: Reader, headers: Sequence[Header]) -> list[str]:
    """A line each; none where there is nothing to choose. headers: of the pictures that were looked at."""
    lines = []
    labels = reader.maps if isinstance(reader, Pairs) and reader.settings.content == "segmentation" else ()
    if isinstance(reader, Maps):
        labels = reader.files.paths
    if isinstance(reader, Maps | Pairs) and labels:
        lines += [f"values of label maps: {reader.labels.told()}"] if reader.labels else []
        lines += filter(None, [mixture(labels)])
    if isinstance(reader, Pairs | Annotated):
        what = "maps" if isinstance(reader, Pairs) else "boxes"
        sized = isinstance(reader, Pairs) or reader.sized
        lines += _turned(what, reader.settings.annotated, sized, headers)
    return lines


def _turned(what: str, held: str, sized: bool, headers: Sequence[Header]) -> list[str]:
    open_ones = [one for one in headers if undecided((one.height, one.width), one.turn, sized=sized)]
    if not open_ones:
        return []
    taken = {
        "stored": "of the raster in the file, and turned along",
        "upright": "of the picture as it is seen",
    }
    (other,) = taken.keys() - {held}
    why = f"{len(open_ones)} pictures are turned by EXIF, and no size tells what their {what} describe"
    return [f"{why}: they are taken to be {taken[held]} (data.annotated={held}); else data.annotated={other}"]
