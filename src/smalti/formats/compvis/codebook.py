"""The quantizers of 2021: their tensors' names and settings, from the file to ours and back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from smalti import config
from smalti.errors import UserError
from smalti.formats.compvis import claims
from smalti.quantizers.ema import EmaSettings
from smalti.quantizers.gaussian import GaussianSettings
from smalti.quantizers.gumbel import GumbelSettings, TemperatureSettings
from smalti.quantizers.protocol import CommonSettings
from smalti.quantizers.remap import RemappedSettings
from smalti.quantizers.vq import VectorQuantizerSettings

TABLE, USED = "quantize.used", "used.npy"  # their class wants the table of used codes as a file too
_HERE, _THERE = "quantizer.", "quantize."
_NAMES = {  # by kind: our name -> theirs
    "vq": {"codebook.weight": "embedding.weight"},
    "gumbel": {"codebook.weight": "embed.weight", "proj.weight": "proj.weight", "proj.bias": "proj.bias"},
    "ema": {
        "codebook.weight": "embedding.weight",
        "cluster_size": "embedding.cluster_size",
        "sums": "embedding.embed_avg",
    },
    "gaussian": {},
}
_EARLIER = {"cluster_size": "embedding.cluster_size", "embed_avg": "embedding.embed_avg"}  # EMA, weeks before
_TARGETS = {"VQModel": "vq", "GumbelVQ": "gumbel", "EMAVQ": "ema", "AutoencoderKL": "gaussian"}
_TARGETS |= {"VQSegmentationModel": "vq", "VQNoDiscModel": "vq", "VQModelInterface": "vq"}


def names(settings: CommonSettings) -> dict[str, str]:
    """Return our name of each tensor of a quantizer -> its name in the 2021 code.

    UserError where that has none.
    """
    inner = _held(settings)
    within = "inner." if isinstance(settings, RemappedSettings) else ""
    found = {f"{_HERE}{within}{ours}": f"{_THERE}{theirs}" for ours, theirs in _NAMES[inner.kind].items()}
    return found | ({f"{_HERE}used": f"{_THERE}used"} if within else {})


def modern(name: str) -> str:
    """Return the name that a tensor of the earlier EMA quantizer has in the later one.

    Other names as they are.
    """
    return _THERE + _EARLIER.get(name.removeprefix(_THERE), name.removeprefix(_THERE))


def find(state: Mapping[str, Tensor], model: Mapping[str, Any], where: str) -> CommonSettings:
    """Return the settings of a state dict's quantizer, by its names and shapes.

    What these do not tell, by the yaml.

    model: the {target, params} of the tokenizer, empty where there is no yaml.
    """
    said = claims.params(model)
    kind = _kind(state, where)
    expected = _TARGETS.get(claims.target(model), kind)
    if expected != kind:
        raise UserError(f"a quantizer {expected}, as the yaml says", f"{kind} in {where}", claims.OTHER_MODEL)
    if kind == "gaussian":
        return GaussianSettings()
    entries = state[_THERE + _NAMES[kind]["codebook.weight"]]
    claims.check(said, {"n_embed": entries.shape[0], "embed_dim": entries.shape[1]}, where)
    inner = _inner(kind, len(entries), said)
    used = state.get(f"{_THERE}used")
    if used is None and said.get("remap"):
        remedy = "the file is of another version of the model: without remap in the yaml it can be read"
        raise UserError(f"{_THERE}used in {where}, as the yaml says remap", "none", remedy)
    if used is None:
        return inner
    listed = used.dim() == 1 and used.dtype == torch.int64 and len(used)
    if not listed or used.min() < 0 or used.max() >= len(entries):
        expected = f"{_THERE}used as a list of codes from 0 to {len(entries) - 1} in {where}"
        got = f"{used.min()} to {used.max()}" if listed else f"{used.dtype} {tuple(used.shape)}"
        raise UserError(expected, got, "get the file anew")
    return RemappedSettings(inner=inner, used=len(used))


def knows(settings: CommonSettings) -> bool:
    """Return whether the 2021 code has such quantizers at all."""
    return settings.kind in _NAMES or isinstance(settings, RemappedSettings)


def target(settings: CommonSettings) -> str:
    """Return the 2021 code's class for a tokenizer with this quantizer. UserError where there is none."""
    if isinstance(settings, RemappedSettings) and settings.unknown != "random":
        got = f"unknown={settings.unknown}"
        raise UserError("a remapped quantizer with unknown=random", got, "its yaml has no word for it")
    settings = _held(settings)
    if isinstance(settings, VectorQuantizerSettings) and settings.cosine:
        raise UserError("a quantizer without cosine", "cosine=true", "its code knows no such codebook")
    classes = {"vq": "VQModel", "gumbel": "GumbelVQ", "ema": "EMAVQ", "gaussian": "AutoencoderKL"}
    package = "ldm.models.autoencoder" if settings.kind == "gaussian" else "taming.models.vqgan"
    return f"{package}.{classes[settings.kind]}"


