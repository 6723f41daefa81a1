"""Does the tokenizer give the numbers of the 2021 code, and do its numbers stay what they are?

Tolerances are those that came with the tensors: ten times what fp32 loses against fp64, or one thread
against two. An epsilon or a padding of another kind is off by a thousand times as much.
"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from smalti import config
from smalti.formats.compvis import codebook
from smalti.quantizers.usage import perplexity
from smalti.quantizers.vq import VectorQuantizer, VectorQuantizerSettings
from smalti.tokenizer import Tokenizer, TokenizerSettings

CASES = ["vqgan", "vqgan_attn_each_level", "vq_segmentation", "ldm_vq_f4", "ldm_vq_noattn"]
OWN = Path(__file__).parent / "own" / "tokenizer_tiny.safetensors"


@pytest.fixture(params=CASES)
def model(request, golden):
    """A tokenizer out of a checkpoint of the 2021 code; and the case."""
    case = golden(request.param)
    return case.imported().model, case


@pytest.mark.parametrize("suffix", ["", "_rect"], ids=["square", "not_square"])
def test_forward(model, suffix):
    tokenizer, case = model
    image, codes = case.tensors["image" + suffix], case.tensors["codes" + suffix]
    latents = tokenizer.latents(image)
    quantized = tokenizer.quantize(latents)
    assert torch.equal(quantized.codes, codes)
    assert torch.equal(tokenizer.encode(image), codes)
    with torch.no_grad():
        case.close(tokenizer.encoder(image), "encoder_out" + suffix)
        case.close(latents, "latent_before_quant" + suffix)
        case.close(quantized.latents, "quantized" + suffix)
        case.close(tokenizer.quantizer.lookup(codes), "codebook_vectors" + suffix)
        case.close(quantized.loss, "quantizer_loss" + suffix)
        case.close(tokenizer.decode_latents(quantized.latents), "reconstruction" + suffix)
        case.close(tokenizer.decode(codes), "reconstruction_from_codes" + suffix)
        case.close(tokenizer.reconstruct(image), "reconstruction_from_codes" + suffix)


def test_gradients(model):
    tokenizer, case = model
    image = case.tensors["image"]
    quantized = tokenizer.quantize(tokenizer.latents(image))
    probe = (tokenizer.decode_latents(quantized.latents) - image).square().mean() + quantized.loss
    probe.backward()
    case.close(probe.detach(), "probe_loss")
    ours = {theirs: name for name, theirs in codebook.names(tokenizer.settings.quantizer).items()}
    parameters = dict(tokenizer.named_parameters())
    names = [name.removeprefix("grad.") for name in case.tensors if name.startswith("grad.")]
    assert len(names) == 5
    for name in names:
        case.close(parameters[ours.get(name, name)].grad, f"grad.{name}")
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
    case.close(quantized.latents.detach(), f"{kind}.quantized")
    case.close(quantized.loss.detach(), f"{kind}.loss")
    leaves = [latents, quantizer.codebook.weight]
    of_loss = torch.autograd.grad(quantized.loss, leaves, retain_graph=True)
    of_both = torch.autograd.grad((quantized.latents * case.tensors["probe"]).mean() + quantized.loss, leaves)
    for name, alone, both in zip(["latent", "codebook"], of_loss, of_both, strict=True):
        case.close(alone, f"{kind}.grad_of_loss_{name}")
        case.close(both, f"{kind}.grad_{name}")


def test_perplexity(golden):
    case = golden("vqgan_legacy_false")
    case.close(torch.tensor(perplexity(case.tensors["v1.codes"], codebook_size=64)), "v1.perplexity")


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
