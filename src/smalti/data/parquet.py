"""Images in parquet files, of which whole row groups are read: rows are shuffled within windows of these."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.config import settings
from smalti.data.columnar import Block, Columnar, ColumnarSettings, found_in
from smalti.errors import UserError, optional


@settings
class ParquetSettings(ColumnarSettings):
    """See ColumnarSettings."""

    kind: Literal["parquet"] = "parquet"


class Parquet(Columnar):
    """The rows of parquet files; see Columnar."""

    @classmethod
    def files(cls, root: Path) -> list[Path]:
        """See Columnar."""
        return found_in(root, ".parquet")

    def order(self, members: Sequence[int], seed: int) -> Int64[Tensor, " n"]:
        """See Reader: row groups in an order of chance, and rows by chance among as many as are held at once.

        A full permutation would read a whole row group for each image.
        """
        chance = torch.Generator().manual_seed(seed)
        ranks = torch.randperm(len(self._blocks), generator=chance)
        window = ranks[torch.from_numpy(self.blocks_of(members))] // self._most
        noise = torch.randperm(len(members), generator=chance)
        return (window * len(members) + noise).argsort()

    def schema(self, path: Path) -> Any:
        """See Columnar."""
        return self._file(path).schema_arrow

    def blocks(self, path: Path) -> list[Block]:
        """See Columnar: row groups."""
        about = self._file(path).metadata
        groups = (about.row_group(number) for number in range(about.num_row_groups))
        return [Block(path, at, group.num_rows, group.total_byte_size) for at, group in enumerate(groups)]

    def read(self, block: Block, columns: Sequence[str]) -> Any:
        """See Columnar."""
        return self._file(block.path).read_row_group(block.number, columns=list(columns), use_threads=False)

    def column(self, path: Path, name: str) -> Any:
        """See Columnar."""
        return self._file(path).read(columns=[name], use_threads=False).column(name)

    def _file(self, path: Path) -> Any:
        """Open a file: anew each time, so that processes share no place in it."""
        arrow, parquet = (optional(name, extra="parquet") for name in ("pyarrow", "pyarrow.parquet"))
        try:
            return parquet.ParquetFile(path)
        except (arrow.ArrowException, OSError) as problem:
            got = f"{path} ({' '.join(str(problem).split())})"
            raise UserError("a whole parquet file", got, "copy it again") from None
