"""PixelSNAIL (arXiv:1712.09763): causal convolutions and causal attention in turn, over the grid of codes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smalti.conditions.context import Prefix
from smalti.config import Few, Positive, Share, settings
from smalti.drawing.cache import Cache
from smalti.errors import UserError
from smalti.precision import of_cache
from smalti.priors.causal import Causal, Fed, attend
from smalti.priors.layers import Dropout, Linear
from smalti.priors.protocol import Scope

Apply = Callable[[Any, Tensor], Tensor]  # a layer, what cells hold (b c i) -> b c o


@settings
class PixelSNAILSettings:
    """Size and dropout; what is not given is as in the public code of the paper."""

    kind: Literal["pixelsnail"] = "pixelsnail"
    layers: Few = 12  # blocks: convolutions, then attention
    residual_blocks: Few = 4  # of two convolutions each, in a block
    width: Positive = 256  # channels of a cell; a multiple of 2 * heads
    heads: Positive = 1  # of attention, over values of half the width
    key_width: Positive = 16  # channels of a head's queries and keys
    activation: Literal["elu", "concat_elu"] = "elu"  # concat_elu: elu of x and of -x, twice the channels
    residual_dropout: Share = 0.0  # inside residual blocks


class Convolution(nn.Module):
    """Weights of a 2 x 2 convolution, as a product with four cells: upper left, upper, left, own."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.channels, self.product = channels, Linear(4 * channels, out_channels)

    def forward(self, seen: Float[Tensor, "b c fouri"]) -> Float[Tensor, "b c o"]:
        """Return what cells come to of the four that each of them sees."""
        found: Tensor = self.product(seen)
        return found

    def over(self, grid: Float[Tensor, "b i y1 x1"]) -> Float[Tensor, "b o y x"]:
        """Return the same of all cells of a grid that has a row above them and a column before."""
        weight = self.product.weight
        return F.conv2d(grid, weight.view(len(weight), 2, 2, -1).movedim(3, 1), self.product.bias)


