"""Through the commands: each peer's file is known by its own format alone and becomes a model that works."""

import json

import pytest
import test_formats_dalle_mini as dalle_mini
import test_formats_llamagen as llamagen
import test_formats_maskgit as maskgit
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from test_formats_dalle_mini import CONFIG as FLAX_CONFIG
from test_formats_dalle_mini import put as put_flax
from test_formats_dalle_mini import shapes as flax_shapes
from test_formats_dalle_mini import tree
from test_formats_llamagen import (
    CLASSES,
    HEADS,
    prior_shapes,
    reference_logits,
    tiny_tokenizer,
    tokenizer_shapes,
)
from test_formats_maskgit import shapes as maskgit_shapes

import smalti
from smalti.cli.main import group
from smalti.formats import FORMATS
from smalti.formats.source import open_source
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings


def diffusers_folder(folder):
    network = NetworkSettings(width=8, multipliers=(1, 2), groups=4, attention_levels=(1,), latent_channels=4)
    settings = TokenizerSettings(network=network, quantizer=VectorQuantizerSettings.legacy(codebook_size=9))
    torch.manual_seed(0)
    smalti.save(Tokenizer(settings), folder / "ours")
    said = run("export", folder / "ours", folder / "there", "--format", "diffusers")
    assert said.exit_code == 0, said.output
    assert json.loads((folder / "there" / "config.json").read_text())["_class_name"] == "VQModel"
    return folder / "there"


def llamagen_tokenizer(folder):
    torch.save({"model": tokenizer_shapes().draw()}, folder / "vq_ds4.pt")
    return folder / "vq_ds4.pt"


def maskgit_file(folder):
    save_file(maskgit_shapes().draw(), folder / "pytorch_model.safetensors")
    return folder / "pytorch_model.safetensors"


def flax_folder(folder):
    put_flax(folder, tree(flax_shapes().draw()), FLAX_CONFIG)
    return folder


FILES = {
    "diffusers": diffusers_folder,
    "llamagen": llamagen_tokenizer,
    "maskgit": maskgit_file,
    "dalle_mini": flax_folder,
}


def through(latents, entries, images):
    """The reference's images of the entries nearest to latents."""
    codes = torch.cdist(latents.movedim(1, -1).flatten(0, 2), entries).argmin(-1)
    return images(entries[codes].view(latents.movedim(1, -1).shape).movedim(-1, 1))


def llamagen_images(images, folder):
    t = tokenizer_shapes().draw()
    entries, latents = llamagen.unit(t["quantize.embedding.weight"]), llamagen.reference_latents(t, images)
    latents = llamagen.unit(latents.movedim(1, -1)).movedim(-1, 1)
    return through(latents, entries, lambda chosen: llamagen.reference_images(t, chosen))


def maskgit_images(images, folder):
    t = maskgit_shapes().draw()
    latents = maskgit.reference_encoder(t, (images + 1) / 2)
    found = through(latents, t["quantize.embedding.weight"], lambda x: maskgit.reference_decoder(t, x))
    return found * 2 - 1


def flax_images(images, folder):
    t = flax_shapes().draw()
    latents = dalle_mini.reference_latents(t, images)
    return through(latents, t["quantize.embedding.weight"], lambda x: dalle_mini.reference_images(t, x))


IMAGES = {  # what the other project's code gives
    "diffusers": lambda images, folder: smalti.load(folder / "ours").reconstruct(images),
    "llamagen": llamagen_images,
    "maskgit": maskgit_images,
    "dalle_mini": flax_images,
}


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words], catch_exceptions=False)


def test_every_format_is_tried():
    """compvis has tests of its own."""
    assert {*FILES, "compvis"} == FORMATS.keys()


@pytest.mark.parametrize("name", FILES)
def test_a_file_becomes_a_model_folder(name, tmp_path):
    path = FILES[name](tmp_path)
    assert next(key for key, member in FORMATS.items() if member.recognises(open_source(path))) == name
    told = run("info", path)
    assert told.exit_code == 0, told.output
    assert "codes of" in told.output
    assert len(told.output.splitlines()) == 1
    done = run("import", path, tmp_path / "model")
    assert done.exit_code == 0, done.output
    model = smalti.load(tmp_path / "model")
    metadata = json.loads((tmp_path / "model" / "config.json").read_text())
    assert metadata["provenance"]["format"] == name
    images = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
    torch.testing.assert_close(
        model.reconstruct(images), IMAGES[name](images, tmp_path), rtol=1e-4, atol=1e-4
    )


def test_a_prior_comes_with_its_tokenizer_and_size(tmp_path):
    torch.save({"model": prior_shapes().draw(seed=3)}, tmp_path / "c2i_tiny.pt")
    assert "without its tokenizer" in run("info", tmp_path / "c2i_tiny.pt").output
    words = ["import", tmp_path / "c2i_tiny.pt", tmp_path / "model", "--num-heads", HEADS]
    smalti.save(tiny_tokenizer(), tmp_path / "tokenizer")
    lone = CliRunner().invoke(group, [str(word) for word in words])
    assert lone.exit_code != 0
    done = run(*words, "--tokenizer", tmp_path / "tokenizer", "--size", "6x8")
    assert done.exit_code == 0, done.output
    generator = smalti.load(tmp_path / "model")
    codes = generator.sample(num=2, label=[1, 2], guidance_scale=2.0, top_k=1).codes
    for label, drawn in zip((1, 2), codes.flatten(1), strict=True):
        weights = prior_shapes().draw(seed=3)
        said, null = (reference_logits(weights, one, drawn) for one in (label, CLASSES))
        assert torch.equal((null + 2.0 * (said - null)).argmax(-1), drawn)
