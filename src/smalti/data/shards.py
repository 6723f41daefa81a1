"""Token shards: the codes of a dataset on disk, so that a prior trains without the tokenizer at work.

folder/
  index.json              format, tokenizer (fingerprint), codebook_size, factor, classes, files of each split
  train-00000.safetensors codes (n h w) uint16, or int32 above 65,536 entries; labels (n) int32 if any
  val-00000.safetensors
"""

import json
import shutil
from bisect import bisect_right
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64
from safetensors.torch import save_file
from torch import Tensor

from smalti.config import settings
from smalti.data.protocol import Sample
from smalti.errors import UserError

FORMAT = 1
INDEX = "index.json"
ROWS = 16384  # of a shard: some 8 MB at 256 codes


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """What makes codes mean something."""

    tokenizer: str  # fingerprint of the model that made them
    codebook_size: int
    factor: int  # pixels a cell side
    classes: tuple[str, ...]


@settings
class ShardsSettings:
    """Where the shards lie."""

    kind: Literal["shards"] = "shards"
    root: Path


class ShardWriter:
    """Collects codes and writes them shard by shard; the folder appears, whole, on `close`."""

    def __init__(self, folder: Path, facts: ShardFacts) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError("a new or empty folder for token shards", str(folder), "choose another")
        self.folder, self.facts = folder, facts
        self._fresh = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(self._fresh, ignore_errors=True)
        self._fresh.mkdir(parents=True)
        self._waiting: dict[str, list[dict[str, Tensor]]] = {"train": [], "val": []}
        self._files: dict[str, list[str]] = {"train": [], "val": []}

    def add(self, split: str, codes: Int64[Tensor, "b h w"], labels: Int64[Tensor, " b"] | None) -> None:
        """Rows more of a split, "train" or "val"; all of one grid."""
        dtype = torch.uint16 if self.facts.codebook_size <= 65536 else torch.int32
        rows = {"codes": codes.cpu().to(dtype)}
        if labels is not None:
            rows["labels"] = labels.cpu().to(torch.int32)
        self._waiting[split].append(rows)
        if sum(len(part["codes"]) for part in self._waiting[split]) >= ROWS:
            self._flush(split)

    def close(self) -> Path:
        """Write what is left and the index, and put the folder in its place; gives its path."""
        for split in self._waiting:
            self._flush(split)
        index = {"format": FORMAT, **asdict(self.facts), **self._files}
        (self._fresh / INDEX).write_text(json.dumps(index, indent=2) + "\n")
        if self.folder.exists():
            self.folder.rmdir()
        self._fresh.rename(self.folder)
        return self.folder

    def _flush(self, split: str) -> None:
        parts = self._waiting[split]
        if parts:
            name = f"{split}-{len(self._files[split]):05}.safetensors"
            save_file({key: torch.cat([part[key] for part in parts]) for key in parts[0]}, self._fresh / name)
            self._files[split].append(name)
            self._waiting[split] = []


class TokenShards:
    """Reads rows where they lie: nothing is loaded but what is asked for."""

    def __init__(self, settings: ShardsSettings, split: Literal["train", "val"]) -> None:
        index = read_index(settings.root)
        self.root, self.classes = settings.root, tuple(index["classes"])
        self.tokenizer, self.codebook_size = index["tokenizer"], index["codebook_size"]
        self._shards = [_map(settings.root / name) for name in index[split]]
        self._ends = list(accumulate(len(shard["codes"]) for shard in self._shards))

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the codes."""
        if not self._shards:
            raise UserError(f"codes in {self.root}", "none", "encode pictures into it: smalti encode")
        height, width = self._shards[0]["codes"].shape[1:]
        return int(height), int(width)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Sample:
        """Codes (h w) and the label of a row."""
        number = bisect_right(self._ends, index)
        shard = self._shards[number]
        row = index - (self._ends[number - 1] if number else 0)
        codes = torch.from_numpy(shard["codes"][row].astype(np.int64))
        return Sample(codes=codes, label=int(shard["labels"][row]) if "labels" in shard else None)

    def check(self, fingerprint: str) -> None:
        """Raise UserError if another tokenizer than this one made the codes."""
        if fingerprint != self.tokenizer:
            got = f"those of {self.tokenizer} in {self.root}"
            remedy = "encode the pictures with this tokenizer, or name the one that made them"
            raise UserError(f"codes of the tokenizer {fingerprint}", got, remedy)


def is_shards(folder: Path) -> bool:
    """Whether a folder holds token shards."""
    return (folder / INDEX).is_file()


def read_index(folder: Path) -> dict[str, Any]:
    """What a folder of shards says about itself. Raises UserError where it is none."""
    try:
        index = dict(json.loads((folder / INDEX).read_text()))
    except (OSError, ValueError, TypeError) as problem:
        remedy = "smalti encode TOKENIZER PICTURES OUT makes one"
        raise UserError("a folder of token shards", f"{folder} ({problem})", remedy) from None
    wanted = {"train", "val", "classes", "tokenizer", "codebook_size"}
    if index.get("format") != FORMAT or wanted - index.keys():
        got = f"format {index.get('format')} in {folder / INDEX}"
        raise UserError(f"token shards of format {FORMAT}", got, "encode the pictures again")
    return index


def _map(path: Path) -> dict[str, Any]:
    """The arrays of a safetensors file, mapped: 8 bytes of length, a JSON header, then the data."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        arrays = {}
        for name in header.keys() - {"__metadata__"}:
            dtype = {"U16": np.uint16, "I32": np.int32}[header[name]["dtype"]]
            offset, shape = 8 + length + header[name]["data_offsets"][0], tuple(header[name]["shape"])
            arrays[name] = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
        return arrays
    except (OSError, ValueError, KeyError) as problem:
        raise UserError(f"a token shard in {path}", str(problem), "encode the pictures again") from None
