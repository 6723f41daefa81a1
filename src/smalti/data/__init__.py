"""Datasets: the readers by kind."""

from typing import Annotated, Any

from smalti.data.arrow import Arrow, ArrowSettings
from smalti.data.coco import Coco, CocoSettings
from smalti.data.coco_keypoints import CocoKeypoints, CocoKeypointsSettings
from smalti.data.folder import Folder, FolderSettings
from smalti.data.maps import Maps, MapsSettings
from smalti.data.open_images import OpenImages, OpenImagesSettings
from smalti.data.pairs import Pairs, PairsSettings
from smalti.data.parquet import Parquet, ParquetSettings
from smalti.data.scenes import Scenes, ScenesSettings
from smalti.data.shards import ShardsSettings, TokenShards
from smalti.data.table import Table, TableSettings
from smalti.data.tar import Tar, TarSettings
from smalti.data.zip import Zip, ZipSettings
from smalti.schema import Shelf

READERS: dict[str, tuple[type[Any], type[Any]]] = {
    "folder": (FolderSettings, Folder),
    "maps": (MapsSettings, Maps),
    "pairs": (PairsSettings, Pairs),
    "coco": (CocoSettings, Coco),
    "coco_keypoints": (CocoKeypointsSettings, CocoKeypoints),
    "open_images": (OpenImagesSettings, OpenImages),
    "scenes": (ScenesSettings, Scenes),
    "table": (TableSettings, Table),
    "tar": (TarSettings, Tar),
    "zip": (ZipSettings, Zip),
    "parquet": (ParquetSettings, Parquet),
    "arrow": (ArrowSettings, Arrow),
    "shards": (ShardsSettings, TokenShards),
}

ReaderSettings = Annotated[Any, Shelf(READERS)]

__all__ = ["READERS", "ReaderSettings"]
