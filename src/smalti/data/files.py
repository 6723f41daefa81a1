"""Which files a reader reads, whatever its kind."""

from smalti.data.annotated import Annotated
from smalti.data.folder import Folder
from smalti.data.maps import Maps
from smalti.data.pairs import Pairs
from smalti.data.protocol import Reader


def files_of(reader: Reader) -> Folder | Annotated | None:
    """Tell what lists a reader's files: itself, or the folder that it holds; None for shards."""
    if isinstance(reader, Maps | Pairs):
        return reader.files
    return reader if isinstance(reader, Folder | Annotated) else None
