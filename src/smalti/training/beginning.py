"""A training that begins with a model which is there: fine-tuning."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from smalti import config, library
from smalti.errors import UserError
from smalti.losses.patchgan import PatchGANSettings
from smalti.pipeline import Pipeline, tokenizer_of
from smalti.reading.labels import LabelReading
from smalti.sizes import plain
from smalti.tokenizer import Tokenizer
from smalti.training.prior_task import PriorTask
from smalti.training.tokenizer_task import TokenizerTask

KEY = "init_from"
_FIXED = {  # what the model has settled, by the recipe's kind
    "tokenizer": ("network", "quantizer", "quantize_start"),
    "prior": ("prior", "condition", "order", "size"),
}


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A model that is there, each of its files read once."""

    path: Path  # as the user named it
    folder: Path  # the model folder
    model: Tokenizer | Pipeline
    discriminator: Mapping[str, Tensor]  # empty where there is none

    @classmethod
    def read(cls, path: Path) -> "Beginning":
        """Read it from its model folder or its run folder."""
        folder = library.find(path)
        return cls(
            path=path,
            folder=folder,
            model=library.load(folder),
            discriminator=library.load_discriminator(folder),
        )

    @property
    def tokenizer(self) -> Tokenizer:
        """Return the model, or what it draws with."""
        return tokenizer_of(self.model)

    @property
    def parts(self) -> dict[Path, Tokenizer]:
        """Return the tokenizers of a prior, by their folders."""
        if not isinstance(self.model, Pipeline):
            return {}
        return {self.folder / name: part for name, part in library.tokenizers(self.model).items()}


def settle(mapping: Mapping[str, Any], asked: Mapping[str, Any], begun: Beginning | None) -> dict[str, Any]:
    """Return a recipe's mapping with what the model `init_from`, read in `begun`, has settled.

    asked: what the user asks in place of the recipe's; UserError where the model has settled that.
    """
    if begun is None:
        return dict(mapping)
    kind = str(mapping.get("kind", "tokenizer"))
    clash = [name for name in asked if name.partition(".")[0] in _FIXED.get(kind, ())]
    if clash:
        expected = f"settings that a model which is there leaves open ({KEY})"
        raise UserError(expected, clash[0], f"leave {clash[0]} out, or {KEY}")
    found = _prior(begun) if kind == "prior" else _tokenizer(begun, mapping)
    if kind == "prior":
        found = {key: value for key, value in found.items() if key not in asked}
    return {**mapping, **found, **_discriminator(mapping, begun.discriminator, kind)}


def fill(task: TokenizerTask | PriorTask, begun: Beginning) -> None:
    """Give a task the weights of the model, and of the discriminator beside it."""
    if isinstance(task, PriorTask):
        model = begun.model
        assert isinstance(model, Pipeline), "settle has looked"
        task.pipeline.prior.load_state_dict(model.prior.state_dict())
        if model.condition.own is model.condition:  # else its part is there already
            task.pipeline.condition.load_state_dict(model.condition.state_dict())
            task.pipeline.condition.take(model.condition.files())
        return
    task.tokenizer.load_state_dict(begun.tokenizer.state_dict())
    if task.discriminator is not None and begun.discriminator:
        task.discriminator.load_state_dict(begun.discriminator)


def _tokenizer(begun: Beginning, mapping: Mapping[str, Any]) -> dict[str, Any]:
    how = begun.tokenizer.settings
    if how.image_range != "-1..1":
        remedy = "this version trains no models for other ranges"
        raise UserError("a tokenizer for images in [-1, 1]", f"{begun.path} for {how.image_range}", remedy)
    quantizer = config.dump(how.quantizer.begun())  # its entries are there
    found = {"network": config.dump(how.network), "quantizer": quantizer, "quantize_start": 0}
    found |= {"content": "segmentation"} if how.content == "segmentation" else {}
    return found | ({"data": _labels(mapping.get("data", {}), how.labels)} if how.labels else {})


def _labels(data: Mapping[str, Any], kept: LabelReading) -> dict[str, Any]:
    """Return a recipe's data, whose label maps, if they hold some, are read as the model's were."""
    if data.get("kind") not in ("maps", "pairs"):
        return dict(data)
    found = {"merge": kept.merge, "shift": kept.shift}
    for name, known in found.items():
        if data.get(name) not in (None, known):
            expected = f"data.{name}={str(known).lower()}, with which the model was trained"
            raise UserError(expected, str(data[name]).lower(), f"leave data.{name} out, or {KEY}")
    return {**data, **found}


def _prior(begun: Beginning) -> dict[str, Any]:
    model = begun.model
    if not isinstance(model, Pipeline):
        remedy = f"tokenizer={begun.path} trains a new prior on it"
        raise UserError("a model with a prior", f"the tokenizer {begun.path}", remedy)
    how = model.settings
    found: dict[str, Any] = {"prior": config.dump(how.prior), "condition": config.dump(how.condition)}
    found |= {"order": how.order, "size": plain(model.crop_sizes)}
    own = begun.folder / library.TOKENIZER
    return found | {
        "tokenizer" if folder == own else "condition_tokenizer": str(folder) for folder in begun.parts
    }


def _discriminator(mapping: Mapping[str, Any], state: Mapping[str, Tensor], kind: str) -> dict[str, Any]:
    """Return the recipe's losses with a discriminator of the size of the one there, if both have one."""
    losses = mapping.get("losses", {})
    if kind != "tokenizer" or not state or not losses.get("adversarial"):
        return {}
    sizes = config.dump(PatchGANSettings.of(state))
    return {"losses": {**losses, "adversarial": {**losses["adversarial"], "patchgan": sizes}}}
