"""A prior that sees all cells at once: it generates many hidden cells a pass, in a few passes (MaskGIT)."""

from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from smalti.conditions.context import Prefix
from smalti.config import Few, Positive, Share, settings
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.loop import Decoder
from smalti.drawing.request import Request
from smalti.errors import UserError
from smalti.heads.categorical import Categorical
from smalti.priors.block import GatedBlock, check_width, start, two_thirds
from smalti.priors.corrupt import corrupt
from smalti.priors.layers import Dropout, Linear, RMSNorm
from smalti.priors.passes import HIDDEN, RISING, Passes, Schedule, portions
from smalti.priors.protocol import Nats, Prior, Scope
from smalti.priors.rotary import turns_of
from smalti.tokens import noise

SPEEDS = 100.0  # rotary base: no two cells of a crop lie further apart than a few dozen cells
MASKS = 16  # numbers of hidden cells at which the bound on the likelihood is measured


@settings
class MaskedSettings:
    """Size, dropouts, and how cells are hidden in training."""

    kind: Literal["masked"] = "masked"
    layers: Few = 12
    heads: Positive = 8
    width: Positive = 512  # a multiple of 4 * heads
    token_dropout: Share = 0.0  # of the embedded prefix and cells
    residual_dropout: Share = 0.0  # of what attention adds
    ffn_dropout: Share = 0.0  # of what the feed-forward network adds
    mask_schedule: Schedule = "cosine"  # how many cells are hidden
    label_smoothing: Share = 0.1  # of the target's probability, spread evenly over all codes


