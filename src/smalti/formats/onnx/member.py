"""A model of ours as ONNX graphs in a folder: images to codes, codes to images, and a prior's steps.

folder/
  encoder.onnx  decoder.onnx   the tokenizer: any batch, any sides that are multiples of the factor
  prefill.onnx  step.onnx      of a generator: its prior, any batch; their weights lie once in prior.data
  model.json                   names, shapes, ranges, which model it is, and how the graphs were checked
  draw.py                      how the graphs are used, by numpy and onnxruntime alone
  check.npz                    images and the codes that torch gave: draw.py compares them on any machine
  condition/                   of a generator that is told texts: its vocabulary
  README.md                    the same for people

The noise of a draw stays outside of the graphs: see draw.py.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from smalti.drawing.cache import Cache
from smalti.errors import UserError, optional
from smalti.formats.onnx import checking, describing, draw, graphs
from smalti.pipeline import Pipeline
from smalti.priors.causal import Causal
from smalti.priors.protocol import Prior
from smalti.tokenizer import Tokenizer

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# bytes: of tensors that stay in a graph's file even so; of places in a file of weights; of a graph's own
# file, which protobuf limits to 2 GiB
_SMALL, _ALIGNED, _LARGE = 2**10, 2**6, 2**30


def write(model: Tokenizer | Pipeline, out: Path, discriminator: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Write the folder, compare what onnxruntime gives of it with torch, and return what came of that.

    UserError for a model that has no such graphs, without the packages, and where codes are others than
    torch's though nothing ties.
    """
    tokenizer = model if isinstance(model, Tokenizer) else model.tokenizer
    _check(model, tokenizer)
    for package in _PACKAGES:
        optional(package, extra="onnx")
    parts = graphs.of_tokenizer(tokenizer)
    for name, graph in parts.items():
        _save_graphs({name: graphs.traced(graph)}, out, f"{name}.data", apart=False)
    if isinstance(model, Pipeline):
        of_prior = graphs.of_prior(model.prior, tokenizer.codebook_size)
        traced = {name: graphs.traced(graph) for name, graph in of_prior.items()}
        _save_graphs(traced, out, "prior.data", apart=True)
        parts |= of_prior
        for name, text in model.condition.files().items():
            (out / "condition").mkdir(exist_ok=True)
            (out / "condition" / name).write_text(text, encoding="utf-8")
    shutil.copyfile(draw.__file__, out / "draw.py")
    about = describing.about(model, parts, out)
    _save(about, out)
    about["checked"] = checking.check(model, out)
    _save(about, out)
    told = checking.told(about["checked"])
    (out / "README.md").write_text(describing.card(about, told), encoding="utf-8")
    return told


def _check(model: Tokenizer | Pipeline, tokenizer: Tokenizer) -> None:
    if not tokenizer.has_codes:
        got = f"quantizer.kind={tokenizer.settings.quantizer.kind}"
        raise UserError("a tokenizer with codes", got, "keep the model folder")
    if isinstance(model, Pipeline) and not _has_steps(model.prior):
        expected = "a prior that draws code by code from keys and values alone (gpt, modern, llamagen)"
        remedy = "smalti export MODEL/tokenizer OUT --format onnx, its tokenizer alone"
        raise UserError(expected, f"prior.kind={model.settings.prior.kind}", remedy)


def _has_steps(prior: Prior) -> bool:
    """Return whether its cache is one that a graph can be given: others hold more than keys and values."""
    return isinstance(prior, Causal) and type(prior.new_cache(1)) is Cache


def _save(about: Mapping[str, Any], out: Path) -> None:
    (out / "model.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _save_graphs(models: Mapping[str, Any], out: Path, weights: str, *, apart: bool) -> None:
    """Write ONNX's models, each weight once.

    apart: in a file of this name beside them; else so only where they are too large for files of their own.
    """
    helper = optional("onnx.external_data_helper", extra="onnx")
    tensors = [one for model in models.values() for one in model.graph.initializer]
    apart = apart or sum(len(one.raw_data) for one in tensors) > _LARGE
    places: dict[bytes, int] = {}
    with contextlib.ExitStack() as stack:
        file = stack.enter_context((out / weights).open("wb")) if apart else None
        for tensor in tensors:
            raw = tensor.raw_data
            if file is None or len(raw) < _SMALL:
                continue
            digest = hashlib.sha256(raw).digest()
            if digest not in places:
                file.write(bytes(-file.tell() % _ALIGNED))
                places[digest] = file.tell()
                file.write(raw)
            helper.set_external_data(tensor, weights, offset=places[digest], length=len(raw))
            tensor.ClearField("raw_data")
    for name, model in models.items():
        (out / f"{name}.onnx").write_bytes(model.SerializeToString())
