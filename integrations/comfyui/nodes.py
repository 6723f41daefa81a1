"""Nodes of ComfyUI's V3 API for models that draw tokens: load, draw, complete, codes and back.

ComfyUI's images are floats (b H W c) in [0, 1], its masks (b H W), 1 where something is drawn anew. These
types are ours: SMALTI_MODEL, a `Tokenizer` or a `Pipeline`; SMALTI_CODES, {"codes": (b h w) int64,
"tokenizer": the fingerprint of the one that made them}; SMALTI_CONDITION, values by keyword. ComfyUI calls
`execute` of each with the inputs of its schema by name.
"""

from collections.abc import Mapping
from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import ComfyExtension, io
from torch import Tensor

import smalti
from smalti import about, library
from smalti.samples import Samples

from . import values  # noqa: TID252  # see __init__.py

SEED = 2**53 - 1  # the largest whole number that a browser holds without rounding

Model = io.Custom("SMALTI_MODEL")
Codes = io.Custom("SMALTI_CODES")
Told = io.Custom("SMALTI_CONDITION")


class Load(io.ComfyNode):
    """A model that ships, or a model or run folder below ComfyUI's models/smalti."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        kinds = ["fp32", "bf16", "fp16", "auto"]
        return io.Schema(
            node_id="SmaltiLoad",
            display_name="Load smalti model",
            category="smalti",
            description="A model that ships with smalti, or a folder in ComfyUI's models/smalti.",
            inputs=[
                io.Combo.Input("name", options=list(values.models())),
                io.Combo.Input("precision", options=kinds, default="fp32", tooltip="fp32 draws as trained."),
            ],
            outputs=[
                Model.Output(display_name="model"),
                io.String.Output(display_name="about"),
            ],
        )

    @classmethod
    def execute(cls, name: str, precision: str) -> io.NodeOutput:
        """Give the model, on the device that ComfyUI computes on, and what it is in words."""
        model = smalti.load(values.models()[name], comfy.model_management.get_torch_device(), precision)
        return io.NodeOutput(model, "\n".join(about.lines(model, model.provenance)))

    @classmethod
    def fingerprint_inputs(cls, name: str, precision: str) -> str:
        """Return what changes with the folder's weights, so that a newer model is loaded anew."""
        return library.read_config(library.find(values.models()[name]))["fingerprint"]


class Condition(io.ComfyNode):
    """What a model is told besides the text of the nodes that draw: images, boxes, several conditions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        keyword = "As the model calls it (see about): label, text, map, boxes ...; from_image: compute a map."
        value = 'A label, a text, or JSON: [["person", 0.1, 0.2, 0.5, 0.9]]; a list of texts, one an image.'
        return io.Schema(
            node_id="SmaltiCondition",
            display_name="smalti condition",
            category="smalti",
            description="One thing that a model is told, by its keyword; several in a chain.",
            inputs=[
                io.String.Input("keyword", default="map", tooltip=keyword),
                io.String.Input("value", default="", multiline=True, tooltip=value),
                io.Image.Input(
                    "image", optional=True, tooltip="In place of a value: a map, of the size drawn."
                ),
                Told.Input("condition", optional=True, tooltip="What is told besides."),
            ],
            outputs=[Told.Output(display_name="condition")],
        )

    @classmethod
    def execute(
        cls,
        keyword: str,
        value: str,
        image: Tensor | None = None,
        condition: Mapping[str, Any] | None = None,
    ) -> io.NodeOutput:
        """Give all that is told so far, by keyword."""
        found, before = values.told(keyword, value, image), condition or {}
        for name in found.keys() & before.keys():
            raise smalti.UserError("each condition once", f"{name} twice", "give another keyword")
        return io.NodeOutput({**before, **found})


class Sample(io.ComfyNode):
    """New images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        side = {"default": 0, "min": 0, "max": 16384, "tooltip": "In pixels; 0: as in training."}
        return io.Schema(
            node_id="SmaltiSample",
            display_name="smalti sample",
            category="smalti",
            description="Draws new images, cell by cell. Image i has the seed + i.",
            inputs=[
                Model.Input("model"),
                io.Int.Input("width", **side),
                io.Int.Input("height", **side),
                *_drawing(),
            ],
            outputs=_drawn(),
        )

    @classmethod
    def execute(cls, model: Any, width: int, height: int, **asked: Any) -> io.NodeOutput:
        """Give the images and their codes."""
        options, pace = values.options(values.pipeline(model), asked), values.Pace()
        if width or height:
            crop = model.crop_size
            options["size"] = (height or crop[0], width or crop[1])
        return _output(model, list(pace.shown(model.iter_batches(**options, progress=pace))))


