"""What lies in an exported folder: for programs (model.json), and for people (README.md)."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from smalti.conditions.context import Padded, Prefix
from smalti.errors import UserError, optional
from smalti.formats.onnx.graphs import OPSET, Graph
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer

FORMAT = 1
_PACKAGES = ("smalti", "torch", "onnx", "onnxscript", "onnxruntime")


def about(model: Tokenizer | Pipeline, parts: Mapping[str, Graph], out: Path) -> dict[str, Any]:
    """Return what model.json says, but for the check. out: the folder with its graphs."""
    tokenizer = model if isinstance(model, Tokenizer) else model.tokenizer
    found: dict[str, Any] = {
        "format": FORMAT,
        "kind": model.kind,
        "model": model.fingerprint,
        "opset": OPSET,
        "made_with": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "graphs": {name: _sides(out / f"{name}.onnx") for name in parts},
        "tokenizer": {
            "model": tokenizer.fingerprint,
            "factor": tokenizer.factor,
            "codebook_size": tokenizer.codebook_size,
            "quantizer": tokenizer.settings.quantizer.kind,
            "content": tokenizer.settings.content,
            "images": "float32 (b c H W), H and W multiples of the factor, "
            + ("in: 1 in its class's channel, 0 elsewhere; out: the classes' logits"
               if tokenizer.settings.content == "segmentation"
               else "in [-1, 1]; decoded ones are around it, not clipped"),
            "codes": f"int64 (b h w), row-major, 0 to {tokenizer.codebook_size - 1}",
        },
    }  # fmt: skip
    return found | ({"prior": _prior(model)} if isinstance(model, Pipeline) else {})


def _sides(path: Path) -> dict[str, Any]:
    """Return a graph's file, and the type and shape of what goes in and comes out, by name."""
    onnx = optional("onnx", extra="onnx")
    graph = onnx.load(path, load_external_data=False).graph

    def told(values: Any) -> dict[str, Any]:
        found = {}
        for value in values:
            kind = value.type.tensor_type
            shape = [side.dim_param or side.dim_value for side in kind.shape.dim]
            found[value.name] = {
                "type": onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
                "shape": shape,
            }
        return found

    return {"file": path.name, "inputs": told(graph.input), "outputs": told(graph.output)}


def _prior(model: Pipeline) -> dict[str, Any]:
    scope, grid = model.prior.scope, model.prior.scope.grid
    return {
        "kind": model.settings.prior.kind,
        "grid": list(grid),
        "other_grids": [list(one) for one in model.settings.grids[1:]],  # not in these graphs
        "order": model.order_of(grid).tolist(),
        "condition": model.settings.condition.kind,
        "prefix": {
            "length": scope.prefix_length,
            "vocabulary": scope.prefix_vocabulary if scope.prefix_features is None else None,
            "features": scope.prefix_features,
            "has_filled": scope.prefix_is_padded,
        },
        "prefixes": _prefixes(model, grid),
        "null": _null(model, grid),
    }


def _prefixes(model: Pipeline, grid: tuple[int, int]) -> dict[str, Any]:
    """Return the prefix of each value where these can be listed: of a class by its name, or the only one."""
    kind, where = model.settings.condition.kind, model.order.device
    if kind not in ("label", "none"):
        return {}
    classes = list(model.classes) if kind == "label" else [""]
    value = classes if kind == "label" else None
    context = model.condition.context(value, num=len(classes), grid=grid, device=where)
    rows = _plain(context.window(0, 0, *grid))["prefix"]
    return dict(zip(map(str, classes), rows, strict=True))


def _null(model: Pipeline, grid: tuple[int, int]) -> dict[str, Any] | None:
    """Return the prefix of one row that says nothing, for guidance; None: the model was trained without."""
    try:
        context = model.condition.null(num=1, grid=grid, device=model.order.device)
    except UserError:
        return None
    return _plain(context.window(0, 0, *grid))


def _plain(prefix: Prefix) -> dict[str, Any]:
    if isinstance(prefix, torch.Tensor):
        return {"prefix": prefix.tolist()}
    assert isinstance(prefix, Padded), "tokens, or padded rows"
    return {"prefix": prefix.values.tolist(), "filled": prefix.mask.tolist()}


def card(about: Mapping[str, Any]) -> str:
    """Return README.md of what model.json says."""
    return ""
