"""The images that are judged, written as other evaluators take them: a folder of PNG, or an npz file."""

import zipfile
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float
from torch import Tensor

from smalti import imaging, strategy
from smalti.errors import UserError


class Saver:
    """Writes images as they come; without a path none. Used as a context, at whose end the file is whole."""

    def __init__(self, path: Path | None, count: int, size: tuple[int, int]) -> None:
        """count: of all images. UserError for a path that exists, and an npz that several would write."""
        self._path, self._count, self._size = path, count, size
        self._zip: zipfile.ZipFile | None = None
        if path is None:
            return
        if path.exists() and (path.is_file() or any(path.iterdir())):
            raise UserError(
                "a new folder or file for --save", f"{path}, which is there", "choose another --save"
            )
        if imaging.is_image(path):
            raise UserError("a folder or NAME.npz for --save", str(path), "leave the suffix out")
        if path.suffix == ".npz" and strategy.current().count > 1:
            raise UserError("--save as a folder with several processes", str(path), "leave .npz out")

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._zip is not None and self._path is not None:
            self._row.close()
            self._zip.close()
            if kind is None:
                self._fresh.rename(self._path)
            else:
                self._fresh.unlink()

    def add(self, rows: range, images: Float[Tensor, "b c H W"]) -> None:
        """Write images number `rows`, which for an npz follow those of the call before."""
        if self._path is None:
            return
        if self._path.suffix != ".npz":
            imaging.save_all(imaging.visible(images).cpu(), self._path, first=rows[0])
            return
        if self._zip is None:
            self._begin(3)
        shown = imaging.visible(images)
        pixels = imaging.to_uint8(shown.expand(-1, 3, -1, -1)).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        self._row.write(pixels.tobytes())

    def _begin(self, channels: int) -> None:
        assert self._path is not None, "there is a file to begin"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fresh = self._path.with_name(f".{self._path.name}.new")
        self._zip = zipfile.ZipFile(self._fresh, "w", zipfile.ZIP_STORED)
        self._row = self._zip.open("arr_0.npy", "w", force_zip64=True)
        shape = (self._count, *self._size, channels)
        header = {"descr": np.dtype(np.uint8).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._row, header)
