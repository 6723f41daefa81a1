"""Which parameters of a prior weight decay pulls at."""

from typing import Any

from torch import nn


def parameter_groups(prior: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer, each sorted by name: decayed, not decayed.

    Decayed are the weights of Linear layers; biases, norms, embeddings and positions are not (2021 code).
    """
    named = dict(sorted(prior.named_parameters()))
    linear = {f"{name}.weight" for name, module in prior.named_modules() if isinstance(module, nn.Linear)}
    return [
        {"params": [named[name] for name in named if name in linear], "weight_decay": weight_decay},
        {"params": [named[name] for name in named if name not in linear], "weight_decay": 0.0},
    ]
