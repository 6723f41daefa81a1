"""A training that begins with a model which is there: fine-tuning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from smalti import config, library
from smalti.errors import UserError
from smalti.files import as_path
from smalti.generator import Generator
from smalti.losses.patchgan import PatchGANSettings
from smalti.training.prior_task import PriorTask
from smalti.training.tokenizer_task import TokenizerTask

KEY = "init_from"
_FIXED = {  # what the model has settled, by the recipe's kind
    "tokenizer": ("network", "quantizer", "quantize_from"),
    "prior": ("prior", "condition", "order", "size"),
}


def settle(mapping: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's mapping in which what the model `init_from` has settled is as it is there.

    asked: what the user asks in place of the recipe's; UserError where the model has settled that.
    """
    if mapping.get(KEY) is None:
        return dict(mapping)
    kind = str(mapping.get("kind", "tokenizer"))
    clash = [name for name in asked if name.partition(".")[0] in _FIXED.get(kind, ())]
    if clash:
        expected = f"settings that a model which is there leaves open ({KEY})"
        raise UserError(expected, clash[0], f"leave {clash[0]} out, or {KEY}")
    path = as_path(mapping[KEY], KEY)
    found = _prior(path) if kind == "prior" else _tokenizer(path)
    if kind == "prior":
        found = {key: value for key, value in found.items() if key not in asked}
    return {**mapping, **found, **_critic(mapping, path, kind)}


def fill(task: TokenizerTask | PriorTask, path: Path) -> None:
    """Give a task the weights of the model, and of the critic beside it."""
    model = library.load(path)
    if isinstance(task, PriorTask):
        assert isinstance(model, Generator), "settle has looked"
        assert isinstance(model.prior, nn.Module), "a prior has weights"
        assert isinstance(task.generator.prior, nn.Module), "a prior has weights"
        task.generator.prior.load_state_dict(model.prior.state_dict())
        return
    tokenizer = model.tokenizer if isinstance(model, Generator) else model
    task.tokenizer.load_state_dict(tokenizer.state_dict())
    critic = library.load_critic(path)
    if task.critic is not None and critic:
        task.critic.load_state_dict(critic)


def _tokenizer(path: Path) -> dict[str, Any]:
    model = library.load(path)
    how = (model.tokenizer if isinstance(model, Generator) else model).settings
    if how.image_range != "-1..1":
        remedy = "this version trains no models for other ranges"
        raise UserError("a tokenizer for pictures in [-1, 1]", f"{path} for {how.image_range}", remedy)
    quantizer = config.dump(how.quantizer)
    if "kmeans_start" in quantizer:  # its entries are there
        quantizer["kmeans_start"] = False
    found = {"network": config.dump(how.network), "quantizer": quantizer, "quantize_from": 0}
    return found | ({"content": "segmentation"} if how.content == "segmentation" else {})


def _prior(path: Path) -> dict[str, Any]:
    model, folder = library.load(path), library.find(path)
    if not isinstance(model, Generator):
        remedy = f"tokenizer={path} trains a new prior on it"
        raise UserError("a model with a prior", f"the tokenizer {path}", remedy)
    how = model.settings
    found: dict[str, Any] = {"prior": config.dump(how.prior), "condition": config.dump(how.condition)}
    found |= {"order": how.order, "size": list(model.crop_size)}
    found["tokenizer"] = str(folder / library.TOKENIZER)
    maps = folder / library.CONDITION
    return found | ({"condition_tokenizer": str(maps)} if maps.is_dir() else {})


def _critic(mapping: Mapping[str, Any], path: Path, kind: str) -> dict[str, Any]:
    """The recipe's losses with a critic of the size of the one that is there, if both have one."""
    losses = mapping.get("losses", {})
    state = library.load_critic(path) if kind == "tokenizer" else {}
    if not state or not losses.get("adversarial"):
        return {}
    sizes = config.dump(PatchGANSettings.of(state))
    return {"losses": {**losses, "adversarial": {**losses["adversarial"], "patchgan": sizes}}}
