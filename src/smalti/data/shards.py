"""Token shards: the codes of a dataset on disk, so that a prior trains without the tokenizer at work.

folder/
  index.json              format, tokenizer (fingerprint), codebook_size, factor, classes, precision, what it
                          holds beside codes, how the rows were made, files of each split, and whether they
                          are complete
  train-00000.safetensors codes (n h w) uint16, or int32 above 65,536 entries; what there is besides, see
                          columns.py; `condition.KEY` (n m), what a condition made of the crops
  val-00000.safetensors
  train-00001.partial     while it is written: rows that fill no shard yet
"""

import json
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate, repeat
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from smalti import locks, old_names
from smalti.config import settings
from smalti.data.columns import COLUMNS, PRECOMPUTED, Rows, pack, small, unpack
from smalti.data.protocol import Reader, Sample, Summary
from smalti.data.shard_index import check_index, sound
from smalti.errors import UserError
from smalti.files import mapped, save_tensors
from smalti.sizes import Sides

FORMAT = 1
INDEX = "index.json"
ROWS = 16384  # of a shard: some 8 MB at 256 codes
KEPT_EVERY = 30.0  # seconds of work that a killed process may lose
SPLITS = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class ShardMetadata:
    """What makes codes mean something."""

    tokenizer: str  # fingerprint of the model that made them
    codebook_size: int
    factor: int  # pixels a cell side
    classes: tuple[str, ...]
    precision: str = "fp32"  # what that model was kept in: others give a few other codes
    holds: tuple[str, ...] = ()  # what there is beside codes, words of COLUMNS
    joints: tuple[str, ...] = ()  # of poses, by name
    # what conditions made of the crops, by key, with what whoever trains on it must know; plain values
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)  # plain values: what decides which rows there are

    def rows(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Return samples as files hold them: codes, all of one grid, and what else is named here."""
        rows = {"codes": small([sample.codes for sample in samples], self.codebook_size)}
        for key, made in self.conditions.items():
            tokens = [sample.precomputed[key] for sample in samples]
            rows[PRECOMPUTED + key] = small(tokens, made["vocabulary"])
        return rows | pack(samples, self.holds)


@settings
class ShardsSettings:
    """Where the shards lie."""

    kind: Literal["shards"] = "shards"
    root: Path

    @property
    def contents(self) -> dict[str, int]:
        """Return what can be rebuilt of such data: nothing."""
        return {}


class ShardWriter:
    """Collects codes and writes them shard by shard; they count from `close` on.

    What was added is kept, whatever ends the work: all of it where the writer is left as a context, and but
    for the last half minute where the process is killed. With resume a writer goes on behind it, and what
    comes out is what would have come out at one go.
    """

    def __init__(self, folder: Path, metadata: ShardMetadata, *, resume: bool = False) -> None:
        """UserError for a folder that holds something; with resume, for one not begun with these metadata."""
        self.folder, self.metadata = folder, metadata
        self._waiting: dict[str, list[dict[str, Tensor]]] = {split: [] for split in SPLITS}
        self._files: dict[str, list[str]] = {split: [] for split in SPLITS}
        self._kept = time.monotonic()
        self.rows = dict.fromkeys(SPLITS, 0)  # of each split, added so far
        if resume:
            self._go_on()
            return
        clear(folder)
        if not locks.is_free(folder):
            remedy = "choose another, or go on with --resume (resume=True) where it was interrupted"
            raise UserError("a new or empty folder for token shards", str(folder), remedy)
        folder.mkdir(parents=True, exist_ok=True)
        self._write_index(complete=False)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keep()

    def add(self, split: str, samples: Sequence[Sample]) -> None:
        """Rows more of a split, "train" or "val": codes, all of one grid, and what the metadata name."""
        self.add_rows(split, self.metadata.rows(samples))

    def add_rows(self, split: str, rows: dict[str, Tensor]) -> None:
        """Rows more of a split, as files hold them: what `ShardMetadata.rows` gave, here or elsewhere."""
        waiting = self._waiting[split]
        if waiting and waiting[0]["codes"].shape[1:] != rows["codes"].shape[1:]:
            self._flush(split)  # a file holds codes of one grid
        self._waiting[split].append(rows)
        self.rows[split] += len(rows["codes"])
        if _count(self._waiting[split]) >= ROWS:
            self._flush(split)
        elif time.monotonic() - self._kept > KEPT_EVERY:
            self._keep()

    def close(self) -> Path:
        """Write what is left, and the index that makes it count; gives the folder."""
        for split in SPLITS:
            self._flush(split)
        self._write_index(complete=True)
        for leftover in (*self.folder.glob("*.partial"), *self.folder.glob(".*.new")):
            leftover.unlink()
        return self.folder

    def _flush(self, split: str) -> None:
        """Make a shard of what waits. From the moment the index names it, its partial file is not read."""
        if self._waiting[split]:
            name = f"{self._next(split)}.safetensors"
            _save(self._waiting[split], self.folder / name)
            self._files[split].append(name)
            self._waiting[split] = []
            self._write_index(complete=False)

    def _keep(self) -> None:
        for split in SPLITS:
            if self._waiting[split]:
                _save(self._waiting[split], self.folder / f"{self._next(split)}.partial")
        self._kept = time.monotonic()

    def _go_on(self) -> None:
        """Take up the rows of a writer before this one, which was given the same metadata."""
        if not is_shards(self.folder):
            got = f"{self.folder} without {INDEX}"
            raise UserError("a folder of token shards to go on with", got, "leave out --resume")
        index = begun(self.folder)
        now = _metadata(self._index(complete=False))
        # older indexes do not say their precision, which is taken as fp32; nor how many are held out
        before = {"precision": "fp32", "held_out": now.get("held_out")} | _metadata(index)
        for name, value in now.items():
            if before.get(name) != value:
                expected = f"{name} {before.get(name)}, with which {self.folder} was begun"
                remedy = "give what it was begun with, or choose another OUT"
                raise UserError(expected, str(value), remedy)
        for split in SPLITS:
            self._files[split] = list(index[split])
            self._waiting[split] = _partial(self.folder / f"{self._next(split)}.partial")
            shards = sum(len(_map(self.folder / name)) for name in self._files[split])
            self.rows[split] = shards + _count(self._waiting[split])

    def _next(self, split: str) -> str:
        return f"{split}-{len(self._files[split]):05}"

    def _index(self, *, complete: bool) -> dict[str, Any]:
        """Return what the index says, as JSON gives it back."""
        index = {"format": FORMAT, **asdict(self.metadata), **self._files, "complete": complete}
        return dict(json.loads(json.dumps(index)))

    def _write_index(self, *, complete: bool) -> None:
        fresh = self.folder / f".{INDEX}.new"
        fresh.write_text(json.dumps(self._index(complete=complete), indent=2) + "\n")
        fresh.replace(self.folder / INDEX)


class TokenShards(Reader):
    """Reads rows where they lie: nothing is loaded but what is asked for."""

    def __init__(self, settings: ShardsSettings, split: Literal["train", "val"]) -> None:
        index = read_index(settings.root)
        self.root, self.classes = settings.root, tuple(index["classes"])
        self.precomputed: Mapping[str, Mapping[str, Any]] = index["conditions"]
        self.joints = tuple(index["joints"])
        self._shards = [_map(settings.root / name, self.joints) for name in index[split]]
        arrays = self._shards[0].arrays if self._shards else {}
        older = [name for name, column in COLUMNS.items() if column.array in arrays]
        self._holds = _known(index.get("holds", older), settings.root)
        # a key begins with the kind of its condition
        self.gives = frozenset({"codes", *self._holds, *(key.split()[0] for key in self.precomputed)})
        self.tokenizer, self.codebook_size = index["tokenizer"], index["codebook_size"]
        self.factor = int(index["factor"])
        self._ends = list(accumulate(map(len, self._shards)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Sample:
        """Codes (h w) of a row, and all that is held beside them."""
        number = bisect_right(self._ends, index)
        row = index - (self._ends[number - 1] if number else 0)
        with sound(self.root):
            found = unpack(self._shards[number], row, self._holds, list(self.precomputed))
            if found.codes is not None and int(found.codes.max()) >= self.codebook_size:
                raise ValueError(f"code {int(found.codes.max())} of {self.codebook_size}")
        return found

    def codes(self) -> "Iterator[np.ndarray[Any, Any]]":
        """Give the codes (n h w) of all rows, mapped, as many rows at a time as a file has."""
        for shard in self._shards:
            yield shard.arrays["codes"]

    def captions(self) -> Iterator[str]:
        """See Reader."""
        for shard in self._shards if "text" in self._holds else ():
            for row in range(len(shard)):
                with sound(self.root):
                    texts = COLUMNS["text"].unpack(shard, row)
                yield from texts

    def summary(self) -> Summary:
        """See Reader. There are no grids where there are no codes."""
        grids = list(dict.fromkeys(map(_grid, self._shards)))
        marks = [self.tokenizer, *map(str, grids), *sorted(self.precomputed)]
        return Summary(
            count=len(self), root=self.root, grids=grids, marks=marks, captions=list(self.captions())
        )

    def sides(self) -> Iterator[Sides]:
        """See Reader: as many for a cell in each direction as the tokenizer has pixels."""
        for shard in self._shards:
            rows, columns = _grid(shard)
            yield from repeat((rows * self.factor, columns * self.factor), len(shard))

    def most_objects(self) -> int:
        """See Reader."""
        with sound(self.root):
            counts = [shard.arrays["scenes.counts"] for shard in self._shards if "scene" in self._holds]
        return max((int(count.max(initial=0)) for count in counts), default=0)

    def check(self, tokenizer: str) -> None:
        """See Reader."""
        if tokenizer != self.tokenizer:
            got = f"those of {self.tokenizer} in {self.root}"
            remedy = "encode the images with this tokenizer, or name the one that made them"
            raise UserError(f"codes of the tokenizer {tokenizer}", got, remedy)
        if not self._shards:
            raise UserError(f"codes in {self.root}", "none", "encode images into it: smalti encode")


def clear(folder: Path) -> None:
    """Delete what is left of a first index that was never whole: nothing was encoded yet."""
    if folder.is_dir() and not is_shards(folder):
        (folder / f".{INDEX}.new").unlink(missing_ok=True)


def is_shards(folder: Path) -> bool:
    """Return whether a folder holds token shards."""
    return (folder / INDEX).is_file()


def begun(folder: Path) -> dict[str, Any]:
    """Return what shards, complete or not, say of themselves; UserError where there are none.

    Older ones do not say what they hold beside codes, which is labels where there are classes.
    """
    index = _read(folder)
    return {"holds": ["label"] if index["classes"] else [], **index}


def read_index(folder: Path) -> dict[str, Any]:
    """Return what a folder of shards says about itself.

    Raises UserError where it is none, or not complete.
    """
    index = _read(folder)
    if not index.get("complete", True):  # folders of before this was said are complete
        got = f"{folder}, whose encoding was interrupted"
        raise UserError("a complete folder of token shards", got, "the same smalti encode with --resume")
    return index


def _read(folder: Path) -> dict[str, Any]:
    try:
        index = dict(json.loads((folder / INDEX).read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as problem:
        remedy = "smalti encode TOKENIZER IMAGES OUT makes one"
        raise UserError("a folder of token shards", f"{folder} ({problem})", remedy) from None
    wanted = {"train", "val", "classes", "tokenizer", "codebook_size", "factor"}
    if index.get("format") != FORMAT or wanted - index.keys():
        got = f"format {index.get('format')} in {folder / INDEX}"
        raise UserError(f"token shards of format {FORMAT}", got, "encode the images again")
    found = {"joints": [], "conditions": {}, **index}
    check_index(found, folder / INDEX)
    return found


def _known(holds: Sequence[str], root: Path) -> list[str]:
    """Return the members that rows have; UserError for one of a later version."""
    for name in holds:
        if name not in COLUMNS:
            raise UserError(f"token shards of {', '.join(COLUMNS)}", f"{name} in {root}", "a newer smalti")
    return list(holds)


def _metadata(index: dict[str, Any]) -> dict[str, Any]:
    """Return what makes the codes of an index mean something, and how they were made; without the files."""
    others = {*SPLITS, "complete", "made"}
    return {name: index[name] for name in index if name not in others} | old_names.made(index.get("made", {}))


def _grid(shard: Rows) -> tuple[int, int]:
    """Return rows and columns of the codes of a shard, which are all of one grid."""
    height, width = map(int, shard.arrays["codes"].shape[1:])
    return height, width


def _count(parts: list[dict[str, Tensor]]) -> int:
    return sum(len(part["codes"]) for part in parts)


def _save(parts: list[dict[str, Tensor]], path: Path) -> None:
    """To another name, then renamed: whoever looks sees a whole file or none."""
    fresh = path.with_name(f".{path.name}.new")
    save_tensors({key: torch.cat([part[key] for part in parts]) for key in parts[0]}, fresh)
    fresh.replace(path)


def _partial(path: Path) -> list[dict[str, Tensor]]:
    """Return the rows of a partial file; none where there is no whole one: they will be made again."""
    try:
        return [load_file(path)]
    except (FileNotFoundError, SafetensorError):
        return []


def _map(path: Path, joints: tuple[str, ...] = ()) -> Rows:
    """Return the arrays of a shard, mapped."""
    try:
        arrays, _ = mapped(path)
        if arrays["codes"].ndim != 3:
            raise ValueError(f"codes of shape {arrays['codes'].shape}")
        return Rows(arrays, joints)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        OverflowError,
        RecursionError,
    ) as problem:
        raise UserError(f"a token shard in {path}", str(problem), "encode the images again") from None
