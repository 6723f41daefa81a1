"""The loop by which every prior generates: positions, a prediction, a draw, what of it stays."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from smalti.drawing.canvas import Canvas
from smalti.heads.protocol import Head


class Decoder(ABC):
    """How a prior generates b canvases: once, from the first position to the last. It owns its caches.

    `Prior.decoder` makes one for a canvas, whose known cells it leaves alone. Positions are numbers of the
    canvas' cells, row by row; axes: b canvases, n cells, p positions of a pass, v codes.
    """

    round = 0  # how often a cell may have been drawn before: each round has noise of its own

    @abstractmethod
    def next(self) -> Int64[Tensor, "b p"] | None:
        """Return the positions to predict in the next pass, each once in a row; None: all is generated."""

    @abstractmethod
    def predict(
        self, tokens: Int64[Tensor, "b n"], positions: Int64[Tensor, "b p"]
    ) -> Float[Tensor, "b p v"]:
        """Return the logits at what `next` gave; tokens are those of all cells, undefined where unknown."""

    def accept(
        self, prediction: Float[Tensor, "b p v"], drawn: Int64[Tensor, "b p"], positions: Int64[Tensor, "b p"]
    ) -> Bool[Tensor, "b p"] | None:
        """Return which of the drawn codes stay; None: all. The others' cells keep what they had."""
        return None


class Pass(NamedTuple):
    """What lies on canvases after a pass, or before the first: to be looked at, not kept."""

    codes: Int64[Tensor, "b h w"]  # undefined where a cell is not laid yet
    laid: Bool[Tensor, "b h w"]


def passes(decoder: Decoder, canvas: Canvas, head: Head) -> Iterator[Pass]:
    """Generate the unknown cells of canvases by a decoder made for them, pass by pass.

    Gives first what is known and last all codes. head: draws codes by what the decoder predicts.
    """
    tokens = canvas.codes.flatten(1).clone()
    laid = canvas.known.flatten().to(tokens.device).repeat(len(tokens), 1)
    there = Pass(tokens.view(canvas.codes.shape), laid.view(canvas.codes.shape))
    canvas.progress(int(canvas.known.sum()) * len(tokens))
    yield there
    while (positions := decoder.next()) is not None:
        prediction = decoder.predict(tokens, positions)
        drawn = head.draw(prediction, canvas.keys(positions, decoder.round), canvas.choice)
        kept = decoder.accept(prediction, drawn, positions)
        if kept is None:
            laid.scatter_(1, positions, True)
        else:
            drawn = drawn.where(kept, tokens.gather(1, positions))
            laid.scatter_(1, positions, kept | laid.gather(1, positions))
        tokens.scatter_(1, positions, drawn)
        canvas.progress(drawn.numel() if kept is None else int(kept.sum()))
        yield there


def draw(decoder: Decoder, canvas: Canvas, head: Head) -> Int64[Tensor, "b h w"]:
    """Generate canvases as `passes` does; return all their codes."""
    *_, last = passes(decoder, canvas, head)
    return last.codes
