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

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from smalti.errors import UserError, optional
from smalti.formats.onnx import checking, describing, draw, graphs
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer

QUANTIZERS = ("vq", "ema", "gumbel", "fsq", "remapped")
PRIORS = ("gpt", "modern", "llamagen")
WEIGHTS = "prior.data"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_SMALL, _ALIGNED = 1024, 64  # bytes: of tensors that stay in a graph's own file; of places in WEIGHTS


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
        graphs.traced(graph).save(out / f"{name}.onnx")
    if isinstance(model, Pipeline):
        of_prior = graphs.of_prior(model.prior, tokenizer.codebook_size)
        _save_together({name: graphs.traced(graph).model_proto for name, graph in of_prior.items()}, out)
        parts |= of_prior
        for name, text in model.condition.files().items():
            (out / "condition").mkdir(exist_ok=True)
            (out / "condition" / name).write_text(text, encoding="utf-8")
    shutil.copyfile(draw.__file__, out / "draw.py")
    about = describing.about(model, parts, out)
    _save(about, out)
    about["checked"] = checking.check(model, out)
    _save(about, out)
    (out / "README.md").write_text(describing.card(about), encoding="utf-8")
    return checking.told(about["checked"])


def _check(model: Tokenizer | Pipeline, tokenizer: Tokenizer) -> None:
    kind = tokenizer.settings.quantizer.kind
    if kind not in QUANTIZERS:
        expected = f"a tokenizer with codes of a kind that onnx has ({', '.join(QUANTIZERS)})"
        raise UserError(expected, f"quantizer.kind={kind}", "keep the model folder")
    if isinstance(model, Pipeline) and model.settings.prior.kind not in PRIORS:
        expected = f"a prior of a kind that onnx has ({', '.join(PRIORS)})"
        remedy = "smalti export MODEL/tokenizer OUT --format onnx, its tokenizer alone"
        raise UserError(expected, f"prior.kind={model.settings.prior.kind}", remedy)


def _save(about: Mapping[str, Any], out: Path) -> None:
    (out / "model.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _save_together(models: Mapping[str, Any], out: Path) -> None:
    """Write graphs whose weights are the same: these once, in a file beside them. models: ONNX's, changed."""
    helper = optional("onnx.external_data_helper", extra="onnx")
    places: dict[bytes, int] = {}
    with (out / WEIGHTS).open("wb") as file:
        for tensor in (one for model in models.values() for one in model.graph.initializer):
            raw = tensor.raw_data
            if len(raw) < _SMALL:
                continue
            digest = hashlib.sha256(raw).digest()
            if digest not in places:
                file.write(bytes(-file.tell() % _ALIGNED))
                places[digest] = file.tell()
                file.write(raw)
            helper.set_external_data(tensor, WEIGHTS, offset=places[digest], length=len(raw))
            tensor.ClearField("raw_data")
    for name, model in models.items():
        (out / f"{name}.onnx").write_bytes(model.SerializeToString())
