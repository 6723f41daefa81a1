"""What lies in an exported folder: for programs (model.json), and for people (README.md)."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from smalti.conditions.context import Padded, Prefix
from smalti.errors import UserError, optional
from smalti.formats.onnx.graphs import OPSET, Graph
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer

FORMAT = 1
_DRAWING = "codes = model.draw(prefix, seeds=range(len(prefix)), top_p=0.95)"
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


def card(about: Mapping[str, Any], told: Sequence[str]) -> str:
    """Return README.md, of what model.json says and of the check's lines."""
    tokenizer, prior = about["tokenizer"], about.get("prior")
    lines = [
        f"# The {about['kind']} {about['model']} as ONNX graphs",
        "",
        f"Factor {tokenizer['factor']}, {tokenizer['codebook_size']} codes."
        " `model.json` says the same for programs.",
        "",
        "| graph | takes | gives |",
        "|---|---|---|",
        *(_row(graph) for graph in about["graphs"].values()),
        "",
        f"Images: {tokenizer['images']}. Codes: {tokenizer['codes']}.",
        "`draw.py` shows how the graphs are used, by numpy and onnxruntime alone:",
        "",
        "```python",
        "from draw import Model",
        "",
        'model = Model(".")',
        *((_DRAWING if prior else "codes = model.encode(images)"),),
        "images = model.decode(codes)",
        "```",
        "",
        "## Checked as it was written",
        "",
        *(f"- {line}" for line in told),
        "",
        f"By {about['checked']['runtime']}. Once more, on any machine: `python draw.py [PROVIDER ...]`.",
    ]
    return "\n".join(lines + (_of_prior(prior) if prior else [])) + "\n"


def _row(graph: Mapping[str, Any]) -> str:
    """Return a line of the table; keys and values of the layers after the first are left out."""

    def told(sides: Mapping[str, Any]) -> str:
        shown = (name for name in sides if not name[-1].isdigit() or name.endswith("_0"))
        return ", ".join(
            f"{name} {sides[name]['type']} ({', '.join(map(str, sides[name]['shape']))})" for name in shown
        )

    return f"| `{graph['file']}` | {told(graph['inputs'])} | {told(graph['outputs'])} |"


def _of_prior(prior: Mapping[str, Any]) -> list[str]:
    prefix = prior["prefix"]
    what = f"{prefix['features']} numbers" if prefix["features"] else f"a token below {prefix['vocabulary']}"
    told = f"{prefix['length']} places of {what} each"
    told += ", and filled, which says how many from the first on count" if prefix["has_filled"] else ""
    height, width = prior["grid"]
    return [
        "",
        "## Drawing",
        "",
        f"An image has {height} x {width} cells, which are drawn in the order of `model.json`. What it is of"
        f" (condition: {prior['condition']}) is told as a prefix: {told}."
        " `prefixes` of `model.json` lists them where there are few; else the caller makes them, with smalti:"
        " `pipe.condition.context(value, num=1, grid=grid, device='cpu').window(0, 0, *grid)`.",
        "",
        "`prefill` gives the logits of the first code and a cache with room for all; `step` takes more codes,"
        " the places where they begin (`starts`, a number a row: the prefix's length at first) and the cache,"
        " and gives the logits after each code and the cache anew: `new_keys_0` goes in again as `keys_0`."
        " Draws are made outside of the graphs: `choose` in `draw.py`, which gives smalti's images for a seed"
        " but where codes tie within rounding.",
    ]
