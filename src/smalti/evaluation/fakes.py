"""The images that are judged: reconstructions, images drawn anew, or images that somebody made."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.conditions.protocol import Known
from smalti.data.protocol import Batch
from smalti.evaluation.sets import ImageSet
from smalti.imaging import eight_bit
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer

Told = Callable[[Sequence[int]], Batch | None]  # what a model is told of images, by their numbers


class Fakes(ABC):
    """Images in [-1, 1] that a file of 8 bits could hold, and what else is kept of each."""

    @abstractmethod
    def make(
        self, rows: range, real: Float[Tensor, "b c H W"] | None
    ) -> tuple[Float[Tensor, "b c H W"], Mapping[str, Tensor]]:
        """Return images number `rows`, and more rows of them. real: the images that they rebuild."""


class Rebuilt(Fakes):
    """What a tokenizer makes of images."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def make(self, rows: range, real: Tensor | None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See Fakes; codes where the tokenizer has some."""
        assert real is not None, "reconstructions are of images"
        return self.rebuild(real)

    def rebuild(self, real: Float[Tensor, "b c H W"]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return reconstructions of images, and their codes."""
        given = real.to(self.tokenizer.last_layer.device)
        if not self.tokenizer.has_codes:
            return eight_bit(self.tokenizer.reconstruct(given, is_checked=True)), {}
        codes = self.tokenizer.encode(given, is_checked=True)
        return eight_bit(self.tokenizer.decode(codes)), {"codes": codes}


class Drawn(Fakes):
    """New images of a model: image i by seed + i, and by what the model is told of the i-th."""

    def __init__(self, pipeline: Pipeline, told: Told | None, seed: int, options: Mapping[str, Any]) -> None:
        """told: what images are drawn of, by their numbers; None for a model without a condition."""
        self.pipeline, self._told, self._seed, self._options = pipeline, told, seed, options
        self._metadata: dict[str, Any] = {}  # how the first was drawn, once it is

    def make(self, rows: range, real: Tensor | None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See Fakes; codes, of which `again` makes the same images."""
        told = known(self.pipeline, None if self._told is None else self._told(rows))
        drawn = self.pipeline.sample(num=len(rows), seed=self._seed + rows[0], **self._options, **told)
        self._metadata = self._metadata or drawn.metadata[0]
        return eight_bit(drawn.tensors), {"codes": drawn.codes}

    def how(self) -> dict[str, Any]:
        """Return how images were drawn, but for seed, size and model, in plain values."""
        apart = ("seed", "height", "width", "model", "precision")
        return {name: value for name, value in self._metadata.items() if name not in apart}

    def again(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b c H W"]:
        """Return the images of codes."""
        return eight_bit(self.pipeline.tokenizer.decode(codes))


class Given(Fakes):
    """Images out of files."""

    def __init__(self, found: ImageSet) -> None:
        self.found = found

    def make(self, rows: range, real: Tensor | None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See Fakes."""
        marks = torch.tensor([self.found.mark(row) for row in rows])
        return eight_bit(self.found.batch(rows)), {"marks": marks}


def known(pipeline: Pipeline, told: Batch | None) -> dict[str, Known]:
    """Return what a batch tells as a model's methods take it; nothing for a model that is told nothing."""
    condition = pipeline.condition
    return {} if told is None else condition.given(Known(condition.from_batch(told)))


def by_label(labels: Sequence[int]) -> Told | None:
    """Return what tells images their classes, of which image i has the i-th; None where there are none."""
    if not labels:
        return None
    return lambda rows: Batch(labels=torch.tensor([labels[row] for row in rows]))
