"""Do the quantizers beside vq give the numbers of the 2021 code, and does a segmentation's loss?

Tolerances are those that came with the tensors.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from smalti import imaging
from smalti.formats.compvis import codebook
from smalti.quantizers.ema import EmaQuantizer, EmaSettings
from smalti.quantizers.gaussian import GaussianQuantizer, GaussianSettings, split
from smalti.quantizers.gumbel import GumbelSettings, TemperatureSettings
from smalti.quantizers.remap import RemappedSettings
from smalti.quantizers.usage import perplexity
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import Tokenizer

SHAPES = pytest.mark.parametrize("suffix", ["", "_rect"], ids=["square", "not_square"])


def ours(name: str, quantizer) -> str:
    return {theirs: own for own, theirs in codebook.names(quantizer).items()}.get(name, name)


def filled(case, quantizer) -> Tokenizer:
    """The case's tokenizer, whose quantizer has other settings."""
    found = case.imported().model
    tokenizer = Tokenizer(replace(found.settings, quantizer=quantizer)).eval()
    tokenizer.load_state_dict(found.state_dict(), strict=True)
    return tokenizer


def gumbel(case, temperature: float = 1.0, **more) -> Tokenizer:
    constant = TemperatureSettings(start=temperature, high=temperature, low=temperature)
    settings = GumbelSettings(
        codebook_size=case.config["n_embed"], kl=case.config["kl_weight"], temperature=constant, **more
    )
    return filled(case, settings)


@SHAPES
def test_gumbel_in_use(golden, suffix):
    case = golden("gumbel")
    tokenizer, image = gumbel(case), case.tensors["image" + suffix]
    with torch.no_grad():
        latents = tokenizer.latents(image)
        case.close(latents, "latent_before_quant" + suffix)
        case.close(tokenizer.quantizer.logits(latents), "quantizer_logits" + suffix)
        codes = tokenizer.encode(image)
        assert torch.equal(codes, case.tensors["codes_argmax_of_logits" + suffix])
        case.close(tokenizer.decode(codes), "reconstruction_argmax" + suffix)
        case.close(tokenizer.quantize(latents).loss, "eval.quantizer_loss" + suffix)


@SHAPES
def test_gumbel_draws_in_use(golden, suffix):
    case = golden("gumbel")
    tokenizer, image = gumbel(case), case.tensors["image" + suffix]
    with torch.no_grad():
        drawn = tokenizer.quantizer.draw(tokenizer.latents(image), case.tensors["gumbel_noise" + suffix])
        assert torch.equal(drawn.codes, case.tensors["eval.codes" + suffix])
        case.close(drawn.latents, "eval.quantized" + suffix)
        case.close(drawn.loss, "eval.quantizer_loss" + suffix)
        case.close(tokenizer.decode_latents(drawn.latents), "eval.reconstruction" + suffix)


@pytest.mark.parametrize("kind", ["train_straight_through", "train_soft"])
def test_gumbel_in_training(golden, kind, monkeypatch):
    """The noise is what the default generator gives; here the recorded one, e = exp(-g)."""
    case = golden("gumbel")
    tokenizer = gumbel(
        case, case.case["temperature_of_train_cases"], straight_through=kind == "train_straight_through"
    ).train()
    recorded = (-case.tensors["gumbel_noise"]).exp()
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda drawn: drawn.copy_(recorded))
    image = case.tensors["image"]
    quantized = tokenizer.quantize(tokenizer.latents(image))
    assert torch.equal(quantized.codes, case.tensors[f"{kind}.codes"])
    case.close(quantized.latents, f"{kind}.quantized")
    case.close(quantized.loss, f"{kind}.quantizer_loss")
    rebuilt = tokenizer.decode_latents(quantized.latents)
    case.close(rebuilt, f"{kind}.reconstruction")
    probe = (rebuilt - image).square().mean() + quantized.loss
    case.close(probe, f"{kind}.probe_loss")
    probe.backward()
    parameters = dict(tokenizer.named_parameters())
    names = [name.partition(".grad.")[2] for name in case.tensors if name.startswith(f"{kind}.grad.")]
    assert len(names) == 5
    for name in names:
        case.close(parameters[ours(name, tokenizer.settings.quantizer)].grad, f"{kind}.grad.{name}")


@pytest.mark.parametrize("name", ["temperature_schedule", "second_schedule"])
def test_gumbel_temperatures(golden, name):
    schedule = golden("gumbel").case[name]
    theirs = schedule["config"]
    temperature = TemperatureSettings(
        start=theirs["lr_start"],
        high=theirs["lr_max"],
        low=theirs["lr_min"],
        warmup=theirs["warm_up_steps"],
        until=theirs["max_decay_steps"],
    )
    assert len(schedule["values"]) >= 6
    for step, value in schedule["values"].items():
        assert temperature.at(int(step)) == pytest.approx(value, rel=1e-12, abs=0)


@SHAPES
def test_ema_in_use(golden, suffix):
    case = golden("ema")
    tokenizer = filled(case, EmaSettings(codebook_size=case.config["n_embed"]))
    image = case.tensors["image" + suffix]
    quantized = tokenizer.quantize(tokenizer.latents(image))
    assert torch.equal(quantized.codes, case.tensors["codes" + suffix])
    case.close(quantized.latents, "quantized" + suffix)
    case.close(quantized.loss, "quantizer_loss" + suffix)
    case.close(torch.tensor(perplexity(quantized.codes, 64)), "perplexity" + suffix)
    case.close(tokenizer.reconstruct(image), "reconstruction" + suffix)


