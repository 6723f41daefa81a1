"""Our own model folders: config.json + model.safetensors, and nothing pickled.

folder/
  config.json         format, kind, settings, fingerprint, provenance
  model.safetensors   the weights
  README.md           the model card, for people
  discriminator.safetensors  of a tokenizer whose training is to go on: the discriminator
  tokenizer/          of a generator: its tokenizer, a model folder by itself
  condition/          and what its condition has of its own: a tokenizer, a model folder by itself, or
                      weights; of several conditions a folder each, by name
"""

import glob
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from smalti import about, config, devices, leftovers, old_names, precision, shipped
from smalti.conditions.protocol import Condition
from smalti.errors import UserError, shown
from smalti.files import as_path, feed, read_texts, save_tensors
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.pretrained import Unfilled, check_shapes
from smalti.sizes import Sides, listed
from smalti.tokenizer import Tokenizer, TokenizerSettings

FORMAT = 1
CONFIG, WEIGHTS, TOKENIZER, CONDITION = "config.json", "model.safetensors", "tokenizer", "condition"
DISCRIMINATOR, CARD = "discriminator.safetensors", "README.md"
_OURS = ("settings.yaml", "model", "index.json")  # in a run folder or a folder of token shards
_MARKS = (  # in other programs' folders that have no config.json
    "*.safetensors", "*.ckpt", "*.pt", "*.pth", "*.bin", "*.msgpack", "*.gguf", "*.onnx", "*.h5", "*.keras",
    "*.npz", "*.pb", "*.distcp", "*.data-?????-of-?????", "*.index.json", "model_index.json", ".metadata",
    "zero_to_fp32.py", "_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", ".zarray", "*/.zarray",
    "*/_METADATA", "*/manifest.ocdbt", "vae/config.json", "vqvae/config.json", "movq/config.json",
)  # fmt: skip
_YOUNGER = {"pixels", "labels"}  # settings that the first model folders lack

Part = Tokenizer | Pipeline | Condition  # what a folder with a config.json holds


def load(
    path: str | Path | Any,
    device: str | torch.device | Any = "cpu",
    dtype: torch.dtype | str | Any = torch.float32,
) -> Tokenizer | Pipeline:
    """Return a model from its model folder, or from a run folder (its newest good model), ready to use.

    dtype: what networks are kept in and compute in, also by name: "fp32", "bf16", "fp16"; codebooks stay in
    fp32, images come out in fp32. Where the device computes in bf16 tokenizers are several times as fast in
    it, large priors faster, small ones on a CPU hardly, or slower. A few codes of an encoded image are
    others then, and drawn images are other ones, as each code sees those before. "auto": for each network
    what it is quickest in on the device, one image at a time, bf16 or fp32; see precision.py.
    Raises UserError where there is no such folder, or where it holds something else.
    """
    where, dtype = devices.find(device), precision.parse(dtype)
    folder = find(as_path(path, "path"))
    with torch.device("meta"):  # whether weights are as the settings say, before there is room for those
        _build(folder, _check_headers)
    model = _build(folder, _fill)
    _keep_in(model, dtype, where)
    return model.eval().to(where)


def check_kind(path: Path, kind: str) -> None:
    """Raise UserError where a folder holds a model of another kind than that: "tokenizer" or "generator"."""
    folder = find(path)
    if read_config(folder)["kind"] != kind:
        kinds = {"tokenizer": "a tokenizer", "generator": "a model with a prior"}
        other = {"tokenizer": "smalti.Pipeline.from_pretrained(path).tokenizer"}
        remedy = other.get(kind, "smalti.Tokenizer.from_pretrained(path), or train a prior on it")
        got = f"{next(name for key, name in kinds.items() if key != kind)}, {folder}"
        raise UserError(kinds[kind], got, remedy)