def shapes_codes(target: str) -> bool:
    """Return whether a class of theirs can give codes as a grid (sane_index_shape), not as one flat list.

    A prior can only be told of maps whose codes are grids: it lays flat ones beside the wrong axis (2021,
    encode_to_c). The others give grids by themselves, or no codes.
    """
    return _TARGETS[target.rsplit(".", 1)[-1]] in ("vq", "ema")


def params(settings: CommonSettings, code_dim: int) -> dict[str, Any]:
    """Return what a yaml says of a quantizer."""
    found: dict[str, Any] = {"embed_dim": code_dim}
    if isinstance(settings, RemappedSettings):  # the table itself is in the weights
        found["remap"] = USED
        settings = settings.inner
    if isinstance(settings, VectorQuantizerSettings | GumbelSettings | EmaSettings):
        found["n_embed"] = settings.codebook_size
    if isinstance(settings, GumbelSettings):
        heat = settings.temperature
        words: dict[str, float] = {"warm_up_steps": heat.warmup, "max_decay_steps": heat.until}
        words |= {"lr_start": heat.start, "lr_max": heat.high, "lr_min": heat.low}
        schedule = {"target": "taming.lr_scheduler.LambdaWarmUpCosineScheduler", "params": words}
        found |= {"kl_weight": settings.kl, "temperature_scheduler_config": schedule}
    return found


def _held(settings: CommonSettings) -> CommonSettings:
    """Return the settings, or those inside; UserError where the 2021 code has no such quantizer."""
    inner = settings.inner if isinstance(settings, RemappedSettings) else settings
    if not knows(settings):
        remedy = "keep the model folder: their code knows no such quantizer"
        raise UserError(f"a quantizer of kind {', '.join(_NAMES)}", f"kind {inner.kind}", remedy)
    return inner


def _kind(state: Mapping[str, Tensor], where: str) -> str:
    if f"{_THERE}proj.weight" in state:
        return "gumbel"
    if f"{_THERE}embedding.cluster_size" in state:
        return "ema"
    if f"{_THERE}embedding.weight" in state:
        return "vq"
    widths = [
        state[f"{name}.weight"].shape
        for name in ("quant_conv", "post_quant_conv")
        if f"{name}.weight" in state
    ]
    if len(widths) == 2 and widths[0][0] == 2 * widths[1][1]:
        return "gaussian"
    raise UserError(f"a codebook in {where}", "none", "the file is incomplete, or of another kind of model")


def _inner(
    kind: str, size: int, said: Mapping[str, Any]
) -> VectorQuantizerSettings | GumbelSettings | EmaSettings:
    if kind == "vq":
        return VectorQuantizerSettings.legacy(codebook_size=size)
    if kind == "ema":
        return EmaSettings(codebook_size=size, first_count=0.0)
    heat = claims.inner(said, "temperature_scheduler_config")
    schedule = TemperatureSettings()
    if heat:
        words = {"start": "lr_start", "high": "lr_max", "low": "lr_min", "warmup": "warm_up_steps"}
        given = {ours: heat.get(theirs) for ours, theirs in {**words, "until": "max_decay_steps"}.items()}
        schedule = config.parse(given, TemperatureSettings, where="temperature_scheduler_config")
    return GumbelSettings(codebook_size=size, kl=float(said.get("kl_weight", 1e-8)), temperature=schedule)
