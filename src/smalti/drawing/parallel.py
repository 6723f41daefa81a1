"""A canvas of one window in few passes: codes are guessed, and what was guessed right is kept.

As the noise of a cell is fixed, sampling is a map without chance: the code of a place is a function of the
codes before it. A pass feeds guesses for the next places and computes this function at all of them at once
(Jacobi iteration). Where a guess is the code that comes out, the place after it has been computed from what
it would have been computed from one by one; so all places up to the first wrong guess are done, and at least
one is. The codes are those of one by one, whatever was guessed. Only rounding differs: products of several
rows may round otherwise than those of one.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Scorer


def fill(scorer: Scorer, canvas: Canvas, sequence: Int64[Tensor, "b n"], known: list[bool]) -> None:
    """Draw every place of the prior's order that is not known, up to `canvas.parallel` places a pass.

    known: of each place; at least one is not.
    """
    batch, n = sequence.shape
    first = known.index(False)
    end = n - known[::-1].index(False)  # after the last place that is drawn
    kept, above = torch.tensor(known, device=sequence.device), _above(canvas)
    cache = scorer.new_cache(batch)
    scores = scorer.next(sequence[:, :first], scorer.prefix([(0, 0)], canvas.window), cache)[:, None]
    sequence[:, first : first + 1] = canvas.draw(scores, canvas.order[first : first + 1])
    canvas.progress((first + 1) * batch)
    done = guessed = first + 1  # places before these are right, or have a guess
    while done < end:
        ahead = min(done + canvas.parallel, end)  # this pass draws the places done .. ahead - 1
        if guessed < ahead - 1:  # of the last of them no guess is fed
            fresh = slice(guessed, ahead - 1)
            sequence[:, fresh] = sequence[:, fresh].where(kept[fresh], guess(sequence, above, fresh))
        scores = scorer.extend(sequence[:, done - 1 : ahead - 1], cache)
        drawn = canvas.draw(scores, canvas.order[done:ahead])
        drawn = sequence[:, done:ahead].where(kept[done:ahead], drawn)
        right = (drawn == sequence[:, done:ahead]).all(0)[:-1]  # a row that is ahead keeps its guesses
        # the one wait for the device in a pass: how far the next one goes on hangs on it
        accepted = 1 + int(right.cumprod(0).sum().item())
        sequence[:, done:ahead] = drawn
        canvas.progress(accepted * batch)
        cache.length -= ahead - done - accepted
        done, guessed = done + accepted, ahead
    canvas.progress((n - end) * batch)


def guess(sequence: Int64[Tensor, "b n"], above: Int64[Tensor, " n"], fresh: slice) -> Int64[Tensor, "b q"]:
    """Codes for places that no pass has reached: that of the cell above, or the last one that there is.

    It costs next to nothing; the last place's scores with the cell's own noise are right about as often.
    """
    there = above[fresh].where(above[fresh] < fresh.start, fresh.start - 1)
    return sequence[:, there]


def _above(canvas: Canvas) -> Int64[Tensor, " n"]:
    """The place at which the cell above is laid, for each place; n in the first row."""
    order, width = canvas.order, canvas.window[1]
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device)
    return places[(order - width).clamp(min=0)].where(order >= width, len(order))
