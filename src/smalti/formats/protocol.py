"""What every format keeps: a module that knows files of one kind, and gives models of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from smalti.formats.source import Source
from smalti.pipeline import Pipeline
from smalti.reading.labels import LabelReading
from smalti.tokenizer import Tokenizer
from smalti.tokenizer.settings import ImageRange

Part = Literal["all", "first_stage", "cond_stage"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a user asks of an import."""

    part: Part = "all"  # of a model with a prior: all of it, its tokenizer, or its condition's tokenizer
    num_heads: int | None = None  # of a prior's attention, where no file says it
    tokenizer: Tokenizer | None = None  # for a prior whose file comes without it
    size: tuple[int, int] | None = None  # pixels of a training crop, height and width, where no file says it
    image_range: ImageRange | None = None  # of images inside its tokenizer; None: as the format has it
    shift: bool | None = None  # of values in label maps: 1 is added to them; None: as the file says


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A model of ours, and what the file held besides."""

    model: Tokenizer | Pipeline
    metadata: Mapping[str, Any] = field(default_factory=dict)  # plain values for the folder's provenance
    dropped: tuple[str, ...] = ()  # what was left out on purpose, a line each
    discriminator: Mapping[str, Tensor] = field(
        default_factory=dict
    )  # the discriminator, under PatchGAN's names
    labels: LabelReading | None = None  # how label maps were read in training, where files say it


@runtime_checkable  # for the shape checker of the tests
class Format(Protocol):
    """A member of the shelf. UserError for a file that is of this kind and yet cannot be read."""

    def recognises(self, source: Source) -> bool:
        """Return whether the file is of this kind, by its names and settings alone."""
        ...

    def describe(self, source: Source) -> str:
        """Return what it is, in one line: family, variant, factor, codes, missing parts."""
        ...

    def read(self, source: Source, wanted: Wanted) -> Imported:
        """Return the model, strict both ways: each tensor used or named as dropped, each parameter filled."""
        ...


class Writer(Protocol):
    """Writes a model as files of one kind, into a folder that is new."""

    def __call__(
        self, model: Tokenizer | Pipeline, out: Path, discriminator: Mapping[str, Tensor]
    ) -> Sequence[str]:
        """Write it; return what is worth telling of it, a line each.

        discriminator: the discriminator, or empty. UserError for a model that the format cannot hold.
        """
        ...