class Complete(io.ComfyNode):
    """A part of images anew."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SmaltiComplete",
            display_name="smalti complete",
            category="smalti",
            description="Draws what is masked anew, in whole cells; the rest keeps the codes that it has.",
            inputs=[Model.Input("model"), io.Image.Input("image"), io.Mask.Input("mask"), *_drawing()],
            outputs=_drawn(),
        )

    @classmethod
    def execute(cls, model: Any, image: Tensor, mask: Tensor, **asked: Any) -> io.NodeOutput:
        """Give num images for each of a batch, one after the other, and their codes."""
        options, images = values.options(values.pipeline(model), asked), values.to_pil(image)
        grid = tuple(max(1, side // model.tokenizer.factor) for side in image.shape[1:3])
        masks, pace, parts = values.cells(mask, grid, len(images)), values.Pace(len(images)), []
        for number, (one, where) in enumerate(zip(images, masks, strict=True)):
            options["seed"] = asked["seed"] + number * asked["num"]
            parts += pace.shown(model.iter_batches(image=one, mask=where, **options, progress=pace))
        return _output(model, parts)


class Upscale(io.ComfyNode):
    """Larger images that look like these when shrunk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SmaltiUpscale",
            display_name="smalti upscale",
            category="smalti",
            description="Draws images that look like these when shrunk, by a model trained for that.",
            inputs=[Model.Input("model"), io.Image.Input("image"), *_drawing()],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(cls, model: Any, image: Tensor, **asked: Any) -> io.NodeOutput:
        """Give num images for each of a batch, one after the other."""
        options, images = values.options(values.pipeline(model), asked), values.to_pil(image)
        pace, parts = values.Pace(len(images)), []
        for number, one in enumerate(images):
            options["seed"] = asked["seed"] + number * asked["num"]
            parts += pace.shown(model.iter_upscaled(one, **options, progress=pace))
        return io.NodeOutput(values.to_comfy(torch.cat([part.tensors for part in parts])))


class Encode(io.ComfyNode):
    """Images become codes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SmaltiEncode",
            display_name="smalti encode",
            category="smalti/codes",
            description="A code for each cell of the images; sides are multiples of the model's factor.",
            inputs=[Model.Input("model"), io.Image.Input("image")],
            outputs=[Codes.Output(display_name="codes")],
        )

    @classmethod
    def execute(cls, model: Any, image: Tensor) -> io.NodeOutput:
        """Give the codes."""
        tokenizer = values.tokenizer(model)
        return io.NodeOutput(values.to_codes(tokenizer, tokenizer.encode(values.to_pil(image))))


class Decode(io.ComfyNode):
    """Codes become images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SmaltiDecode",
            display_name="smalti decode",
            category="smalti/codes",
            description="What the codes stand for, by the model that made them.",
            inputs=[Model.Input("model"), Codes.Input("codes")],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(cls, model: Any, codes: Mapping[str, Any]) -> io.NodeOutput:
        """Give the images."""
        tokenizer = values.tokenizer(model)
        if codes["tokenizer"] != tokenizer.fingerprint:
            got = f"those of {codes['tokenizer']}"
            remedy = "decode them by the model that encoded them"
            raise smalti.UserError(f"codes of the tokenizer {tokenizer.fingerprint}", got, remedy)
        return io.NodeOutput(values.to_comfy(tokenizer.decode(codes["codes"])))


