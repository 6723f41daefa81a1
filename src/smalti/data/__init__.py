"""Datasets: the readers by kind."""

from typing import Annotated, Any

from pydantic import Field

from smalti.data.folder import Folder, FolderSettings
from smalti.data.shards import ShardsSettings, TokenShards

ReaderSettings = Annotated[FolderSettings | ShardsSettings, Field(discriminator="kind")]

READERS: dict[str, tuple[type[Any], type[Any]]] = {
    "folder": (FolderSettings, Folder),
    "shards": (ShardsSettings, TokenShards),
}

__all__ = ["READERS", "ReaderSettings"]
