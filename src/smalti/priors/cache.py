"""The key/value cache: allocated once, written in place, never grown."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.precision import of_cache


@dataclass
class Cache:
    """Keys and values of every layer for the places fed so far.

    Axes: b batch, k heads, t places, e a head's width.
    """

    keys: tuple[Float[Tensor, "b k t e"], ...]  # one a layer
    values: tuple[Float[Tensor, "b k t e"], ...]
    length: int = 0  # places filled
    shift: Float[Tensor, "b d"] | None = None  # the condition as a vector, where the prior takes it so
    tokens: Int64[Tensor, "b s"] | None = None  # prefix and codes, where the prior looks back at them

    @classmethod
    def empty(
        cls, batch: int, places: int, *, layers: int, heads: int, like: Tensor, meta: bool = False
    ) -> "Cache":
        """Unfilled; like: a table of embeddings, rows of k * e, in the prior's type. See `of_cache`.

        meta: sizes alone, on no device, so that nothing is allocated.
        """
        dtype, sizes = of_cache(like.dtype, like.device), (2, layers, batch, heads, places)
        device = torch.device("meta") if meta else like.device
        whole = like.new_empty(*sizes, like.shape[1] // heads, dtype=dtype, device=device)
        return cls(
            keys=tuple(whole[0, i] for i in range(layers)), values=tuple(whole[1, i] for i in range(layers))
        )

    @property
    def nbytes(self) -> int:
        """Of all that is held, filled or not."""
        parts = (*self.keys, *self.values, self.shift, self.tokens)
        return sum(part.nbytes for part in parts if part is not None)

    def part(self, begin: int, end: int) -> "Cache":
        """Rows begin .. end - 1 of the batch: a view, whose length is its own from now on."""
        return Cache(
            keys=tuple(each[begin:end] for each in self.keys),
            values=tuple(each[begin:end] for each in self.values),
            length=self.length,
            shift=None if self.shift is None else self.shift[begin:end],
            tokens=None if self.tokens is None else self.tokens[begin:end],
        )

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put the next places' keys and values (b k n e) after the filled ones; give all up to there.

        The caller moves `length` on once all layers are written.
        """
        end = self.length + keys.shape[2]
        assert end <= self.keys[layer].shape[2], f"cache holds {self.keys[layer].shape[2]} places, got {end}"
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]
