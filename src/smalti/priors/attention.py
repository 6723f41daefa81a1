"""Attention as every prior of the shelf does it: to the places before and to oneself."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def attend(
    queries: Float[Tensor, "b k q e"],
    keys: Float[Tensor, "b k t e"],
    values: Float[Tensor, "b k t e"],
    *,
    visible: Bool[Tensor, "q t"] | Bool[Tensor, "t t"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "b q ke"]:
    """Scaled dot-product attention; the heads' results stand side by side.

    The last q of t places ask; one alone sees everything, also where `visible` speaks of all. visible: which
    place (row) sees which (column), as `before` gives it; without it all ask (q = t) and each sees itself and
    those before.
    """
    alone = queries.shape[2] == 1
    mixed = F.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=None if alone else visible,
        dropout_p=dropout,
        is_causal=visible is None and not alone,
    )
    return mixed.transpose(1, 2).flatten(2)


def before(asking: int, places: int, device: torch.device) -> Bool[Tensor, "q t"] | None:
    """Each of the last `asking` of `places` sees itself and those before; None where `attend` knows it."""
    if asking in (1, places):
        return None
    return torch.ones(asking, places, dtype=torch.bool, device=device).tril(places - asking)
