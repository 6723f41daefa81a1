"""The exponential moving average of a network's weights: what is validated, shown and saved."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from smalti import strategy


class Ema:
    """Keeps mean = d * mean + (1 - d) * weight, where d = min(decay, (1 + n) / (10 + n)) at update n.

    The smaller d of the first updates lets the mean forget the random start. Parameters only: buffers
    are whatever the network has now. Of a sharded network each process keeps the means of what it holds.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0  # n
        self.parameters = dict(network.named_parameters())
        self.weights = {name: strategy.current().held(weight) for name, weight in self.parameters.items()}
        self.means = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def update(self) -> None:
        """Take in the weights as they stand after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # one kernel for all
        average(list(self.means.values()), list(self.weights.values()), None)
        self.updates += 1

    @torch.no_grad()
    def restore(self, means: Mapping[str, Tensor], updates: int) -> None:
        """Go on from the means, whole ones, and the number of updates of a checkpoint."""
        for name, mean in self.means.items():
            mean.copy_(strategy.current().part(self.parameters[name], means[name]))
        self.updates = updates

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the network has the averaged weights; afterwards its own, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self.weights.items():
            own = weight.detach().clone()
            weight.copy_(self.means[name])
            self.means[name].copy_(own)
