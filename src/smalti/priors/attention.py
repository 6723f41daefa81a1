"""Attention as every prior of the shelf does it: to the places before and to oneself."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def attend(
    queries: Float[Tensor, "b k q e"],
    keys: Float[Tensor, "b k t e"],
    values: Float[Tensor, "b k t e"],
    *,
    visible: Bool[Tensor, "*rows q t"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "b q ke"]:
    """Scaled dot-product attention; the heads' results stand side by side.

    The last q of t places ask, and each sees itself and those before; visible: which place (row) sees which
    (column), where that is otherwise. Keys and values may be held in another type than queries are.
    """
    asking, held = queries.shape[2], keys.shape[2]
    if visible is None and 1 < asking < held:  # is_causal would count from the first place that is held
        visible = torch.ones(asking, held, dtype=torch.bool, device=keys.device).tril(held - asking)
    mixed = F.scaled_dot_product_attention(
        queries.to(keys.dtype),
        keys,
        values,
        attn_mask=visible,
        dropout_p=dropout,
        is_causal=visible is None and asking > 1,  # one alone sees everything
    )
    return mixed.transpose(1, 2).flatten(2).to(queries.dtype)


def last(x: Float[Tensor, "b t w"]) -> Int64[Tensor, " b"] | None:
    """The last place of each row; None where it is the only one."""
    return torch.full((len(x),), x.shape[1] - 1, device=x.device) if x.shape[1] > 1 else None


def only(
    x: Float[Tensor, "b q w"], queries: Float[Tensor, "b k q e"], places: Int64[Tensor, " b"], held: int
) -> tuple[Float[Tensor, "b 1 w"], Float[Tensor, "b k 1 e"], Bool[Tensor, "b 1 1 t"]]:
    """Of each row one place alone, its query, and what it sees: of the last layer no more is asked for.

    places: among the q that are fed, the last of `held`, which are t. None is before the last one of the
    prefix, so that it sees all before it under every prior's mask.
    """
    rows, all_places = torch.arange(len(x), device=x.device), torch.arange(held, device=x.device)
    visible = all_places <= places[:, None] + (held - x.shape[1])
    return x[rows, places][:, None], queries[rows, :, places][:, :, None], visible[:, None, None]
