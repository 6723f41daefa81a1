"""Does the tokenizer give the numbers of the 2021 code, and do its numbers stay what they are?

Tolerances are those that came with the tensors: ten times what fp32 loses against fp64, or one thread
against two. An epsilon or a padding of another kind is off by a thousand times as much.
"""

import dataclasses
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors import safe_open

from smalti import config
from smalti.quantizers.usage import perplexity
from smalti.quantizers.vq import VectorQuantizer, VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

CASES = ["vqgan", "vqgan_attn_each_level", "vq_segmentation"]
OWN = Path(__file__).parent / "own" / "tokenizer_tiny.safetensors"


def network(ddconfig: dict, code_dim: int) -> NetworkSettings:
    sides = [ddconfig["resolution"] // 2**level for level in range(len(ddconfig["ch_mult"]))]
    return NetworkSettings(
        in_channels=ddconfig["in_channels"],
        out_channels=ddconfig["out_ch"],
        width=ddconfig["ch"],
        multipliers=tuple(ddconfig["ch_mult"]),
        blocks=ddconfig["num_res_blocks"],
        attention_levels=tuple(n for n, side in enumerate(sides) if side in ddconfig["attn_resolutions"]),
        latent_channels=ddconfig["z_channels"],
        code_dim=code_dim,
        resample_with_conv=ddconfig.get("resamp_with_conv", True),
    )


def our_name(name: str) -> str:
    return name.replace("quantize.embedding.", "quantizer.codebook.")


def state_dict(case, monkeypatch) -> dict[str, torch.Tensor]:
    """The case's weights under our names. One checkpoint names a class of a package that is not here."""
    package = "pytorch_lightning"
    for name in (package, f"{package}.callbacks", f"{package}.callbacks.model_checkpoint"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[name].ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    whole = torch.load(case.folder / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]
    return {our_name(key): value for key, value in whole.items() if not key.startswith(("loss.", "colorize"))}


@pytest.fixture(params=CASES)
def model(request, golden, monkeypatch):
    """A tokenizer filled, key by key, from a checkpoint of the 2021 code; and the case."""
    case = golden(request.param)
    settings = TokenizerSettings(
        network=network(case.config["ddconfig"], case.config["embed_dim"]),
        quantizer=VectorQuantizerSettings.legacy(codebook_size=case.config["n_embed"]),
    )
    tokenizer = Tokenizer(settings).eval()
    tokenizer.load_state_dict(state_dict(case, monkeypatch), strict=True)
    return tokenizer, case


def close(got: torch.Tensor, case, name: str) -> None:
    atol = case.case["measured"][name][3]
    torch.testing.assert_close(
        got, case.tensors[name], atol=atol, rtol=0.0, msg=lambda text: f"{name}: {text}"
    )


@pytest.mark.parametrize("suffix", ["", "_rect"], ids=["square", "not_square"])
def test_forward(model, suffix):
    tokenizer, case = model
    image, codes = case.tensors["image" + suffix], case.tensors["codes" + suffix]
    latents = tokenizer.latents(image)
    quantized = tokenizer.quantize(latents)
    assert torch.equal(quantized.codes, codes)
    assert torch.equal(tokenizer.encode(image), codes)
    with torch.no_grad():
        close(tokenizer.encoder(image), case, "encoder_out" + suffix)
        close(latents, case, "latent_before_quant" + suffix)
        close(quantized.latents, case, "quantized" + suffix)
        close(tokenizer.quantizer.lookup(codes), case, "codebook_vectors" + suffix)
        close(quantized.loss, case, "quantizer_loss" + suffix)
        close(tokenizer.decode_latents(quantized.latents), case, "reconstruction" + suffix)
        close(tokenizer.decode(codes), case, "reconstruction_from_codes" + suffix)
        close(tokenizer.reconstruct(image), case, "reconstruction_from_codes" + suffix)


def test_gradients(model):
    tokenizer, case = model
    image = case.tensors["image"]
    quantized = tokenizer.quantize(tokenizer.latents(image))
    probe = (tokenizer.decode_latents(quantized.latents) - image).square().mean() + quantized.loss
    probe.backward()
    close(probe.detach(), case, "probe_loss")
    parameters = dict(tokenizer.named_parameters())
    names = [name.removeprefix("grad.") for name in case.tensors if name.startswith("grad.")]
    assert len(names) == 5
    for name in names:
        close(parameters[our_name(name)].grad, case, f"grad.{name}")
    assert tokenizer.last_layer.grad is parameters["decoder.conv_out.weight"].grad


@pytest.mark.parametrize("kind", ["legacy_true", "legacy_false", "v1"])
def test_quantizer_losses(golden, kind):
    case = golden("vqgan_legacy_false")
    entries = case.tensors["codebook"]
    size, dim = entries.shape
    paper, legacy = (
        VectorQuantizerSettings(codebook_size=size),
        VectorQuantizerSettings.legacy(codebook_size=size),
    )
    quantizer = VectorQuantizer(paper if kind == "legacy_false" else legacy, dim=dim)
    quantizer.load_state_dict({"codebook.weight": entries})
    latents = case.tensors["latent"].requires_grad_()
    quantized = quantizer(latents)
    assert torch.equal(quantized.codes, case.tensors[f"{kind}.codes"])
    close(quantized.latents.detach(), case, f"{kind}.quantized")
    close(quantized.loss.detach(), case, f"{kind}.loss")
    leaves = [latents, quantizer.codebook.weight]
    of_loss = torch.autograd.grad(quantized.loss, leaves, retain_graph=True)
    of_both = torch.autograd.grad((quantized.latents * case.tensors["probe"]).mean() + quantized.loss, leaves)
    for name, alone, both in zip(["latent", "codebook"], of_loss, of_both, strict=True):
        close(alone, case, f"{kind}.grad_of_loss_{name}")
        close(both, case, f"{kind}.grad_{name}")


def test_perplexity(golden):
    case = golden("vqgan_legacy_false")
    got = perplexity(case.tensors["v1.codes"], codebook_size=64)
    assert got == pytest.approx(
        case.tensors["v1.perplexity"].item(), abs=case.case["measured"]["v1.perplexity"][3]
    )


@pytest.mark.parametrize("image_range", ["-1..1", "0..1"])
def test_own_numbers_stay(image_range):
    """Made by own/make.py: what there is where the 2021 tensors are absent. Weights are in the file."""
    with safe_open(OWN, "pt") as file:
        settings = config.parse(json.loads(file.metadata()["settings"]), TokenizerSettings)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
    tokenizer = Tokenizer(dataclasses.replace(settings, image_range=image_range)).eval()
    weights = {
        name.removeprefix("weights."): tensors[name] for name in tensors if name.startswith("weights.")
    }
    tokenizer.load_state_dict(weights, strict=True)
    images = tensors["images"]
    assert torch.equal(tokenizer.encode(images), tensors[f"{image_range}/codes"])
    with torch.no_grad():
        latents = tokenizer.latents(images)
    torch.testing.assert_close(latents, tensors[f"{image_range}/latents"], atol=1e-4, rtol=0.0)
    expected = tensors[f"{image_range}/reconstruction"]
    torch.testing.assert_close(tokenizer.reconstruct(images), expected, atol=1e-4, rtol=0.0)
