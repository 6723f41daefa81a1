"""What every head keeps: from a prediction to a loss, a likelihood, tokens.

Axes: n any places; b images, p places of each; d numbers that are predicted.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor

from smalti.tokens.choice import Choice


@runtime_checkable  # for the shape checker of the tests
class Head(Protocol):
    """How a prior's prediction at a place, a vector of d numbers, is a distribution over its token."""

    def loss(self, prediction: Float[Tensor, "*n d"], tokens: Int64[Tensor, "*n"]) -> Float[Tensor, ""]:
        """Return what training makes small, the mean over all places, in fp32."""
        ...

    def nats(self, prediction: Float[Tensor, "*n d"], tokens: Int64[Tensor, "*n"]) -> Float[Tensor, ""]:
        """Return -ln p of all tokens together."""
        ...

    def draw(
        self, prediction: Float[Tensor, "b p d"], keys: Int64[Tensor, "b p"], choice: Choice
    ) -> Int64[Tensor, "b p"]:
        """Draw a token at each place; return them.

        keys: of the image's seed and the place's position (`noise.keys`). Chance is a hash of them, so that
        equal ones give equal tokens, whatever is drawn beside them.
        """
        ...
