"""The exponential moving average of a network's weights: what is validated, shown and saved."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """Keeps mean = d * mean + (1 - d) * weight, with d = min(decay, (1 + n) / (10 + n)) at update n.

    The smaller d of the first updates lets the mean forget the random start. Buffers and whole numbers
    are copied, not averaged. decay 0 makes the mean equal to the weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = dict(network.named_parameters())
        self.buffers = {name: t for name, t in network.state_dict().items() if name not in self.weights}
        self.means = {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they stand after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        average = get_ema_multi_avg_fn(decay)
        average(list(self.means.values()), list(self.weights.values()), self.updates)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the network has the averaged weights; afterwards its own, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> Mapping[str, Tensor]:
        """The means, for a checkpoint; `updates` goes with them."""
        return self.means

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self.weights.items():
            own = weight.detach().clone()
            weight.copy_(self.means[name])
            self.means[name].copy_(own)
