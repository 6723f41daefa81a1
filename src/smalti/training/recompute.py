"""Activations computed again in the backward pass in place of kept: memory for time (arXiv:1604.06174)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from smalti.strategy import blocks


def recompute(network: nn.Module) -> None:
    """Keep of each block of a network its input alone from now on, where there are gradients.

    Neither names nor numbers change: dropout draws the same again.
    """
    for block in blocks(network):
        _wrap(block)


def _wrap(block: nn.Module) -> None:
    # as an attribute of this one block: a module around it would change the names of its weights
    block.forward = _Again(block.forward)


class _Again:
    """A forward pass whose activations are computed again; a class, as twins of the block are made of it."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*given, **named)
        return checkpoint(self.forward, *given, use_reentrant=False, **named)