def test_ema_updates(golden):
    case = golden("ema")
    before = {name: case.tensors[f"before.{name}"] for name in ("weight", "cluster_size", "embed_avg")}
    size, dim = before["weight"].shape
    quantizer = EmaQuantizer(EmaSettings(codebook_size=size), dim=dim).train()
    names = {name: ours(f"quantize.embedding.{name}", quantizer.settings) for name in before}
    quantizer.load_state_dict({names[n].removeprefix("quantizer."): value for n, value in before.items()})
    for step in (1, 2):
        latents = case.tensors[f"step{step}.latent"].clone().requires_grad_()
        quantized = quantizer(latents)
        assert torch.equal(quantized.codes, case.tensors[f"step{step}.codes"])
        case.close(quantized.latents, f"step{step}.quantized")
        case.close(quantized.loss, f"step{step}.quantizer_loss")
        (quantized.latents.square().mean() + quantized.loss).backward()
        case.close(latents.grad, f"step{step}.grad_latent")
        quantizer.after_step(latents.detach(), torch.Generator())
        case.close(quantizer.codebook.weight, f"after_step{step}.weight")
        case.close(quantizer.cluster_size, f"after_step{step}.cluster_size")
        case.close(quantizer.sums, f"after_step{step}.embed_avg")


def remapped(case, unknown) -> Tokenizer:
    inner = VectorQuantizerSettings.legacy(codebook_size=case.config["n_embed"])
    used = torch.from_numpy(np.load(case.folder / "used.npy"))
    tokenizer = filled(case, RemappedSettings(inner=inner, used=len(used), unknown=unknown))
    assert torch.equal(tokenizer.quantizer.used, used)
    return tokenizer


@SHAPES
@pytest.mark.parametrize("unknown", ["random", "extra", 3])
def test_remapped(golden, unknown, suffix):
    case, kind = golden("vqgan_remap"), "int" if unknown == 3 else unknown
    tokenizer, image = remapped(case, unknown), case.tensors["image" + suffix]
    quantized = tokenizer.quantize(tokenizer.latents(image))
    expected = case.tensors[f"codes_{kind}{suffix}"]
    known = case.tensors["unknown" + suffix] == 0  # their random numbers are of torch's global generator
    compared = known if unknown == "random" else torch.ones_like(known)
    assert 0 < (~known).sum() < known.numel()
    assert torch.equal(quantized.codes[compared], expected[compared])
    assert quantized.codes.max() < tokenizer.codebook_size == 40 + (unknown == "extra")
    case.close(quantized.latents, "quantized" + suffix)
    case.close(quantized.loss, "quantizer_loss" + suffix)
    # what theirs make of their own codes
    assert torch.equal(tokenizer.quantizer.entries(expected), case.tensors[f"unmapped_{kind}{suffix}"])
    case.close(tokenizer.quantizer.lookup(expected), f"vectors_{kind}{suffix}")
    case.close(tokenizer.decode(expected), f"reconstruction_from_codes_{kind}{suffix}")


@SHAPES
def test_gaussian(golden, suffix):
    case = golden("ldm_kl")
    tokenizer, image = filled(case, GaussianSettings(kl=2.0)), case.tensors["image" + suffix]
    with torch.no_grad():
        moments = tokenizer.latents(image)
        case.close(moments, "moments" + suffix)
        mean, log_variance = split(moments)
        case.close(mean, "mean" + suffix)
        case.close(log_variance, "logvar" + suffix)
        quantized = tokenizer.quantize(moments)
        assert torch.equal(quantized.latents, mean)
        nats = tokenizer.quantizer.divergence(moments)
        case.close(nats, "kl" + suffix)
        torch.testing.assert_close(quantized.loss, 2.0 * nats.mean() / mean[0, 0].numel())
        drawn = tokenizer.quantizer.draw(moments, case.tensors["noise" + suffix])
        case.close(drawn, "sample" + suffix)
        case.close(tokenizer.decode_latents(drawn), "reconstruction_of_sample" + suffix)
        case.close(tokenizer.reconstruct(image), "reconstruction_of_mode" + suffix)


def test_gaussian_variances_are_clipped(golden):
    case = golden("ldm_kl")
    case.close(split(case.tensors["clamp.moments"])[1], "clamp.logvar")


def test_gaussian_divergence_as_the_loss_takes_it(golden):
    """In its loss the 2021 code sums over an image; ours is the mean over cells, times their number."""
    case = golden("losses")
    moments = case.tensors["moments"]
    quantized = GaussianQuantizer(GaussianSettings(kl=1.0), dim=4).eval()(moments)
    case.close(quantized.loss * moments[0, 0].numel(), "ldm_kl.step0.log.kl_loss")


def test_segmentation_losses(golden):
    case = golden("vq_segmentation")
    settings = VectorQuantizerSettings.legacy(codebook_size=case.config["n_embed"])
    tokenizer = filled(case, settings)
    assert tokenizer.settings.content == "segmentation"
    maps = case.tensors["image"]
    assert torch.equal(imaging.one_hot(case.tensors["labels"], 12), maps)
    with torch.no_grad():
        quantized = tokenizer.quantize(tokenizer.latents(maps))
        logits = tokenizer.decode_latents(quantized.latents)
    case.close(logits, "reconstruction")
    assert torch.equal(logits.argmax(1), case.tensors["labels_of_reconstruction"])
    bce = F.binary_cross_entropy_with_logits(logits, maps)
    case.close(bce, "bce.loss")
    case.close(bce + quantized.loss, "bce_with_quant.loss")
