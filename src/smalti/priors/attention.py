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
    visible: Bool[Tensor, "t t"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "b q ke"]:
    """Scaled dot-product attention; the heads' results stand side by side.

    The last q of t places ask; one alone (q = 1) sees everything. visible: which place (row) sees which
    (column), where all t ask; without it each sees itself and those before.
    """
    asking, held = queries.shape[2], keys.shape[2]
    alone = asking == 1
    if visible is None and 1 < asking < held:  # is_causal would count from the first place that is held
        visible = torch.ones(asking, held, dtype=torch.bool, device=keys.device).tril(held - asking)
    mixed = F.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=None if alone else visible,
        dropout_p=dropout,
        is_causal=visible is None and not alone,
    )
    return mixed.transpose(1, 2).flatten(2)
