"""Images in folders that Hugging Face's `save_to_disk` wrote: Arrow files, mapped and not read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from smalti.config import settings
from smalti.data.columnar import Block, Columnar, ColumnarSettings, found_in
from smalti.errors import UserError, optional
from smalti.files import read_json


@settings
class ArrowSettings(ColumnarSettings):
    """See ColumnarSettings."""

    kind: Literal["arrow"] = "arrow"


class Arrow(Columnar):
    """The rows of Arrow files; see Columnar. Any row is found at once: passes are full permutations."""

    @classmethod
    def files(cls, root: Path) -> list[Path]:
        """See Columnar. UserError for a folder whose rows were chosen or shuffled after they were written."""
        for state in sorted(root.rglob("state.json")) if root.is_dir() else ():
            found = read_json(state, dict, "the state of a dataset", "save it again: save_to_disk")
            if found.get("_indices_files"):
                remedy = "dataset.flatten_indices().save_to_disk(FOLDER) writes them so"
                raise UserError("rows in the order of their files", f"{state.parent}, with indices", remedy)
        return [path for path in found_in(root, ".arrow") if not path.name.startswith("cache-")]

    def schema(self, path: Path) -> Any:
        """See Columnar."""
        return self._table(path).schema

    def blocks(self, path: Path) -> list[Block]:
        """See Columnar: record batches. They are mapped, so that none is held."""
        return [Block(path, at, batch.num_rows, 1) for at, batch in enumerate(self._table(path).to_batches())]

    def read(self, block: Block, columns: Sequence[str]) -> Any:
        """See Columnar."""
        return self._table(block.path).to_batches()[block.number].select(list(columns))

    def column(self, path: Path, name: str) -> Any:
        """See Columnar."""
        return self._table(path).column(name)

    def _table(self, path: Path) -> Any:
        arrow = optional("pyarrow", extra="parquet")
        try:
            mapped = arrow.memory_map(str(path))
            is_file = mapped.read(6) == b"ARROW1"
            mapped.seek(0)
            opened = arrow.ipc.open_file(mapped) if is_file else arrow.ipc.open_stream(mapped)
            return opened.read_all()
        except (arrow.ArrowException, OSError) as problem:
            got = f"{path} ({' '.join(str(problem).split())})"
            raise UserError("a whole Arrow file", got, "copy it again, or save_to_disk anew") from None
