"""Sets of images as they lie on disk, all cut to one size: folders, and the npz files of other evaluators."""

import hashlib
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from smalti import imaging
from smalti.data.pixels import PixelSettings
from smalti.data.protocol import Batch
from smalti.data.transforms import CropSettings, place
from smalti.errors import UserError
from smalti.reading.huge import Huge
from smalti.reading.pixels import Pixels


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How images come to one size: always their middle."""

    size: tuple[int, int]  # height and width in pixels
    how: CropSettings = field(default_factory=CropSettings)  # its chance is left out

    def __call__(self, pixels: Pixels | Huge, path: object) -> Float[Tensor, "c H W"]:
        """Return an image in [-1, 1], cut; UserError where it is too small."""
        _, height, width = pixels.shape
        try:
            where = place((height, width), self.size, self.how.for_validation(), torch.Generator())
        except UserError as mistake:
            raise UserError(
                mistake.expected, f"{mistake.got} in {path}", "--size, or --resize short"
            ) from None
        return imaging.to_float(where.image(pixels))

    def protocol(self) -> dict[str, Any]:
        """Return how it is done, in words."""
        smooth = ", antialiased" if self.how.antialias and self.how.filter != "nearest-exact" else ""
        resize = {"short": f"short side, {self.how.filter}{smooth}", "none": "none"}[self.how.resize]
        return {"size": "{} x {}".format(*self.size), "crop": "center", "resize": resize}


class ImageSet(ABC):
    """Images by number, and their classes where they have some."""

    name: str  # for a person
    labels: Sequence[int] = ()  # class of each, or none
    classes: Sequence[str | int] = ()  # names by number

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Float[Tensor, "c H W"]:
        """Return an image in [-1, 1], cut."""

    @abstractmethod
    def mark(self, index: int) -> int:
        """Return 63 bits that belong to the content of an image as it lies on disk."""

    def batch(self, rows: Sequence[int]) -> Float[Tensor, "b c H W"]:
        """Return some of the images."""
        return torch.stack([self[index] for index in rows])

    def described(self, rows: Sequence[int]) -> Batch | None:
        """Return what a model is told of some of the images, and these; None: nothing, or their classes."""
        return None

    def some(self, rows: Sequence[int]) -> "Some":
        """Return a set of some of them."""
        return Some(self, rows)


class Some(ImageSet):
    """Some images of a set, in the order given."""

    def __init__(self, whole: ImageSet, rows: Sequence[int]) -> None:
        self.name, self.classes = whole.name, whole.classes
        self._whole, self._rows = whole, list(rows)
        self.labels = [whole.labels[row] for row in self._rows] if whole.labels else ()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Float[Tensor, "c H W"]:
        """See ImageSet."""
        return self._whole[self._rows[index]]

    def batch(self, rows: Sequence[int]) -> Float[Tensor, "b c H W"]:
        """See ImageSet."""
        return self._whole.batch([self._rows[row] for row in rows])

    def described(self, rows: Sequence[int]) -> Batch | None:
        """See ImageSet."""
        return self._whole.described([self._rows[row] for row in rows])

    def mark(self, index: int) -> int:
        """See ImageSet."""
        return self._whole.mark(self._rows[index])


class Files(ImageSet):
    """Image files."""

    def __init__(
        self,
        paths: Sequence[Path],
        cut: Cut,
        name: str,
        *,
        labels: Sequence[int] = (),
        classes: Sequence[str] = (),
        pixels: PixelSettings | None = None,
    ) -> None:
        """pixels: how values in the files are read; None: as RGB of 8 bits."""
        self.paths, self.name, self.labels, self.classes = paths, name, labels, classes
        self._cut, self._pixels = cut, pixels or PixelSettings()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Float[Tensor, "c H W"]:
        """See ImageSet. UserError with the path for what cannot be read."""
        return self._cut(self._pixels.open(self.paths[index]), self.paths[index])

    def mark(self, index: int) -> int:
        """See ImageSet: of the file's bytes."""
        return mark_of(self.paths[index].read_bytes())


class Npz(ImageSet):
    """The first array of an npz file: uint8 (n H W 3), as guided-diffusion's evaluator takes it.

    The second one, if it is there, has a class number for each. Rows are read one after another, so that a
    file need not fit into memory; one that lies before the last one read begins again.
    """

    def __init__(self, path: Path, cut: Cut | None = None) -> None:
        """cut: None: the images as they are."""
        self.name, self._path = path.name, path
        if not path.exists():
            raise UserError("an npz file of images", f"{path}, which does not exist", "check the path")
        try:
            self._file = zipfile.ZipFile(path)
            members = {Path(name).stem: name for name in self._file.namelist()}
            self._member = members.get("arr_0") or next(iter(members.values()))
            self._count, *self.shape = self._open()
            self.labels = self._labels(members)
        except (OSError, zipfile.BadZipFile, StopIteration, ValueError, EOFError, KeyError) as problem:
            raise _no_images(path, _reason(problem)) from None
        self.classes = tuple(range(max(self.labels, default=-1) + 1))
        height, width = self.shape[:2]
        self._cut = cut or Cut(size=(height, width))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Float[Tensor, "c H W"]:
        """See ImageSet."""
        pixels = np.frombuffer(self._row(index), dtype=np.uint8).reshape(self.shape).copy()
        return self._cut(torch.from_numpy(pixels).permute(2, 0, 1), f"{self._path}, image {index}")

    def mark(self, index: int) -> int:
        """See ImageSet: of the row's bytes."""
        return mark_of(self._row(index))

    def _open(self) -> tuple[int, ...]:
        """Begin before the first row; returns the array's shape."""
        self._stream = self._file.open(self._member)
        version = np.lib.format.read_magic(self._stream)
        read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
        shape, is_fortran, dtype = read(self._stream)
        if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or is_fortran or not shape[0]:
            raise _no_images(self._path, f"{dtype} {shape} in {self._member}")
        self._next, self._held = 0, (-1, b"")
        return tuple(shape)

    def _row(self, index: int) -> bytes:
        if self._held[0] == index:
            return self._held[1]
        if index < self._next:
            self._open()
        size = int(np.prod(self.shape))
        while self._next <= index:
            row = self._stream.read(size)
            if len(row) < size:
                raise _no_images(self._path, f"{self._next} whole images of {self._count}")
            self._next, self._held = self._next + 1, (self._next, row)
        return self._held[1]

    def _labels(self, members: dict[str, str]) -> list[int]:
        if "arr_1" not in members:
            return []
        with self._file.open(members["arr_1"]) as stream:
            found = np.lib.format.read_array(stream, allow_pickle=False)
        if found.shape != (self._count,) or found.dtype.kind not in "iu" or found.min() < 0:
            raise _no_images(self._path, f"{found.dtype} {found.shape} as classes in arr_1")
        return [int(number) for number in found]


def _no_images(path: Path, got: str) -> UserError:
    expected = f"images as uint8 (n, height, width, 3) in {path}"
    return UserError(expected, got, "write them with numpy.savez(path, images)")


def _reason(problem: Exception) -> str:
    """Return what stands in the way of reading an npz file."""
    if isinstance(problem, OSError):
        return problem.strerror or str(problem)
    if isinstance(problem, StopIteration):
        return "a file without arrays"
    if isinstance(problem, zipfile.BadZipFile):
        return "a file that is no npz"
    return f"{type(problem).__name__}: {problem}"


def mark_of(data: bytes) -> int:
    """Return 63 bits that belong to these bytes."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) >> 1
