"""Rows and the entries nearest to them: search, k-means, random draws."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

SEARCH_ELEMENTS = 2**22  # scores held at a time: 16 MiB in fp32, however many rows and entries there are
SEARCH_ENTRIES = 4096  # looked at together: few enough that many rows share the reading of them
REPEAT_NOISE = 0.01  # of the rows' root mean square: parts equal rows, too little to move them


@torch.no_grad()
def nearest(
    rows: Float[Tensor, "n d"], entries: Float[Tensor, "v d"], max_elements: int = SEARCH_ELEMENTS
) -> Int64[Tensor, " n"]:
    """Return for each row the entry at the smallest Euclidean distance, the first of equally near ones.

    At most max_elements scores exist at a time. Matrix products must run in full fp32, as torch does
    unless told otherwise: TF32 changes codes.
    """
    # argmin |z - e|^2 = argmax z.e - |e|^2 / 2: |z|^2 is the same for every entry, and no n v d array arises
    halves = entries.square().sum(-1) / 2
    together = min(SEARCH_ENTRIES, len(entries), max_elements)
    if torch.compiler.is_exporting():  # into a graph of any number of rows, whose runtime has its own memory
        return _nearest(rows, entries, halves, None, together)
    chunk = min(max_elements // together, len(rows))
    scores = rows.new_empty(chunk * together)  # one memory for all parts: fresh memory is slow to get
    with torch.autocast(rows.device.type, enabled=False):
        parts = [_nearest(part, entries, halves, scores, together) for part in torch.split(rows, chunk or 1)]
    return torch.cat(parts)


def _nearest(rows: Tensor, entries: Tensor, halves: Tensor, scores: Tensor | None, together: int) -> Tensor:
    """`nearest` for few rows, so many entries at a time; scores: memory for that many, None: new memory."""
    count = rows.shape[0]  # not len: an export would take it for a constant
    best, codes = rows.new_full((count,), -torch.inf), rows.new_zeros(count, dtype=torch.int64)
    for first in range(0, len(entries), together):
        block = entries[first : first + together]
        out = None if scores is None else scores[: len(rows) * len(block)].view(len(rows), len(block))
        found = torch.addmm(halves[first : first + together], rows, block.T, beta=-1, out=out)
        top, where = found.max(-1)  # the first of equal ones
        better = top > best
        best, codes = torch.where(better, top, best), torch.where(better, where + first, codes)
    return codes


@torch.no_grad()
def kmeans(
    rows: Float[Tensor, "n d"], num: int, generator: torch.Generator, iterations: int = 10
) -> Float[Tensor, "{num} d"]:
    """Return num centres of the rows by Lloyd's iterations from rows drawn at random.

    A centre that no row is nearest to stays where it is.
    """
    centres = draw(rows, num, generator)
    for _ in range(iterations):
        codes = nearest(rows, centres)
        counts = torch.bincount(codes, minlength=num)[:, None]  # v 1
        sums = torch.zeros_like(centres).index_add_(0, codes, rows)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres


@torch.no_grad()
def draw(rows: Float[Tensor, "n d"], num: int, generator: torch.Generator) -> Float[Tensor, "{num} d"]:
    """Return num rows drawn at random: none twice while there are enough, later ones with a little noise."""
    rounds = -(-num // len(rows))
    device = generator.device  # may be the CPU's for rows on a GPU: the same draws on every machine
    orders = [torch.randperm(len(rows), generator=generator, device=device) for _ in range(rounds)]
    drawn = rows[torch.cat(orders)[:num].to(rows.device)] if rounds else rows[:0]
    repeats = drawn[len(rows) :]
    noise = torch.randn(repeats.shape, generator=generator, device=device).to(rows)
    repeats += REPEAT_NOISE * rows.square().mean().sqrt() * noise
    return drawn