class PixelSNAIL(Causal):
    """p(next code) by gated residual blocks of 2 x 2 convolutions, and attention to all cells before.

    A cell is fed the codes to its left and of the three cells above it; a convolution sees a cell, the one
    to its left and the two above these. So convolutions say what lies near; attention, of queries and keys
    that know how far down and right a cell lies, what lies anywhere before.

    Every attention sees all tokens of a condition, before the codes, with learned positions. One token is
    also added to every cell at the start; of a condition of a token a cell, each to the cell where it lies.

    Unlike the public code codes are embedded, one product reads what the two first convolutions see, the
    first cell attends to the condition and not to nothing, and weights are not normalised, see `_begin`.
    """

    background: Tensor  # n 2: how far down and right a cell lies
    slots: Tensor  # n: where in a map, see MapCache
    above: Tensor  # in a map, from a cell to those whose codes it is fed
    around: Tensor  # and to those that a convolution sees

    def __init__(self, settings: PixelSNAILSettings, scope: Scope) -> None:
        super().__init__(scope)
        _check(settings, scope)
        self.settings, self.codebook_size, width = settings, scope.codebook_size, settings.width
        self.has_cell_context = scope.prefix_is_by_cell and len(scope.cells) > 1
        self.prefix_table = nn.Embedding(scope.prefix_vocabulary, width)
        self.prefix_positions = nn.Parameter(torch.randn(scope.prefix_length, width))
        self.table = nn.Embedding(scope.codebook_size, width)
        self.stem = Linear(4 * width, width)
        self.blocks = nn.ModuleList(Block(settings, layer) for layer in range(settings.layers))
        self.head = Linear(width, scope.codebook_size)
        cells, step = torch.tensor(scope.cells), scope.grid[1] + 1
        for name, values in (
            ("background", cells / torch.tensor(scope.grid) - 0.5),
            ("slots", (cells[:, 0] + 1) * step + cells[:, 1] + 1),
            ("above", torch.tensor((-step - 1, -step, -step + 1, -1))),
            ("around", torch.tensor((-step - 1, -step, -1, 0))),
        ):
            self.register_buffer(name, values, persistent=False)
        self.apply(_begin)
        nn.init.zeros_(self.head.weight)  # the first loss is log v

    def new_cache(self, batch: int) -> "MapCache":
        """See Causal."""
        sizes, like, (height, columns) = self.settings, self.prefix_positions, self.scope.grid
        positions = self.scope.prefix_length + len(self.scope.cells) - 1  # the last code is never fed
        shape, dtype = (batch, sizes.heads, positions), of_cache(like.dtype, like.device)
        keys, values = (
            tuple(like.new_empty(*shape, channels, dtype=dtype) for _ in self.blocks)
            for channels in (sizes.key_width, sizes.width // 2 // sizes.heads)
        )
        fed = {part: sizes.width for part in (self.stem, *self.blocks)}
        fed |= {part: part.channels for part in self.modules() if isinstance(part, Convolution)}
        slots = (height + 1) * (columns + 1)
        maps = {part: like.new_zeros(batch, slots, channels) for part, channels in fed.items()}
        return MapCache(keys=keys, values=values, maps=maps)

    def _embed(self, codes: Tensor, prefix: Prefix) -> Fed:
        assert isinstance(prefix, Tensor), "padded ones are refused when it is built"
        return Fed(torch.cat((self.prefix_table(prefix), self.table(codes)), 1))

    def _embed_more(self, codes: Tensor, cache: Cache) -> Fed:
        return Fed(self.table(codes))

    def _run(self, fed: Fed, cache: Cache | None = None, *, last: bool = False) -> Tensor:
        """See Causal. Of the prefix' positions the last alone asks for a code; of the others come zeros."""
        assert cache is None or isinstance(cache, MapCache), "a cache of this member"
        is_first = cache is None or cache.length == 0
        cells = Whole(self, fed.x, cache) if cache is None or is_first else Further(self, fed.x, cache)
        u = cells.stem().to(self.prefix_positions.dtype)  # fp32 under autocast, as all that is added
        for block in self.blocks:
            u = block(u, cells)
        if cache is not None:
            cache.advance(fed.x.shape[1])
        u = F.elu(u[:, -1:] if last else u)
        return F.pad(u, (0, 0, self.scope.prefix_length - 1, 0)) if is_first and not last else u


@dataclass
class MapCache(Cache):
    """Keys and values of the attentions, and maps: what every convolution was fed in each cell so far.

    A map is b s i: slots of cells row by row, a row of zeros above them, and a zero before each row, which
    also lies right of the row above; so what lies outside needs no mask. There are maps of the embedded
    codes (the stem's) and of what each block's attention is fed (the block's) too, from which a cell's key
    and value come once its code is known.

    Not only the two rows that convolutions look at are kept, so that a cache may be set back as far as one
    likes, which guesses and known cells among unknown ones need. Not kept is what no later cell reads:
    queries, and all that lies between two convolutions.
    """

    maps: dict[nn.Module, Float[Tensor, "b s _"]] = field(default_factory=dict)
    context: Float[Tensor, "b m e"] | None = None  # the condition, embedded

    @property
    def nbytes(self) -> int:
        """Return the bytes of all of it, filled or not."""
        return super().nbytes + sum(part.nbytes for part in self.maps.values())


class Cells(ABC):
    """The cells of one pass, and what they see. Axes: b batch, c cells, t positions, e width, k heads.

    A position is that of a token of the prefix or of a given code; there the code of the next cell is asked
    for, so that a pass has no cells but those of the prefix' last position and of the codes'.
    """

    background: Float[Tensor, "b c 2"]  # of cells
    behind: Float[Tensor, "b t 2"]  # of the cells whose codes the positions hold; zeros of the prefix

    def __init__(self, prior: PixelSNAIL, x: Float[Tensor, "b t e"]) -> None:
        """x: tokens and codes of the positions, embedded."""
        self.prior, self.x = prior, x

    @abstractmethod
    def stem(self) -> Float[Tensor, "b c e"]:
        """Return what the first block is fed."""

    @abstractmethod
    def convolve(self, layer: Convolution, x: Float[Tensor, "b c i"]) -> Float[Tensor, "b c o"]:
        """Return the 2 x 2 convolution that ends at each cell."""

    @abstractmethod
    def before(self, block: nn.Module, u: Float[Tensor, "b c e"]) -> Float[Tensor, "b t e"]:
        """Return what a block's attention is fed in the cells whose codes the positions hold."""

    @abstractmethod
    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Float[Tensor, "b c ke"]:
        """Return attention of cells (b k c f) to positions (b k t f) up to where each is asked for."""


class Whole(Cells):
    """All cells from the first on: convolutions run over the grid."""

    def __init__(self, prior: PixelSNAIL, x: Tensor, cache: MapCache | None) -> None:
        super().__init__(prior, x)
        self.cache, self.prefix = cache, prior.scope.prefix_length
        self.count = x.shape[1] - self.prefix + 1
        self.background = prior.background[: self.count].expand(len(x), -1, -1)
        self.behind = F.pad(self.background[:, :-1], (0, 0, self.prefix, 0))

    def stem(self) -> Tensor:
        """See Cells."""
        prior, context = self.prior, self.x[:, : self.prefix]
        held = self._keep(prior.stem, F.pad(self.x[:, self.prefix :], (0, 0, 0, 1)))  # none in the last cell
        slots = prior.slots[: self.count, None] + prior.above
        u = prior.stem(held.flatten(1, 2)[:, slots].flatten(2))
        if self.cache is not None:
            self.cache.context = context
        if self.prefix == 1:
            return u + context
        return u + context[:, : self.count] if prior.has_cell_context else u

    def convolve(self, layer: Convolution, x: Tensor) -> Tensor:
        """See Cells."""
        return layer.over(self._keep(layer, x).movedim(3, 1)).flatten(2).mT[:, : self.count]

    def before(self, block: nn.Module, u: Tensor) -> Tensor:
        """See Cells; the prefix has positions in place of it."""
        if self.cache is not None:
            self._keep(block, u)
        positions = self.prior.prefix_positions.expand(len(u), -1, -1)
        return torch.cat((positions, u[:, :-1]), 1)

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See Cells."""
        if self.cache is not None:
            keys, values = self.cache.write(layer, keys, values)
        return attend(queries, keys, values)

    def _keep(self, part: nn.Module, x: Tensor) -> Float[Tensor, "b y x i"]:
        """Return what cells hold as a grid with zeros above and to the left; put it into the cache."""
        columns = self.prior.scope.grid[1]
        rows = -(-self.count // columns)
        whole = F.pad(x, (0, 0, 0, rows * columns - self.count))
        grid = F.pad(whole.view(len(x), rows, columns, -1), (0, 0, 1, 0, 1, 0))
        if self.cache is not None:
            self.cache.maps[part][:, : grid.shape[1] * grid.shape[2]] = grid.flatten(1, 2)
        return grid


class Further(Cells):
    """Cells after those that a cache knows: a convolution is a product with the four cells it sees."""

    def __init__(self, prior: PixelSNAIL, x: Tensor, cache: MapCache) -> None:
        super().__init__(prior, x)
        (batch, count), most, device = x.shape[:2], cache.keys[0].shape[2], x.device
        assert cache.starts is not None or cache.length + count <= most, f"cache holds {most} positions"
        self.cache, starts = cache, cache.starts
        if starts is None:
            starts = torch.full((batch,), cache.length, device=device)
        self.cells = starts[:, None] + torch.arange(count, device=device) - prior.scope.prefix_length + 1
        self.background, self.behind = prior.background[self.cells], prior.background[self.cells - 1]
        # maps are read and written as one table of all rows' slots
        first = torch.arange(batch, device=device)[:, None] * len(cache.maps[prior.stem][0])
        slots, last = first + prior.slots[self.cells], first + prior.slots[self.cells - 1]
        self.slots, self.last = slots.flatten(), last.flatten()
        self.above, self.around = slots[..., None] + prior.above, slots[..., None] + prior.around

    def stem(self) -> Tensor:
        """See Cells."""
        prior, context = self.prior, self.cache.context
        assert context is not None, "a cache that holds a prefix"
        u = prior.stem(self._look(prior.stem, self.x, self.last, self.above))
        if context.shape[1] == 1:
            return u + context
        if not prior.has_cell_context:
            return u
        return u + context.gather(1, self.cells[..., None].expand(-1, -1, context.shape[2]))

    def convolve(self, layer: Convolution, x: Tensor) -> Tensor:
        """See Cells."""
        found: Tensor = layer(self._look(layer, x, self.slots, self.around))
        return found

    def before(self, block: nn.Module, u: Tensor) -> Tensor:
        """See Cells."""
        return self._look(block, u, self.slots, self.last.view(len(u), -1, 1))

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See Cells."""
        keys, values = self.cache.write(layer, keys, values)
        return attend(queries, keys, values, visible=self.cache.visible(queries.shape[2]))

    def _look(self, part: nn.Module, x: Tensor, written: Tensor, read: Tensor) -> Tensor:
        """Put what cells hold into slots of a map; return what lies in those read (b c o), as b c oi."""
        table = self.cache.maps[part].flatten(0, 1)
        table.index_copy_(0, written, x.flatten(0, 1).to(table.dtype))
        return F.embedding(read, table).flatten(2)


class Residual(nn.Module):
    """x + a * sigmoid(b), where a and b come of two layers, each after an activation."""

    def __init__(
        self, settings: PixelSNAILSettings, width: int, kind: type[Linear | Convolution], joined: int = 0
    ) -> None:
        """kind: of the two layers; joined: channels of what may be joined between them."""
        super().__init__()
        self.is_concat = settings.activation == "concat_elu"
        wide = 1 + self.is_concat
        self.first, self.second = kind(wide * width, width), kind(wide * width, 2 * width)
        self.join = Linear(wide * joined, width) if joined else None
        self.dropout = Dropout(settings.residual_dropout)

    def forward(self, x: Tensor, apply: Apply, joined: Tensor | None = None) -> Tensor:
        """b c i -> b c i. apply: a layer to what cells hold."""
        inner = apply(self.first, self._active(x))
        if self.join is not None and joined is not None:
            inner = inner + self.join(self._active(joined))
        gated = apply(self.second, self.dropout(self._active(inner)))
        return x + F.glu(gated, -1)

    def _active(self, x: Tensor) -> Tensor:
        return F.elu(torch.cat((x, -x), -1) if self.is_concat else x)


class Block(nn.Module):
    """Residual blocks of convolutions, then attention, which one without convolutions takes in."""

    is_block = True  # see strategy.py

    def __init__(self, settings: PixelSNAILSettings, layer: int) -> None:
        super().__init__()
        width = settings.width
        self.layer, self.heads, self.split = layer, settings.heads, settings.heads * settings.key_width
        self.convolved = nn.ModuleList(
            Residual(settings, width, Convolution) for _ in range(settings.residual_blocks)
        )
        self.held = Residual(settings, 2 * width + 2, Linear)
        self.keys_values = Linear(2 * width + 2, self.split + width // 2)
        self.asking = Residual(settings, width + 2, Linear)
        self.queries = Linear(width + 2, self.split)
        self.mixed = Residual(settings, width, Linear, joined=width // 2)

    def forward(self, u: Tensor, cells: Cells) -> Tensor:
        """b c e -> b c e."""
        for part in self.convolved:
            u = part(u, cells.convolve)
        raw = torch.cat((cells.x, cells.before(self, u), cells.behind.to(u.dtype)), -1)
        both = self.keys_values(self.held(raw, _alone)).split((self.split, u.shape[2] // 2), -1)
        keys, values = (self._by_head(part) for part in both)
        raw = torch.cat((u, cells.background.to(u.dtype)), -1)
        queries = self._by_head(self.queries(self.asking(raw, _alone)))
        found: Tensor = self.mixed(u, _alone, cells.attend(self.layer, queries, keys, values))
        return found

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


def _alone(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer to each cell."""
    found: Tensor = layer(x)
    return found


def _begin(module: nn.Module) -> None:
    """Start weights so that each layer keeps the size of what it is fed, and gates let a tenth through.

    So does the paper's start by the first batch, on weights that are normalised (arXiv:1602.07868).
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        nn.init.zeros_(module.bias)
    if isinstance(module, Residual):
        gate = module.second.product if isinstance(module.second, Convolution) else module.second
        gate.weight.data.mul_(0.1)


def _check(settings: PixelSNAILSettings, scope: Scope) -> None:
    if settings.width % (2 * settings.heads):
        got = f"{settings.width} and {settings.heads}"
        raise UserError("prior.width that is a multiple of 2 times prior.heads", got, "change one of the two")
    if scope.order != "row":
        remedy = "set order=row: its convolutions see cells above and to the left"
        raise UserError("order=row for a prior of kind pixelsnail", scope.order, remedy)
