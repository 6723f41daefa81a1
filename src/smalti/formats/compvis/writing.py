"""A model of ours as a run folder of the 2021 code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from smalti import config as settings
from smalti.formats.compvis import codebook, prior, tokenizer
from smalti.formats.own import SECTION
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer

RESOLUTION = 256  # of training crops, where nobody said it; names the levels that have attention


def write(model: Tokenizer | Pipeline, out: Path, discriminator: Mapping[str, Tensor]) -> tuple[str, ...]:
    """configs/smalti-project.yaml and checkpoints/last.ckpt, below out; UserError before any is written.

    discriminator: the discriminator's tensors, or empty.
    """
    if isinstance(model, Pipeline):
        state, config = prior.theirs(model), prior.config(model)
    else:
        config = {
            "model": tokenizer.config(model.settings, RESOLUTION, discriminator=discriminator),
            SECTION: {"settings": {"": settings.dump(model.settings)}},  # which their code does not ask for
        }
        state = tokenizer.theirs(model) | tokenizer.colours(model.settings)
        state |= {tokenizer.DISCRIMINATOR + name: tensor for name, tensor in discriminator.items()}
    for name in ("configs", "checkpoints"):
        (out / name).mkdir(parents=True)
    for name in (name for name in state if name.endswith(codebook.TABLE)):
        np.save(out / tokenizer.used_file(name.removesuffix(codebook.TABLE)), state[name].cpu().numpy())
    text = yaml.safe_dump(config, sort_keys=False)
    (out / "configs" / "smalti-project.yaml").write_text(text, encoding="utf-8")
    contents: dict[str, Any] = {"epoch": 0, "global_step": 0, "pytorch-lightning_version": "1.0.8"}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    alone = {name: tensor.cpu() for name, tensor in prior.alone(model).items()}
    contents |= {SECTION: alone} if alone else {}
    torch.save({**contents, "state_dict": whole}, out / "checkpoints" / "last.ckpt")
    return ()
