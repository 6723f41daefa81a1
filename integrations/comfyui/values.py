"""What passes between ComfyUI and smalti: images, masks, codes, options, progress."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import smalti
from smalti import config, imaging, library, shipped
from smalti.drawing.request import OPTIONS
from smalti.samples import Samples

FOLDER = "smalti"  # below ComfyUI's models, and the key for others in extra_model_paths.yaml
PREVIEW = 512  # pixels of a preview's longer side
INPUTS = {"seed", "num", "temperature", "top_k", "top_p"}  # options of drawing that nodes have inputs for

folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


def models() -> dict[str, Path]:
    """Return name -> folder of the models that ship and of those in ComfyUI's folders, which come first."""
    found = dict(shipped.models())
    for root in map(Path, reversed(folder_paths.get_folder_paths(FOLDER))):
        found |= {path.name: path for path in root.glob("*/") if _is_model(path)}
    return dict(sorted(found.items()))


def pipeline(model: Any) -> smalti.Pipeline:
    """Return a model that can draw; UserError for a tokenizer alone."""
    if not isinstance(model, smalti.Pipeline):
        raise smalti.UserError("a model with a prior", "a tokenizer alone", "load one that draws")
    return model


def tokenizer(model: Any) -> smalti.Tokenizer:
    """Return a tokenizer of images, alone or out of a model with a prior; UserError for one of classes."""
    found: smalti.Tokenizer = model.tokenizer if isinstance(model, smalti.Pipeline) else model
    if found.settings.content == "segmentation":
        raise smalti.UserError("a tokenizer of images", "one of label maps", "load another model")
    return found


def to_pil(images: Tensor) -> list[Image.Image]:
    """Return ComfyUI's images (b H W c) in [0, 1] as Pillow's of 8 bits, as its own nodes save them."""
    pixels = (images.detach().float().cpu() * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return [Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one) for one in pixels]


def to_comfy(images: Tensor) -> Tensor:
    """Return a decoder's images (b c H W) around [-1, 1] as ComfyUI's: (b H W 3) in [0, 1], on the CPU.

    In the steps of 8 bits, so that what ComfyUI saves has the pixels that smalti saves.
    """
    pixels = imaging.to_uint8(imaging.visible(images)).cpu().permute(0, 2, 3, 1)
    return pixels.float().div(255).expand(-1, -1, -1, 3).contiguous()


def to_codes(made_by: smalti.Tokenizer, codes: Tensor) -> dict[str, Any]:
    """Return codes as our type SMALTI_CODES, on the CPU."""
    return {"codes": codes.cpu(), "tokenizer": made_by.fingerprint}


def cells(mask: Tensor, grid: tuple[int, int], count: int) -> Tensor:
    """Return which cells of count images are drawn anew, bool (count h w), of ComfyUI's masks (b H W).

    A mask of another size is stretched; a cell counts where any of its pixels is at least a half. One mask
    is for all images. UserError for another number of masks.
    """
    masks = mask.reshape(-1, 1, *mask.shape[-2:]).float().cpu()
    if len(masks) not in (1, count):
        raise smalti.UserError(f"one mask, or {count} of them", str(len(masks)), "give one for each image")
    return F.adaptive_max_pool2d(masks, grid)[:, 0].expand(count, *grid) >= 0.5


def told(keyword: str, value: str, image: Tensor | None) -> dict[str, Any]:
    """Return a condition's value by its keyword; UserError for a value beside an image, or none."""
    if (image is None) == (not value.strip()):
        got = "none" if image is None else "both"
        raise smalti.UserError("a value or an image", got, "give one of them")
    if image is None:
        return {keyword.strip(): _words(value)}
    maps = [_gray_if_it_is(one) for one in to_pil(image)]
    return {keyword.strip(): maps[0] if len(maps) == 1 else maps}


