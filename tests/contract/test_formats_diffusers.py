"""Folders of diffusers' VQModel and AutoencoderKL give its outputs here, and ours give our outputs there."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from smalti.errors import UserError
from smalti.formats import diffusers as ours
from smalti.formats.protocol import Wanted
from smalti.formats.source import open_source
from smalti.quantizers.gaussian import GaussianSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import MaskgitSettings, NetworkSettings, Tokenizer, TokenizerSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers import AutoencoderKL, VQModel

ATTENTION = {
    "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
    "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"),
}
SMALL = {
    "block_out_channels": (8, 16, 16),
    "layers_per_block": 2,
    "latent_channels": 6,
    "norm_num_groups": 4,
    **ATTENTION,
}
CODES = {"num_vq_embeddings": 32, "vq_embed_dim": 5}
VARIANTS = {
    "vq": (VQModel, CODES),
    "vq, no attention, more channels": (
        VQModel,
        {
            "num_vq_embeddings": 32,
            "mid_block_add_attention": False,
            "in_channels": 4,
            "out_channels": 2,
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
        },
    ),
    "kl": (AutoencoderKL, {}),
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def theirs(request):
    kind, changes = request.param
    return build(kind, **changes)


def build(kind, **changes):
    """A model of theirs with lively weights; at its start attention hardly shows."""
    torch.manual_seed(0)
    model = kind(**SMALL | changes).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def imported(folder):
    return ours.read(open_source(folder), Wanted()).model


def random_images(channels, height=20, width=12):
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def check_equal(theirs, tokenizer):
    images = random_images(tokenizer.channels)
    if isinstance(theirs, AutoencoderKL):
        moments = theirs.encode(images).latent_dist
        mean = tokenizer.quantize(tokenizer.latents(images)).latents
        torch.testing.assert_close(mean, moments.mean, rtol=1e-4, atol=1e-4)
        drawn = theirs.decode(moments.mean).sample
        torch.testing.assert_close(tokenizer.decode_latents(mean), drawn, rtol=1e-4, atol=1e-4)
        return
    latents = theirs.encode(images).latents
    torch.testing.assert_close(tokenizer.latents(images), latents, rtol=1e-4, atol=1e-4)
    codes = theirs.quantize(latents)[2][2].view(2, 5, 3)
    assert len(codes.unique()) > 4
    assert torch.equal(tokenizer.encode(images), codes)
    torch.testing.assert_close(tokenizer.decode(codes), theirs.decode(latents).sample, rtol=1e-4, atol=1e-4)


def test_theirs_here(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    tokenizer = imported(tmp_path)
    assert tokenizer.factor == 4
    check_equal(theirs, tokenizer)
    source = open_source(tmp_path)
    assert ours.recognises(source)
    assert type(theirs).__name__ in ours.describe(source)
    assert "\n" not in ours.describe(source)


def test_ours_there(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "first")
    tokenizer = imported(tmp_path / "first")
    for parameter in tokenizer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    (tmp_path / "out").mkdir()
    ours.write(tokenizer, tmp_path / "out", {})
    back, report = type(theirs).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    check_equal(back.eval(), tokenizer)
    config = json.loads((tmp_path / "out" / ours.CONFIG).read_text())
    del config["_smalti"]  # by their words alone
    (tmp_path / "out" / ours.CONFIG).write_text(json.dumps(config))
    again = imported(tmp_path / "out")
    assert again.settings == tokenizer.settings
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), tokenizer.parameters(), strict=True))


def test_files_of_old_releases(tmp_path):
    model = build(VQModel, **CODES)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / ours.WEIGHTS)
    words = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, old in words.items():
        weights = {name.replace(f".{new}.", f".{old}."): tensor for name, tensor in weights.items()}
    save_file(weights, tmp_path / ours.WEIGHTS)
    config = json.loads((tmp_path / ours.CONFIG).read_text())
    for key in ("mid_block_add_attention", "lookup_from_codebook", "force_upcast", "norm_type"):
        del config[key]
    (tmp_path / ours.CONFIG).write_text(json.dumps(config))
    check_equal(model, imported(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm_type": "spatial"}, "norm_type"),
        ({"act_fn": "mish"}, "act_fn"),
        ({"up_block_types": ("UpDecoderBlock2D",) * 3}, "same levels"),
        ({"block_out_channels": (8, 12, 16)}, "multiples of the first"),
        ({"layers_per_block": 1}, r"68 unknown \(decoder.up_blocks.0"),
        ({"num_vq_embeddings": 31}, r"quantize.embedding.weight \(32, 5\) for \(31, 5\)"),
        (
            {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3},
            "attentions",
        ),
    ],
)
def test_configs_that_do_not_fit(changes, words, tmp_path):
    build(VQModel, **CODES).save_pretrained(tmp_path)
    config = json.loads((tmp_path / ours.CONFIG).read_text())
    (tmp_path / ours.CONFIG).write_text(json.dumps(config | changes))
    with pytest.raises(UserError, match=words):
        imported(tmp_path)


@pytest.mark.parametrize("with_config", [True, False], ids=["config", "shapes"])
@pytest.mark.parametrize(("before", "behind"), [(False, False), (False, True), (True, False)])
def test_kl_without_its_small_convolutions(before, behind, with_config, tmp_path):
    """17: they are read as ones that change nothing, and not written."""
    sizes = {"block_out_channels": (32, 64, 64), "norm_num_groups": 32}
    theirs = build(AutoencoderKL, use_quant_conv=before, use_post_quant_conv=behind, **sizes)
    theirs.save_pretrained(tmp_path)
    if not with_config:
        (tmp_path / ours.CONFIG).unlink()
    model = imported(tmp_path)
    check_equal(theirs, model)
    (tmp_path / "out").mkdir()
    ours.write(model, tmp_path / "out", {})
    first, second = (load_file(folder / ours.WEIGHTS) for folder in (tmp_path, tmp_path / "out"))
    assert first.keys() == second.keys()
    check_equal(AutoencoderKL.from_pretrained(tmp_path / "out"), model)
    with torch.no_grad():
        model.quant_conv.bias[0] += 1  # which now changes something
    ours.write(model, tmp_path / "out", {})
    assert "quant_conv.bias" in load_file(tmp_path / "out" / ours.WEIGHTS)


def test_a_convolution_that_the_config_denies(tmp_path):
    build(AutoencoderKL).save_pretrained(tmp_path)
    config = json.loads((tmp_path / ours.CONFIG).read_text())
    (tmp_path / ours.CONFIG).write_text(json.dumps(config | {"use_quant_conv": False}))
    with pytest.raises(UserError, match="no quant_conv"):
        imported(tmp_path)


@pytest.mark.parametrize(
    "missing", ["encoder.mid_block.attentions.0.to_q.weight", "quantize.embedding.weight"]
)
def test_missing_tensors_are_named_as_in_the_file(missing, tmp_path):
    build(VQModel, **CODES).save_pretrained(tmp_path)
    weights = load_file(tmp_path / ours.WEIGHTS)
    del weights[missing]
    save_file(weights, tmp_path / ours.WEIGHTS)
    with pytest.raises(UserError, match=missing):
        imported(tmp_path)


NETWORK = {"width": 8, "multipliers": (1, 2), "groups": 4, "attention_levels": ()}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (TokenizerSettings(network=MaskgitSettings(width=8, multipliers=(1,), groups=4)), "maskgit"),
        (TokenizerSettings(network=NetworkSettings(**NETWORK, attention="all_after_each")), "all_after_each"),
        (TokenizerSettings(network=NetworkSettings(**NETWORK | {"multipliers": (2, 2)})), "multipliers"),
        (TokenizerSettings(network=NetworkSettings(**NETWORK, resample_with_conv=False)), "resample"),
        (TokenizerSettings(network=NetworkSettings(**NETWORK), image_range="0..1"), "0..1"),
        (TokenizerSettings(network=NetworkSettings(**NETWORK), content="segmentation"), "segmentation"),
        (
            TokenizerSettings(
                network=NetworkSettings(**NETWORK), quantizer=VectorQuantizerSettings(cosine=True)
            ),
            "cosine",
        ),
        (
            TokenizerSettings(network=NetworkSettings(**NETWORK, code_dim=4), quantizer=GaussianSettings()),
            "code_dim",
        ),
    ],
)
def test_what_their_classes_cannot_give_is_not_written(settings, words, tmp_path):
    with pytest.raises(UserError, match=words):
        ours.write(Tokenizer(settings), tmp_path, {})
    assert not list(tmp_path.iterdir())
