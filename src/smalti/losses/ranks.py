"""What the processes of one training must agree on."""

import torch
from torch import Tensor


def average(tensor: Tensor) -> Tensor:
    """The mean over all processes, without gradient; the tensor itself where there is one process."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return tensor.detach()
    total = tensor.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def count() -> int:
    """How many processes train together."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