class Mix(io.ComfyNode):
    """Codes of two images in one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SmaltiMix",
            display_name="smalti mix codes",
            category="smalti/codes",
            description="The second's codes where the mask is 1, the first's elsewhere.",
            inputs=[Codes.Input("first"), Codes.Input("second"), io.Mask.Input("mask")],
            outputs=[Codes.Output(display_name="codes")],
        )

    @classmethod
    def execute(cls, first: Mapping[str, Any], second: Mapping[str, Any], mask: Tensor) -> io.NodeOutput:
        """Give the codes of both; a batch of one is used for all of the other's."""
        one, two = first["codes"], second["codes"]
        if first["tokenizer"] != second["tokenizer"] or one.shape[1:] != two.shape[1:]:
            sizes = ["{} x {}".format(*codes.shape[1:]) for codes in (one, two)]
            got = f"{sizes[0]} of {first['tokenizer']}, {sizes[1]} of {second['tokenizer']}"
            raise smalti.UserError("codes of one tokenizer and of one size", got, "encode both by one model")
        where = values.cells(mask, tuple(one.shape[1:]), max(len(one), len(two)))
        return io.NodeOutput({**first, "codes": two.where(where, one)})


class Reconstruct(io.ComfyNode):
    """Images as their codes tell them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SmaltiReconstruct",
            display_name="smalti reconstruct",
            category="smalti/codes",
            description="What a model's tokenizer keeps of images: encoded and decoded again.",
            inputs=[Model.Input("model"), io.Image.Input("image")],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(cls, model: Any, image: Tensor) -> io.NodeOutput:
        """Give the images."""
        return io.NodeOutput(values.to_comfy(values.tokenizer(model).reconstruct(values.to_pil(image))))


class Smalti(ComfyExtension):
    """The pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return its nodes."""
        return [Load, Condition, Sample, Complete, Upscale, Encode, Decode, Mix, Reconstruct]


async def comfy_entrypoint() -> Smalti:
    """Return the pack to ComfyUI."""
    return Smalti()


def _drawing() -> list[io.Input]:
    """Return the inputs of every node that draws."""
    text = "What is drawn: a text, or a label, as the model takes it; of a JSON list one an image."
    more = "Others, as min_p=0.05 stride=4 micro_batch=8 mix=left-right, and what the model's prior takes."
    seed = {"default": 0, "min": 0, "max": SEED, "control_after_generate": True}
    guidance = {"default": 1.0, "min": 0.0, "max": 30.0, "step": 0.1, "tooltip": "1 is off."}
    return [
        io.String.Input("text", default="", multiline=True, tooltip=text),
        io.Int.Input("seed", **seed, tooltip="Of the first image; the next one has the next."),
        io.Int.Input("num", default=1, min=1, max=1024, tooltip="How many images."),
        io.Float.Input("guidance", **guidance),
        io.Float.Input("temperature", default=1.0, min=0.0, max=5.0, step=0.05, tooltip="Below 1: safer."),
        io.Int.Input("top_k", default=0, min=0, max=2**20, tooltip="The likeliest codes alone; 0 is off."),
        io.Float.Input("top_p", default=1.0, min=0.01, max=1.0, step=0.01, tooltip="1 is off."),
        io.String.Input("more", default="", optional=True, tooltip=more),
        Told.Input("condition", optional=True),
    ]


def _drawn() -> list[io.Output]:
    """Return the outputs of nodes that draw."""
    return [io.Image.Output(display_name="images"), Codes.Output(display_name="codes")]


def _output(model: smalti.Pipeline, parts: list[Samples]) -> io.NodeOutput:
    """Return drawn images and their codes, of all batches."""
    images = torch.cat([part.tensors for part in parts])
    codes = values.to_codes(model.tokenizer, torch.cat([part.codes for part in parts]))
    return io.NodeOutput(values.to_comfy(images), codes)
