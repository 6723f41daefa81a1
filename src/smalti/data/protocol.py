"""What every reader of a dataset keeps, and what passes from reader to training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture as the reader found it, neither cropped nor scaled; or its codes, from token shards."""

    image: UInt8[Tensor, "3 H W"] | None = None  # 0 .. 255, RGB
    codes: Int64[Tensor, "h w"] | None = None
    label: int | None = None
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a training step gets: pictures or codes, the other one is None."""

    images: Float[Tensor, "b c H W"] | None = None  # in [-1, 1]
    codes: Int64[Tensor, "b h w"] | None = None
    labels: Int64[Tensor, " b"] | None = None

    @property
    def size(self) -> int:
        """b."""
        held = self.images if self.images is not None else self.codes
        assert held is not None, "a batch holds pictures or codes"
        return len(held)


@runtime_checkable  # for the shape checker of the tests
class Reader(Protocol):
    """A member of the shelf, built as `X(settings, split)` with split "train" or "val".

    It opens files and nothing else: cropping and scaling to [-1, 1] are the transform's work.
    """

    classes: tuple[str, ...]  # names by label; empty where there are no labels

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