def save(
    model: Tokenizer | Pipeline | Any,
    folder: str | Path | Any,
    provenance: Mapping[str, Any] | Any = None,
    discriminator: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model folder, whole or not at all; a folder that stands there is replaced, its card too.

    provenance: what is worth knowing about where the model came from (recipe, steps, data, source file);
    None: what the model knows of it, `model.provenance`.
    discriminator: the tensors of the discriminator that a tokenizer was trained against, where training is to
    go on. Raises UserError for a model that is not kept in fp32, whose weights as trained would be lost, and
    where something else than a model folder stands.
    """
    if not isinstance(model, Tokenizer | Pipeline):
        raise UserError("a Tokenizer or a Pipeline to save", shown(model), "smalti.save(model, folder)")
    kept = {part.dtype for part in (model, *_parts(model).values())}
    if kept != {torch.float32}:
        got = f"one kept in {' and '.join(sorted(map(precision.name, kept)))}"
        raise UserError(
            "a model with its weights as trained, in fp32", got, "load it without dtype=, then save"
        )
    folder = as_path(folder, "folder")
    recover(folder)
    _check_replaceable(folder)
    metadata = _plain(model.provenance if provenance is None else provenance)
    fresh, old = (folder.with_name(f".{folder.name}.{what}-{os.getpid()}") for what in ("new", "old"))
    fresh.mkdir(parents=True)
    _write(model, fresh, metadata)
    (fresh / CARD).write_text(about.card(model, metadata, folder.absolute().name), encoding="utf-8")
    if discriminator:
        save_tensors(discriminator, fresh / DISCRIMINATOR)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def tokenizers(model: Pipeline) -> dict[str, Tokenizer]:
    """Return the tokenizers in a model by their folders below its own: of images, and of conditions' maps."""
    condition = model.condition
    below = {f"{CONDITION}/{name}": part for name, part in condition.parts.items()}
    found = {TOKENIZER: model.tokenizer, CONDITION: condition.own, **below}
    return {name: part for name, part in found.items() if isinstance(part, Tokenizer)}


def recover(folder: Path) -> None:
    """Put right what processes that were killed inside `save` left: the model in its place, the rest gone."""
    whole = _whole(folder)
    if whole != folder and not leftovers.is_anothers(whole):
        whole.rename(folder)
    for what in ("new", "old"):
        leftovers.clear(folder.parent, f".{glob.escape(folder.name)}.{what}-*")


def _check_replaceable(folder: Path) -> None:
    """UserError where what stands there is neither a model folder nor nothing: all else would be lost."""
    is_empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_empty and (not (folder / CONFIG).is_file() or is_foreign(folder)):
        raise UserError("a folder that is new, empty or a model's", f"{folder}", "choose another folder")


def _plain(provenance: Any) -> dict[str, Any]:
    try:
        return dict(json.loads(json.dumps(dict(provenance))))
    except (TypeError, ValueError) as problem:
        got = f"{shown(provenance)} ({problem})"
        raise UserError("provenance as a mapping of text and numbers", got, "give plain values") from None


def load_discriminator(path: Path) -> dict[str, Tensor]:
    """Return the discriminator's tensors beside a tokenizer; empty where there are none."""
    folder = find(path)
    older = folder / "critic.safetensors"
    file = older if older.is_file() else folder / DISCRIMINATOR
    return _read_weights(file) if file.is_file() else {}


def find(path: Path) -> Path:
    """Return the model folder that a path means: itself, the model inside a run folder, one that ships.

    Where a kill inside `save` left none in its place, the whole one that lies beside.
    """
    path = shipped.located(path)
    for folder in map(_whole, (path, path / "model")):
        if (folder / CONFIG).is_file() and not is_foreign(folder):
            return folder
    if is_foreign(path):
        what = "the file" if path.is_file() else "another program's folder"
        raise UserError("a model folder", f"{what} {path}", f"smalti import {path} OUT")
    if not path.exists():
        ours = f", or one that ships: {', '.join(shipped.models())}" * bool(shipped.models())
        raise UserError(
            "a model folder or a run folder", f"{path}, which does not exist", f"check the path{ours}"
        )
    if (path / "settings.yaml").is_file():
        remedy = shlex.join(["smalti", "train", "--resume", "--out", str(path)])
        raise UserError("a run that has saved a model", f"{path} without model/", f"let it go on: {remedy}")
    raise UserError(f"a model folder (with {CONFIG})", str(path), "smalti train makes one")


def _whole(folder: Path) -> Path:
    """Return the folder.

    Of what a kill between two renames of `save` left beside it the new one, else the old.
    """
    if folder.exists() or not folder.name:
        return folder
    for old in folder.parent.glob(f".{glob.escape(folder.name)}.old-*"):
        new = old.with_name(old.name.replace(".old-", ".new-"))  # written before the old one was moved
        return new if (new / CONFIG).is_file() else old
    return folder


def is_foreign(path: Path) -> bool:
    """Return whether a path is a file, or a folder with the marks of other programs: something to import."""
    if path.is_file() or (path / "configs").is_dir() or any((path / "checkpoints").glob("*.ckpt")):
        return True
    try:
        metadata = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    except OSError:
        ours = any((path / name).exists() for name in _OURS)
        return not ours and any(any(path.glob(mark)) for mark in _MARKS)
    return isinstance(metadata, dict) and not {"format", "kind", "fingerprint"} & metadata.keys()


def read_config(folder: Path, kinds: Sequence[str] = ("tokenizer", "generator")) -> dict[str, Any]:
    """Return what a model folder says about itself: format, kind, settings, fingerprint, provenance."""
    try:
        metadata = json.loads((folder / CONFIG).read_text())
        metadata["settings"] = old_names.mapping(metadata["settings"])
        known = metadata["format"], metadata["kind"], metadata["settings"], metadata["fingerprint"]
        if not isinstance(known[3], str) or not isinstance(metadata.get("provenance", {}), dict):
            raise TypeError("fingerprint and provenance are of other types")
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        got = f"{folder / CONFIG} ({type(problem).__name__}: {problem})"
        raise UserError("a model folder's config.json", got, "copy the folder again, whole") from None
    if known[0] != FORMAT or known[1] not in kinds:
        got = f"format {known[0]}, kind {known[1]} in {folder / CONFIG}"
        raise UserError(f"format {FORMAT}, kind {' or '.join(kinds)}", got, "use a newer smalti")
    return dict(metadata)


def outline(path: Path) -> about.Outline:
    """Return what a model folder or a run folder is, by names and shapes alone: no weight is read."""
    folder = find(path)
    with torch.device("meta"):  # names and shapes without numbers
        return about.Outline(folder, read_config(folder), _build(folder, _check_headers))


def trained_sizes(path: Path) -> tuple[Sides, ...]:
    """Return height and width in pixels of the crops that a model was trained on, of each size.

    UserError if it does not say.
    """
    folder = find(path)
    size = read_config(folder).get("provenance", {}).get("size")
    if size is None:
        raise UserError("a size", f"none, and {folder} does not say its own", "give --size")
    return listed(size)


def fingerprint(model: Part) -> str:
    """Return 16 hex digits that change with any weight or setting: which model it is.

    What is kept in half precision, which is for use only, has that of the weights it was loaded from.
    """
    if model.dtype != torch.float32 and model.fingerprint:
        return model.fingerprint
    parts = [fingerprint(part) for part in _parts(model).values()]
    parts += [f"{name} {text}" for name, text in sorted(_texts(model).items())]
    return _digest(config.dump(model.settings), _network(model).state_dict(), parts)


def _keep_in(model: Tokenizer | Pipeline, dtype: torch.dtype | Literal["auto"], device: torch.device) -> None:
    if dtype != "auto":
        model.to(dtype)
        return
    for part in [model] if isinstance(model, Tokenizer) else _parts(model).values():
        part.to(precision.quickest(device))
    if isinstance(model, Pipeline):
        prior = _network(model)
        weights = sum(parameter.numel() for parameter in prior.parameters())
        prior.to(precision.quickest_for_prior(device, weights))


def _build(folder: Path, fill: Callable[[nn.Module, Path], None]) -> Tokenizer | Pipeline:
    """Return the model of a folder. fill: is given each network and the folder of its weights."""
    metadata = read_config(folder)
    model: Tokenizer | Pipeline
    if metadata["kind"] == "tokenizer":
        how = config.parse(metadata["settings"], TokenizerSettings)
        with Unfilled():
            model = Tokenizer(how)
    else:
        settings, own = config.parse(metadata["settings"], PipelineSettings), folder / CONDITION
        tokenizer = _build(folder / TOKENIZER, fill)
        assert isinstance(tokenizer, Tokenizer), f"{folder / TOKENIZER} holds no tokenizer"
        with Unfilled():
            model = Pipeline(settings, tokenizer, _tokenizers(own, fill))
        _fill_condition(model.condition, own, fill)
    fill(_network(model), folder)
    model.fingerprint, model.provenance = metadata["fingerprint"], about.provenance(folder, metadata)
    return model


def _tokenizers(folder: Path, fill: Callable[[nn.Module, Path], None]) -> nn.Module | None:
    """Return the tokenizer in a condition's folder, or those in folders below it by name; None: none is."""
    if not (folder / CONFIG).is_file():
        return None
    if read_config(folder, ("tokenizer", "condition"))["kind"] == "tokenizer":
        return _build(folder, fill)
    found = {below.parent.name: _tokenizers(below.parent, fill) for below in folder.glob(f"*/{CONFIG}")}
    return nn.ModuleDict({name: part for name, part in found.items() if part is not None}) if found else None


def _fill_condition(condition: Condition, folder: Path, fill: Callable[[nn.Module, Path], None]) -> None:
    """Fill what a condition, or each of several, has learned itself."""
    if condition.own is condition:
        fill(_network(condition), folder)
        if not condition.parts:
            condition.take(read_texts(folder, condition.learned))
        condition.fingerprint = read_config(folder, ("condition",))["fingerprint"]
    for name in condition.parts:
        _fill_condition(condition.named[name], folder / name, fill)


def _fill(network: nn.Module, folder: Path) -> None:
    weights = _read_weights(folder / WEIGHTS)
    check_shapes(network, {name: tuple(tensor.shape) for name, tensor in weights.items()}, folder)
    network.load_state_dict(weights)


def _check_headers(network: nn.Module, folder: Path) -> None:
    """Read names and shapes, and no numbers."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as problem:
        raise _incomplete(folder / WEIGHTS, problem) from None
    check_shapes(network, shapes, folder)


def _write(model: Part, folder: Path, provenance: dict[str, Any]) -> None:
    state = _network(model).state_dict()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    kind = "generator" if isinstance(model, Pipeline) else "condition"
    metadata = {
        "format": FORMAT,
        "kind": "tokenizer" if isinstance(model, Tokenizer) else kind,
        "settings": config.dump(model.settings),
        "fingerprint": fingerprint(model),
        "provenance": provenance,
    }
    save_tensors(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(metadata, indent=2) + "\n")
    for name, text in _texts(model).items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, part in _parts(model).items():
        (folder / name).mkdir()
        _write(part, folder / name, dict(getattr(part, "provenance", {})))


def _network(model: Part) -> nn.Module:
    """Return what model.safetensors holds: of a generator the prior, of several conditions nothing."""
    network = model.prior if isinstance(model, Pipeline) else model
    if isinstance(model, Condition) and model.parts:
        return nn.Module()
    assert isinstance(network, nn.Module), "a prior has weights"
    return network


def _texts(model: Part) -> dict[str, str]:
    """Return the text files of a condition's own folder; of several conditions each has its own."""
    return model.files() if isinstance(model, Condition) and not model.parts else {}


def _parts(model: Part) -> dict[str, Tokenizer | Condition]:
    """Return what a model is made of besides, by folders."""
    if not isinstance(model, Pipeline):
        return dict(model.parts) if isinstance(model, Condition) else {}
    found = {TOKENIZER: model.tokenizer, CONDITION: model.condition.own}
    return {name: part for name, part in found.items() if part is not None}


def _digest(settings: dict[str, Any], weights: Mapping[str, Tensor], parts: list[str]) -> str:
    # so that models which do not use a younger setting keep the fingerprint that their token shards name
    told = {key: value for key, value in settings.items() if key not in _YOUNGER or value is not None}
    sha = hashlib.sha256(json.dumps([old_names.as_first_written(told), parts], sort_keys=True).encode())
    feed(sha, weights)
    return sha.hexdigest()[:16]


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as problem:
        raise _incomplete(path, problem) from None


def _incomplete(weights: Path, problem: Exception) -> UserError:
    return UserError(f"weights in {weights}", str(problem), "the folder is incomplete: copy it again")
