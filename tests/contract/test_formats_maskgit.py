"""MaskGIT's tokenizer gives what its port gives, from random tensors of its shapes."""

import pytest
import torch
import torch.nn.functional as F
from peers import Shapes, conv, doubled, norm, swish
from safetensors.torch import save_file

import smalti
from smalti import config
from smalti.errors import UserError
from smalti.formats import maskgit
from smalti.formats.protocol import Wanted
from smalti.formats.source import open_source
from smalti.tokenizer import MaskgitSettings, NetworkSettings, TokenizerSettings

WIDTH, MULTIPLIERS, BLOCKS, DIM, CODES = 32, (1, 1, 2), 2, 6, 40


def shapes():
    s, widths = Shapes(), [WIDTH * multiplier for multiplier in MULTIPLIERS]

    def block(name, before, after):
        s.norm(f"{name}.norm1", before)
        s.conv(f"{name}.conv1", before, after, bias=False)
        s.norm(f"{name}.norm2", after)
        s.conv(f"{name}.conv2", after, after, bias=False)
        if before != after:
            s.conv(f"{name}.nin_shortcut", after, after, side=1, bias=False)

    s.conv("encoder.conv_in", 3, WIDTH, bias=False)
    s.conv("decoder.conv_in", DIM, widths[-1])
    for part, befores in (("encoder.down", [WIDTH, *widths]), ("decoder.up", [*widths[1:], widths[-1]])):
        for n, (before, after) in enumerate(zip(befores, widths, strict=False)):
            for number in range(BLOCKS):
                block(f"{part}.{n}.block.{number}", after if number else before, after)
            if part == "decoder.up" and n:
                s.conv(f"{part}.{n}.upsample_conv", after, after)
    for part in ("encoder", "decoder"):
        for number in range(BLOCKS):
            block(f"{part}.mid.{number}", widths[-1], widths[-1])
    s.norm("encoder.norm_out", widths[-1])
    s.conv("encoder.conv_out", widths[-1], DIM, side=1)
    s.norm("decoder.norm_out", widths[0])
    s.conv("decoder.conv_out", widths[0], 3)
    s["quantize.embedding.weight"] = (CODES, DIM)
    return s


def reference_block(t, name, x):
    added = conv(t, f"{name}.conv1", swish(norm(t, f"{name}.norm1", x)))
    added = conv(t, f"{name}.conv2", swish(norm(t, f"{name}.norm2", added)))
    if f"{name}.nin_shortcut.weight" in t:
        return added + conv(t, f"{name}.nin_shortcut", added)
    return added + x


def reference_encoder(t, x):
    x = conv(t, "encoder.conv_in", x)
    for n in range(len(MULTIPLIERS)):
        for number in range(BLOCKS):
            x = reference_block(t, f"encoder.down.{n}.block.{number}", x)
        if n < len(MULTIPLIERS) - 1:
            x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    for number in range(BLOCKS):
        x = reference_block(t, f"encoder.mid.{number}", x)
    return conv(t, "encoder.conv_out", swish(norm(t, "encoder.norm_out", x)))


def reference_decoder(t, x):
    x = conv(t, "decoder.conv_in", x)
    for number in range(BLOCKS):
        x = reference_block(t, f"decoder.mid.{number}", x)
    for n in reversed(range(len(MULTIPLIERS))):
        for number in range(BLOCKS):
            x = reference_block(t, f"decoder.up.{n}.block.{number}", x)
        if n:
            x = conv(t, f"decoder.up.{n}.upsample_conv", doubled(x))
    return conv(t, "decoder.conv_out", swish(norm(t, "decoder.norm_out", x)))


@pytest.fixture
def tensors():
    return shapes().draw()


def imported(tensors, folder):
    path = folder / "maskgit.safetensors"
    save_file(tensors, path)
    return maskgit.read(open_source(path), Wanted())


@torch.no_grad()
def test_it_gives_what_the_port_gives(tensors, tmp_path):
    model = imported(tensors, tmp_path).model
    assert (model.factor, model.codebook_size, model.channels) == (4, CODES, 3)
    images = torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = reference_encoder(tensors, (images + 1) / 2)  # its images are in [0, 1]
    torch.testing.assert_close(model.latents(images), latents, rtol=1e-4, atol=1e-4)
    entries = tensors["quantize.embedding.weight"]
    codes = torch.cdist(latents.permute(0, 2, 3, 1).reshape(-1, DIM), entries).argmin(-1).view(2, 6, 4)
    assert len(codes.unique()) > 5
    assert torch.equal(model.encode(images), codes)
    images = reference_decoder(tensors, F.embedding(codes, entries).permute(0, 3, 1, 2))
    torch.testing.assert_close(model.decode(codes), images * 2 - 1, rtol=1e-4, atol=1e-4)


def test_it_is_known_for_what_it_is(tensors, tmp_path):
    imported(tensors, tmp_path)
    source = open_source(tmp_path / "maskgit.safetensors")
    assert maskgit.recognises(source)
    told = f"MaskGIT tokenizer: factor 4, {CODES} codes of {DIM} numbers a cell, 3 channels"
    assert maskgit.describe(source) == told


def test_its_model_folder(tensors, tmp_path):
    model = imported(tensors, tmp_path).model
    smalti.save(model, tmp_path / "model")
    again = smalti.load(tmp_path / "model")
    assert again.settings == model.settings
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1
    assert torch.equal(again.encode(images), model.encode(images))


def test_it_trains(tensors, tmp_path):
    model = imported(tensors, tmp_path).model.train()
    quantized = model.quantize(model.latents(torch.rand(1, 3, 8, 8)))
    (model.decode_latents(quantized.latents).square().mean() + quantized.loss).backward()
    assert all(parameter.grad.any() for parameter in model.parameters())
    assert model.last_layer.grad is not None


@pytest.mark.parametrize("missing", ["decoder.conv_out.bias", "encoder.down.2.block.0.nin_shortcut.weight"])
def test_a_missing_tensor_is_named(missing, tensors, tmp_path):
    del tensors[missing]
    with pytest.raises(UserError, match=f"missing .{missing}"):
        imported(tensors, tmp_path)


def test_a_tensor_too_many_is_named(tensors, tmp_path):
    tensors["encoder.attn.weight"] = torch.zeros(2)
    with pytest.raises(UserError, match=r"1 unknown .encoder.attn.weight"):
        imported(tensors, tmp_path)


def test_its_settings_in_a_recipe():
    read = config.parse({"network": {"kind": "maskgit", "blocks": 3}}, TokenizerSettings)
    assert read.network == MaskgitSettings(blocks=3)
    assert config.parse(config.dump(read), TokenizerSettings) == read
    assert config.parse({"network": {"blocks": 3}}, TokenizerSettings).network == NetworkSettings(blocks=3)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            {"kind": "maskgit", "attention_levels": [1]},
            "a key that network has, got network.attention_levels",
        ),
        ({"kind": "maskgit", "width": 33}, "multiples of groups=32"),
        ({"kind": "maskgt"}, "network.kind"),
        (3, "settings below network, got 3"),
    ],
)
def test_settings_that_cannot_be(network, words):
    with pytest.raises(UserError, match=words):
        config.parse({"network": network}, TokenizerSettings)
