"""The key/value cache: allocated once, written in place, never grown."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from smalti.precision import of_cache


@dataclass
class Cache:
    """Keys and values of every layer for the positions fed so far.

    Axes: b batch, k heads, t positions, e and f a head's width, which most priors have in common.
    """

    keys: tuple[Float[Tensor, "b k t e"], ...]  # one a layer
    values: tuple[Float[Tensor, "b k t f"], ...]
    length: int = 0  # positions filled
    starts: Int64[Tensor, " b"] | None = None  # where each row goes on; None: all at `length`
    shift: Float[Tensor, "b d"] | None = None  # the condition as a vector, where the prior takes it so
    mask: Bool[Tensor, "b m"] | None = None  # which of the first positions are filled; None: all

    @classmethod
    def empty(cls, batch: int, positions: int, *, layers: int, heads: int, like: Tensor) -> "Cache":
        """Return an unfilled one; like: a table of embeddings, rows of k * e, in the prior's type.

        See `of_cache`.
        """
        dtype, sizes = of_cache(like.dtype, like.device), (2, layers, batch, heads, positions)
        whole = like.new_empty(*sizes, like.shape[1] // heads, dtype=dtype)
        return cls(
            keys=tuple(whole[0, i] for i in range(layers)), values=tuple(whole[1, i] for i in range(layers))
        )

    @property
    def nbytes(self) -> int:
        """Return the bytes of all keys and values, filled or not."""
        return sum(part.nbytes for part in (*self.keys, *self.values))

    def next(self, count: int) -> slice | Int64[Tensor, "b n"]:
        """Return the positions that the next `count` tokens of a row take."""
        if self.starts is None:
            return slice(self.length, self.length + count)
        return self.starts[:, None] + torch.arange(count, device=self.starts.device)

    def advance(self, count: int) -> None:
        """Hold the positions that `next` gave; rows with starts of their own end at `length` already."""
        if self.starts is None:
            self.length += count

    def visible(self, count: int) -> Bool[Tensor, "b 1 n t"] | None:
        """Return what the next tokens see of the positions up to their end; None: all before them."""
        if self.starts is None:
            return None if self.mask is None else causal(self.mask, count, self.length + count)
        positions = self.starts[:, None] + torch.arange(count, device=self.starts.device)
        held = torch.arange(self.length, device=positions.device)
        seen = held <= positions[:, :, None]
        if self.mask is not None:
            seen = seen & _filled(self.mask, self.length)[:, None]
        return seen[:, None]

    def clear(self) -> None:
        """Put zeros after the positions that are filled: what a mask hides must be a number."""
        for part in (*self.keys, *self.values):
            part[:, :, self.length :] = 0

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put the next positions' keys and values (b k n e) into the cache; return all so far.

        The caller moves `length` on once all layers are written. Where rows have starts of their own it is
        where the row furthest on ends, set before.
        """
        positions = self.next(keys.shape[2])
        held_keys, held_values, end = self.keys[layer], self.values[layer], self.length
        if isinstance(positions, slice):
            end = positions.stop
            assert end <= held_keys.shape[2], f"cache holds {held_keys.shape[2]} positions, got {end}"
            held_keys[:, :, positions] = keys
            held_values[:, :, positions] = values
        else:
            where = positions[:, None, :, None]
            held_keys.scatter_(2, where.expand_as(keys), keys.to(held_keys.dtype))
            held_values.scatter_(2, where.expand_as(values), values.to(held_values.dtype))
        return held_keys[:, :, :end], held_values[:, :, :end]


def causal(mask: Bool[Tensor, "b m"], count: int, held: int) -> Bool[Tensor, "b 1 n t"]:
    """Return what the last `count` of `held` positions see: themselves, and those before that are filled.

    mask: which of the first positions are; all later ones are.
    """
    positions = torch.arange(held, device=mask.device)
    asking = positions[held - count :, None]
    return ((positions < asking) & _filled(mask, held)[:, None] | (positions == asking))[:, None]


def _filled(mask: Tensor, held: int) -> Bool[Tensor, "b t"]:
    return F.pad(mask, (0, held - mask.shape[1]), value=True)
