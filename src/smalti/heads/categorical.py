"""One code of a vocabulary a place, by a logit for each."""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.tokens.choice import Choice, choose


@dataclass(frozen=True, kw_only=True)
class Categorical:
    """p(code) = softmax(logits). See Head."""

    smoothing: float = 0.0  # in training: share of the target's probability that is spread evenly over all

    def loss(self, prediction: Float[Tensor, "*n v"], tokens: Int64[Tensor, "*n"]) -> Float[Tensor, ""]:
        """Return the mean cross-entropy of codes, smoothed, in nats."""
        logits = prediction.float().flatten(0, -2)
        return F.cross_entropy(logits, tokens.flatten(), label_smoothing=self.smoothing)

    def nats(self, prediction: Float[Tensor, "*n v"], tokens: Int64[Tensor, "*n"]) -> Float[Tensor, ""]:
        """Return -ln p of all codes together."""
        return F.cross_entropy(prediction.float().movedim(-1, 1), tokens, reduction="sum")

    def log_p(self, prediction: Float[Tensor, "b p v"], tokens: Int64[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """Return ln p of each code: how sure of it a prior is."""
        return -F.cross_entropy(prediction.float().mT, tokens, reduction="none")

    def draw(
        self, prediction: Float[Tensor, "b p v"], keys: Int64[Tensor, "b p"], choice: Choice
    ) -> Int64[Tensor, "b p"]:
        """Draw a code at each place, by temperature and filters; return them."""
        return choose(prediction.flatten(0, 1), keys.flatten(), choice).view(keys.shape)