def options(model: smalti.Pipeline, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `iter_batches` for what a node that draws was asked, by the names of its inputs.

    The text is for the first condition that is no image and not told yet. UserError as in `_check`, and for
    other options that are none.
    """
    given, named = dict(asked.get("condition") or {}), model.condition.named
    if asked["text"].strip():
        free = [name for name, one in named.items() if name not in given and one.settings.kind != "map"]
        if not free:
            takes = " and ".join(named) or "nothing"
            got = f"a text beside {', '.join(given) or 'it'}"
            raise smalti.UserError(f"no more than this model is told: {takes}", got, "empty the text")
        given[free[0]] = _words(asked["text"])
    for name, value in given.items():
        _check(name, value, model)
    found = {name: asked[name] for name in INPUTS} | {"guidance_scale": asked["guidance"]}
    off = {name: None for name, one in (("top_k", 0), ("top_p", 1)) if asked[name] == one}
    return {**found, **off, **_more(model, asked.get("more", "")), **given}


class Pace:
    """Tells ComfyUI how far drawing is, and stops where its user asks for that: `progress` of a drawing."""

    def __init__(self, drawings: int = 1) -> None:
        """drawings: how many follow, each of as many cells."""
        self._drawings, self._bar = drawings, None

    def __call__(self, total: int, more: int) -> None:
        """Take in that `more` of a drawing's cells are there, `total` in all; or stop."""
        comfy.model_management.throw_exception_if_processing_interrupted()  # its bar does so at times only
        if self._bar is None:
            self._bar = comfy.utils.ProgressBar(total * self._drawings)
        self._bar.update(more)

    def shown(self, drawing: Iterable[Samples]) -> Iterator[Samples]:
        """Give the batches of a drawing, each shown as soon as it is there."""
        for part in drawing:
            images = to_pil(to_comfy(part[:1].tensors))
            self._bar.update_absolute(self._bar.current, self._bar.total, ("JPEG", images[0], PREVIEW))
            yield part


def _check(name: str, value: Any, model: smalti.Pipeline) -> None:
    """UserError for a keyword that is no condition, and for a text in an image's place: a file's path."""
    named = model.condition.named
    if name not in named and name != "from_image":
        takes = " and ".join(named) or "nothing"
        raise smalti.UserError(f"a condition of this model, which is told {takes}", name, "leave it out")
    several = value if isinstance(value, list) and value else [value]
    is_image = all(isinstance(one, Image.Image) for one in several)
    if (name == "from_image" or named[name].settings.kind == "map") != is_image:
        what, got = ("a value", "an image") if is_image else ("an image", repr(value))
        raise smalti.UserError(f"{what} for {name}", got, "connect another condition")


def _is_model(path: Path) -> bool:
    try:
        library.find(path)
    except smalti.UserError:
        return False
    return True


def _words(text: str) -> Any:
    """Return a text as it is, or what JSON says: a list or a mapping."""
    if text.strip()[:1] not in ("[", "{"):
        return text.strip()
    try:
        return json.loads(text)
    except ValueError as problem:
        raise smalti.UserError("JSON, as it begins with a bracket", str(problem), "mend it") from None


def _gray_if_it_is(image: Image.Image) -> Image.Image:
    """Return an image without colours as gray: ComfyUI has three channels of label maps too."""
    bands = image.split()
    return bands[0] if image.mode == "RGB" and bands[0] == bands[1] == bands[2] else image


def _more(model: smalti.Pipeline, text: str) -> dict[str, Any]:
    """Return other options of drawing, of key=value words; UserError for what is none."""
    try:
        found = config.overrides(shlex.split(text))
    except ValueError as problem:  # a quote that does not end
        raise smalti.UserError("key=value words", str(problem), "end the quote") from None
    known = {*OPTIONS, *(field.name for field in fields(model.prior.options))} - {
        "progress",
        "size",
        "wanted",
        *INPUTS,
    }
    for name in found.keys() - known:
        raise smalti.UserError(f"more of {', '.join(sorted(known))}", f"{name}=", "leave it out")
    return found
