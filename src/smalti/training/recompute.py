"""Activations computed again in the backward pass in place of kept: memory for time (arXiv:1604.06174)."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from smalti.tokenizer import Tokenizer
from smalti.tokenizer.blocks import AttentionBlock, ResidualBlock
from smalti.tokenizer.maskgit import ResidualBlock as MaskgitResidualBlock

BLOCKS = (ResidualBlock, AttentionBlock, MaskgitResidualBlock)


def recompute(tokenizer: Tokenizer) -> None:
    """Keep of each block of the two networks its input alone from now on, where there are gradients.

    Neither names nor numbers change: dropout draws the same again.
    """
    for module in (*tokenizer.encoder.modules(), *tokenizer.decoder.modules()):
        if isinstance(module, BLOCKS):
            _wrap(module)


def _wrap(block: nn.Module) -> None:
    # as an attribute of this one block: a module around it would change the names of its weights
    block.forward = partial(checkpoint, block.forward, use_reentrant=False)
