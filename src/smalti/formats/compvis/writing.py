"""A model of ours as a run folder of the 2021 code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from smalti.formats.compvis import prior, tokenizer
from smalti.generator import Generator
from smalti.tokenizer import Tokenizer

RESOLUTION = 256  # of training crops, where nobody said it; names the levels that have attention


def write(model: Tokenizer | Generator, out: Path, critic: Mapping[str, Tensor]) -> None:
    """configs/smalti-project.yaml and checkpoints/last.ckpt, below out; UserError before any is written.

    critic: the discriminator's tensors, or empty.
    """
    if isinstance(model, Generator):
        state, config = prior.theirs(model), prior.config(model)
    else:
        state = tokenizer.theirs(model) | {tokenizer.CRITIC + name: t for name, t in critic.items()}
        config = {"model": tokenizer.config(model, RESOLUTION, critic=critic)}
    for name in ("configs", "checkpoints"):
        (out / name).mkdir(parents=True)
    used = [tensor for name, tensor in state.items() if name.endswith("quantize.used")]
    if used:  # their class wants the table as a file, beside the one in the weights
        np.save(out / "used.npy", used[0].cpu().numpy())
    text = yaml.safe_dump(config, sort_keys=False)
    (out / "configs" / "smalti-project.yaml").write_text(text, encoding="utf-8")
    contents: dict[str, Any] = {"epoch": 0, "global_step": 0, "pytorch-lightning_version": "1.0.8"}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    torch.save({**contents, "state_dict": whole}, out / "checkpoints" / "last.ckpt")
