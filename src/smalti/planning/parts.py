"""What a run holds in memory, part by part, counted in bytes."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from smalti.strategy import blocks
from smalti.training.prior_task import PriorTask
from smalti.training.settings import Training
from smalti.training.tokenizer_task import TokenizerTask

MOMENTS = 2  # of each weight that learns


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Bytes that a run holds from the first step to the last, and those of each step's gradients."""

    weights: int  # of the networks that learn, and their statistics
    frozen: int  # of all others: tokenizers of a prior, networks that losses look through
    gradients: int
    moments: int
    averaged: int
    largest_block: int  # of the weights: what is gathered at one time where weights lie in parts

    @property
    def steady(self) -> int:
        """Return what is there between two steps."""
        return self.weights + self.frozen + self.moments + self.averaged

    @property
    def checkpoint(self) -> int:
        """Return what is written at a time: networks, moments, averaged weights."""
        return self.weights + self.moments + self.averaged


def count(task: TokenizerTask | PriorTask, training: Training) -> Parts:
    """Return the parts of a task, before its first step."""
    trained = _tensors(task.networks.values())
    known = {id(tensor) for tensor in trained}
    learning = [p for net in task.networks.values() for p in net.parameters() if p.requires_grad]
    averaged = list(task.networks[task.averaged].parameters()) if training.ema else []
    others = [tensor for tensor in _tensors(_others(task)) if id(tensor) not in known]
    gradients = _bytes(learning)
    return Parts(
        weights=_bytes(trained),
        frozen=_bytes(others),
        gradients=gradients,
        moments=MOMENTS * gradients,
        averaged=_bytes(averaged),
        largest_block=max(map(_largest, task.networks.values())),
    )


def parameters(task: TokenizerTask | PriorTask) -> dict[str, int]:
    """Return how many weights each network that learns has, and all others together."""
    found = {name: sum(p.numel() for p in net.parameters()) for name, net in task.networks.items()}
    known = {id(p) for net in task.networks.values() for p in net.parameters()}
    rest = {id(p): p.numel() for net in _others(task) for p in net.parameters() if id(p) not in known}
    return found | ({"frozen": sum(rest.values())} if rest else {})


def _others(task: TokenizerTask | PriorTask) -> list[nn.Module]:
    return [task.pipeline] if isinstance(task, PriorTask) else list(task.terms)


def _largest(network: nn.Module) -> int:
    """Return the bytes of the largest block of a network, or of what lies in no block, if that is more."""
    inner = blocks(network)
    inside = {id(p) for block in inner for p in block.parameters()}
    outside = [p for p in network.parameters() if id(p) not in inside]
    return max([_bytes(outside), *(_bytes(block.parameters()) for block in inner)])


def tensor_bytes(networks: Iterable[nn.Module]) -> int:
    """Return the bytes of the weights and statistics of networks, of what they share once."""
    return _bytes(_tensors(networks))


def _tensors(networks: Iterable[nn.Module]) -> list[Tensor]:
    found = {id(t): t for net in networks for t in (*net.parameters(), *net.buffers())}
    return list(found.values())


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
