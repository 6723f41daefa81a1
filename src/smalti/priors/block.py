"""What today's members share: the parts of a block with a gated network, how weights start, one check."""

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smalti.errors import UserError
from smalti.priors.layers import Dropout, Linear, RMSNorm
from smalti.priors.rotary import rotate


@runtime_checkable  # for the shape checker of the tests
class Sizes(Protocol):
    """What a block is built by, of a member's settings."""

    @property
    def heads(self) -> int:
        """Return how many heads attention has."""
        ...

    @property
    def width(self) -> int:
        """Return channels of a token."""
        ...

    @property
    def residual_dropout(self) -> float:
        """Return the dropout of what attention adds."""
        ...

    @property
    def ffn_dropout(self) -> float:
        """Return the dropout of what the feed-forward network adds."""
        ...


class GatedBlock(nn.Module):
    """RMSNorm, attention's projections and a SwiGLU network (arXiv:2002.05202).

    Each member's own block says in its forward how they go together.
    """

    is_block = True  # see strategy.py

    def __init__(self, sizes: Sizes, layer: int, *, hidden: int) -> None:
        """hidden: channels inside the feed-forward network."""
        super().__init__()
        width = sizes.width
        self.layer, self.heads = layer, sizes.heads
        self.norm1 = RMSNorm(width, eps=1e-5)
        self.qkv = Linear(width, 3 * width, bias=False)  # queries, keys, values one after the other
        self.out = Linear(width, width, bias=False)
        self.norm2 = RMSNorm(width, eps=1e-5)
        self.up = Linear(width, 2 * hidden, bias=False)  # gate, then what it gates
        self.down = Linear(hidden, width, bias=False)
        self.residual_dropout = Dropout(sizes.residual_dropout)
        self.ffn_dropout = Dropout(sizes.ffn_dropout)

    def queries_keys_values(
        self, x: Float[Tensor, "b t e"], turn: tuple[Tensor, Tensor], gains: Tensor | None
    ) -> tuple[Float[Tensor, "b k t f"], Float[Tensor, "b k t f"], Float[Tensor, "b k t f"]]:
        """Return the heads of positions that are normalised; queries and keys are turned by where they lie.

        gains: of queries and keys (2 1 f), which are normalised first; None: they are not.
        """
        heads = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1)  # b t 3 k f
        asking, values = heads[:, :, :2], heads[:, :, 2]
        if gains is not None:
            asking = torch.rms_norm(asking, asking.shape[-1:], None, 1e-5) * gains
        queries, keys = rotate(asking, *turn).to(values.dtype).transpose(1, 3).unbind(2)
        return queries, keys, values.transpose(1, 2)

    def feed_forward(self, x: Float[Tensor, "b t e"]) -> Float[Tensor, "b t e"]:
        """Return what the network adds, from positions that are normalised."""
        gate, fed = self.up(x).chunk(2, -1)
        return self.ffn_dropout(self.down(F.silu(gate) * fed))


def two_thirds(width: int) -> int:
    """Return 2/3 of 4 * width, rounded up to 32: the weights of an ungated network of 4 * width."""
    return 32 * -(-width // 12)


def start(module: nn.Module) -> None:
    """Weights as every prior starts with them; for `Module.apply`."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def check_width(sizes: Sizes) -> None:
    """UserError where a head's channels do not fall into the pairs of rows and those of columns."""
    if sizes.width % (4 * sizes.heads):
        got = f"{sizes.width} and {sizes.heads}"
        raise UserError("prior.width that is a multiple of 4 times prior.heads", got, "change one of the two")