class Masked(Prior):
    """p(code | the known codes of a crop, condition) for every hidden cell, by a bidirectional transformer.

    Built much as `Modern`, but each cell sees all others and holds its own code or the mask token; where it
    lies is told by a learned vector as well as by rotary positions. A condition of one token a cell is added
    to the cells, any other stands before them.
    """

    options = Passes
    distribution: Categorical
    cosines: Tensor  # t 2 1 e
    sines: Tensor

    def __init__(self, settings: MaskedSettings, scope: Scope) -> None:
        super().__init__(scope)
        check_width(settings)
        if scope.order != "row":
            remedy = "set order=row: which cells come first is chosen when images are drawn"
            raise UserError("order=row for a prior of kind masked", scope.order, remedy)
        self.settings, self.codebook_size = settings, scope.codebook_size
        self.distribution = Categorical(smoothing=settings.label_smoothing)
        width, count = settings.width, len(scope.cells)
        self.has_cell_context = scope.prefix_is_by_cell and count > 1
        self.prefix_table = nn.Embedding(scope.prefix_vocabulary, width)
        self.table = nn.Embedding(scope.codebook_size + 1, width)  # the last: a hidden cell
        before = 0 if self.has_cell_context else scope.prefix_length
        self.positions = nn.Parameter(torch.empty(before + count, width))
        self.dropout = Dropout(settings.token_dropout)
        self.blocks = nn.ModuleList(Block(settings, layer) for layer in range(settings.layers))
        self.norm = RMSNorm(width, eps=1e-5)
        self.head = Linear(width, scope.codebook_size, bias=False)
        positions = torch.tensor(((0, 0),) * before + scope.cells)
        cosines, sines = turns_of(positions, width=width // settings.heads, base=SPEEDS)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        self.apply(start)
        nn.init.normal_(self.positions, std=0.02)
        nn.init.zeros_(self.head.weight)  # the first loss is log v

    def forward(
        self,
        codes: Int64[Tensor, "b n"],
        prefix: Prefix,
        known: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n v"]:
        """Return the logits of every cell of a training crop, given those that are known; None: none is.

        codes: row by row; those that are not known are never read.
        """
        hidden = torch.full_like(codes, self.scope.codebook_size)
        x = self.table(hidden if known is None else codes.where(known, hidden))
        told = self.prefix_table(prefix)
        x = x + told if self.has_cell_context else torch.cat((told, x), 1)
        x = self.dropout(x + self.positions)
        for block in self.blocks:
            x = block(x, (self.cosines, self.sines))
        return self.head(self.norm(x[:, -codes.shape[1] :]))

    def loss(
        self,
        codes: Int64[Tensor, "b n"],
        prefix: Prefix,
        rng: torch.Generator,
        *,
        pkeep: float = 1.0,
    ) -> Float[Tensor, ""]:
        """Return the smoothed cross-entropy of hidden cells in nats (arXiv:2202.04200, eq. 1); see Prior."""
        known = draw_known(len(codes), codes.shape[1], self.settings.mask_schedule, rng).to(codes.device)
        shown = codes
        if pkeep < 1:
            shown = corrupt(codes, pkeep=pkeep, codebook_size=self.codebook_size, generator=rng)
        return self.distribution.loss(self(shown, prefix, known)[~known], codes[~known])

    def nats(self, codes: Int64[Tensor, "b n"], prefix: Prefix) -> Nats:
        """Return an estimate of a bound: of -ln p of the codes where cells come singly, in random order.

        The bound is n times the mean cross-entropy of k hidden cells, averaged over k = 1 .. n and over which
        they are (arXiv:2110.02037). Here k takes up to 16 values, evenly over 1 .. n, and which they are is a
        hash of the image's own codes, so that an image always gets the same number. Images that are generated
        many cells a pass come from a distribution of which no likelihood is known.
        """
        batch, n = codes.shape
        numbers = torch.arange(n, device=codes.device)
        seeds = ((codes + 1) * (numbers * noise.FIRST + noise.SECOND)).sum(1)
        total, masks = 0.0, min(MASKS, n)
        for index in range(masks):
            hidden = 1 + (2 * index + 1) * n // (2 * masks)
            drawn = noise.gumbel(noise.keys(seeds, torch.tensor(index)), numbers.expand(batch, -1))
            known = drawn.argsort(1).argsort(1) >= hidden
            found = self.distribution.nats(self(codes, prefix, known)[~known], codes[~known]).item()
            total += found * n / (hidden * masks)
        return Nats(total, codes.numel(), is_bound=True)

    def decoder(self, guided: Guided, canvas: Canvas) -> Decoder:
        """See Prior."""
        return Filling(self, guided, canvas)

    def rows(self, canvas: Canvas) -> int:
        """See Prior: windows go one after the other."""
        return 1

    def check(self, asked: Request, grid: tuple[int, int], factor: int) -> None:
        """See Prior."""
        self.check_size(grid, factor)
        if asked.stride > 1:
            why = "windows of a prior of kind masked move by half a window"
            raise UserError(f"stride=1: {why}", str(asked.stride), "leave stride out, or give fewer steps")
        if asked.speculative > 1:
            expected = "speculative=1, as this prior draws many cells a pass anyway"
            raise UserError(expected, str(asked.speculative), "leave speculative out, and give steps=")


class Block(GatedBlock):
    """Attention of all to all, then a feed-forward network, each added to its input."""

    def __init__(self, settings: MaskedSettings, layer: int) -> None:
        super().__init__(settings, layer, hidden=two_thirds(settings.width))
        self.gains = nn.Parameter(torch.ones(2, 1, settings.width // settings.heads))  # of queries and keys

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Return positions b t e after both."""
        queries, keys, values = self.queries_keys_values(self.norm1(x), turn, self.gains)
        mixed = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        x = x + self.residual_dropout(self.out(mixed))
        return x + self.feed_forward(self.norm2(x))


class Filling(Decoder):
    """Passes over all unknown cells: each keeps its share of them, by confidence or in Halton's order.

    A canvas larger than a training crop is covered by windows of that size, half a window apart; the last
    ones are moved inside. Every pass goes through all windows, each of which sees what is known in it and
    predicts those unknown cells to which its middle is the nearest. So the cells of all windows are held
    against one another, and a canvas of any size takes the same number of passes.
    """

    def __init__(self, prior: Masked, guided: Guided, canvas: Canvas) -> None:
        self.prior, self.guided, self.canvas, how = prior, guided, canvas, canvas.how
        assert isinstance(how, Passes), "options of this member"
        self.how = how
        device, unknown = canvas.codes.device, (~canvas.known).flatten()
        schedule = how.mask_schedule or prior.settings.mask_schedule
        self.portions = portions(int(unknown.sum()), how.steps, schedule)
        self.known = canvas.known.flatten().to(device).repeat(len(canvas.codes), 1)
        spread = halton(*canvas.grid)
        self.spread = spread[unknown[spread]].to(device)  # the unknown cells in Halton's order
        self.round = -1  # see Decoder
        self.windows = self._cover()

    def next(self) -> Int64[Tensor, "b p"] | None:
        """See Decoder: all unknown cells, of which each row has equally many; of Halton's order the next."""
        self.round += 1
        if self.round == len(self.portions):
            return None
        done, count = sum(self.portions[: self.round]), self.portions[self.round]
        if self.how.order == "halton":
            return self.spread[done : done + count].expand(len(self.known), -1)
        return self.known.byte().argsort(dim=1, stable=True)[:, : sum(self.portions) - done]

    def predict(
        self, tokens: Int64[Tensor, "b n"], positions: Int64[Tensor, "b p"]
    ) -> Float[Tensor, "b p v"]:
        """See Decoder."""
        progress = self.round / max(1, len(self.portions) - 1)
        share = RISING[self.how.guidance_schedule](progress)
        found: Tensor | None = None
        for prefix, inside, place in self.windows:
            codes, known = (self.guided.repeated(cells[:, inside]) for cells in (tokens, self.known))
            logits = self.guided(self.prior(codes, prefix, known), inside[None], share)
            rows, columns = (place[positions] >= 0).nonzero(as_tuple=True)
            if found is None:
                found = logits.new_empty(*positions.shape, logits.shape[2])
            found[rows, columns] = logits[rows, place[positions[rows, columns]]]
        assert found is not None, "unknown cells lie in windows"
        return found

    def accept(
        self, prediction: Float[Tensor, "b p v"], drawn: Int64[Tensor, "b p"], positions: Int64[Tensor, "b p"]
    ) -> Bool[Tensor, "b p"] | None:
        """See Decoder: the share of this pass, by log p of what was drawn plus noise that falls."""
        count, kept = self.portions[self.round], None
        if count < drawn.shape[1]:
            sure = self.prior.distribution.log_p(prediction, drawn)
            fallen = self.how.confidence_noise * (1 - (self.round + 1) / len(self.portions))
            keys = self.canvas.keys(positions, self.round).flatten()
            beyond = torch.full_like(keys[:, None], self.prior.codebook_size)  # no code has this number
            sure = sure + fallen * noise.gumbel(keys, beyond).view(drawn.shape)
            kept = torch.zeros_like(drawn, dtype=torch.bool).scatter(1, sure.topk(count).indices, True)
        self.known = self.known.scatter(1, positions, True if kept is None else kept)
        return kept

    def _cover(self) -> list[tuple[Prefix, Tensor, Tensor]]:
        """Return windows: their prefix; their cells' numbers on the canvas; by number the place inside.

        The place is -1 for cells that are not theirs to predict; windows that have none are left out.
        """
        (height, width), (rows, columns) = self.canvas.grid, self.canvas.window
        (tops, down), (lefts, right) = _along(height, rows), _along(width, columns)
        unknown, nearest = ~self.canvas.known, down[:, None] * len(lefts) + right  # h w
        numbers, positions = torch.arange(height * width).view(height, width), torch.arange(rows * columns)
        found = []
        for index, (top, left) in enumerate(product(tops, lefts)):
            own = (nearest == index) & unknown
            if own.any():
                inside = numbers[top : top + rows, left : left + columns].flatten()
                place = torch.full((height * width,), -1)
                place[inside] = positions.where(own.flatten()[inside], -1)
                device = self.known.device
                prefix = self.guided.prefix([(top, left)], self.canvas.window)
                found.append((prefix, inside.to(device), place.to(device)))
        return found


def _along(size: int, side: int) -> tuple[list[int], Int64[Tensor, " c"]]:
    """Return where windows begin on an axis, and which of them is the nearest to each cell of it."""
    begins = torch.tensor([*range(0, size - side, max(1, side // 2)), size - side])
    distance = (2 * torch.arange(size)[:, None] - (2 * begins + side - 1)).abs()
    return begins.tolist(), distance.argmin(1)


def draw_known(batch: int, n: int, schedule: str, rng: torch.Generator) -> Bool[Tensor, "b n"]:
    """Draw which of n cells are known in training: in each row a random number, by a schedule of HIDDEN.

    At least one is hidden, and all may be. On the generator's device.
    """
    progress = torch.rand(batch, generator=rng, device=rng.device).tolist()
    hidden = torch.tensor([max(1, round(n * HIDDEN[schedule](each))) for each in progress], device=rng.device)
    ranks = torch.rand(batch, n, generator=rng, device=rng.device).argsort(1).argsort(1)
    return ranks >= hidden[:, None]


def halton(height: int, width: int) -> Int64[Tensor, " n"]:
    """Return all cells (row-major numbers) in the order of a Halton sequence, which spreads them evenly.

    Point i = 1, 2, ... lies in row floor(height * r2(i)) and column floor(width * r3(i)), where r_b mirrors
    the digits of i in base b at the point; cells that come again are left out (arXiv:2503.17076).
    """
    found: dict[int, None] = {}
    number = 0
    while len(found) < height * width:
        number += 1
        (row, two), (column, three) = _mirrored(number, 2), _mirrored(number, 3)
        found.setdefault(row * height // two * width + column * width // three)
    return torch.tensor(list(found))


def _mirrored(number: int, base: int) -> tuple[int, int]:
    """Return the radical inverse as a fraction: 6, 110 in base 2, becomes 0.011, which is 3 / 8."""
    mirrored, whole = 0, 1
    while number:
        number, digit = divmod(number, base)
        mirrored, whole = mirrored * base + digit, whole * base
    return mirrored, whole
