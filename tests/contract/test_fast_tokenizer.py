"""The fast and the thrifty ways of a tokenizer: half precision, tiles, recomputed activations."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch

import smalti
from smalti.errors import UserError
from smalti.tokenizer import blocks, tiling
from smalti.tokenizer.blocks import Upsample
from smalti.training.recompute import recompute


@pytest.fixture
def tokenizer():
    return tiny.generator().tokenizer.eval()


def random_images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_half_precision_keeps_the_codebook_and_gives_fp32(tokenizer, tmp_path):
    smalti.save(tokenizer, tmp_path / "model")
    whole, half = (smalti.load(tmp_path / "model", dtype=one) for one in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert half.quantizer.codebook.weight.equal(whole.quantizer.codebook.weight)
    codes = half.encode(random_images(1, 3, 16, 16))
    assert (codes.dtype, half.decode(codes).dtype) == (torch.int64, torch.float32)
    assert (codes == whole.encode(random_images(1, 3, 16, 16))).float().mean() > 0.9
    torch.testing.assert_close(half.decode(codes), whole.decode(codes), atol=0.3, rtol=0.0)


def test_codes_of_half_precision_belong_to_the_same_model(tokenizer, tmp_path):
    smalti.save(tokenizer, tmp_path / "model")
    half = smalti.load(tmp_path / "model", dtype=torch.bfloat16)
    assert smalti.library.fingerprint(half) == smalti.library.fingerprint(tokenizer)


def test_a_generator_in_half_precision_draws(tmp_path):
    smalti.save(tiny.generator(), tmp_path / "model")
    model = smalti.load(tmp_path / "model", dtype=torch.bfloat16)
    assert model.sample(label=0).tensors.dtype == torch.float32
    assert model.fingerprint == smalti.load(tmp_path / "model").fingerprint


@pytest.mark.parametrize("size", [(32, 32), (31, 45), (64, 20)])
def test_doubling_and_convolving_in_one(size):
    """Values and gradients of a large grid, against the two steps that stand for small ones."""
    chance = torch.Generator().manual_seed(0)
    upsample = Upsample(6, with_conv=True)
    x = torch.randn(2, 6, *size, generator=chance, requires_grad=True)
    slope = torch.randn(2, 6, 2 * size[0], 2 * size[1], generator=chance)
    wanted = (x, upsample.conv.weight, upsample.conv.bias)
    assert size[0] * size[1] >= blocks.LARGE
    found, apart = upsample(x), upsample.conv(blocks.doubled(x))
    assert not found.equal(apart)  # it was another way
    torch.testing.assert_close(found, apart, atol=1e-5, rtol=0.0)
    for one, other in zip(*(torch.autograd.grad(y, wanted, slope) for y in (found, apart)), strict=True):
        torch.testing.assert_close(one, other, atol=5e-4, rtol=1e-5)


def test_what_is_computed_in_place_harms_nobody(tokenizer):
    """The networks leave what they are given as it is, and give the same with and without gradients."""
    images = random_images(2, 3, 16, 16)
    latents = tokenizer.encoder(images).detach()
    for network, given in ((tokenizer.encoder, images), (tokenizer.decoder, latents)):
        kept = given.clone()
        with torch.no_grad():
            found = network(given)
        assert given.equal(kept)
        assert network(given).equal(found)


@pytest.mark.parametrize("tile", [4, 5, 7, 8, 32])
@pytest.mark.parametrize("cells", [1, 4, 9, 17, 33, 100])
def test_tiles_cover_a_side_once(cells, tile):
    found = list(tiling.spans(cells, tile))
    assert [place for span in found for place in range(span.first, span.last)] == list(range(cells))
    assert all(span.end - span.begin <= tile for span in found)
    ones = torch.ones(1, 1, cells, 3)
    torch.testing.assert_close(tiling.by_tiles(lambda x: x, ones, cell=(1, 1), tile=tile), ones)


@pytest.mark.parametrize("cell", [(2, 1), (1, 2)])
def test_what_is_local_is_the_same_in_tiles(cell):
    scale = cell[1] / cell[0]

    def run(x):
        return torch.nn.functional.interpolate(x, scale_factor=scale, mode="nearest") * 3 - 1

    x = random_images(2, 3, 18 * cell[0], 31 * cell[0])
    torch.testing.assert_close(tiling.by_tiles(run, x, cell=cell, tile=8), run(x))


def test_no_tile_is_larger_than_asked(tokenizer):
    seen = []
    tokenizer.encoder.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[2:]))
    tokenizer.decoder.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[2:] * 2))
    images = random_images(1, 3, 40, 18)
    codes = tokenizer.encode(images, tile=8)
    assert codes.shape == (1, 20, 9)
    assert tokenizer.decode(codes, tile=8).shape == images.shape
    assert len(seen) > 4
    assert max(side for shape in seen for side in shape) <= 16


def test_one_tile_is_the_whole(tokenizer):
    images = random_images(1, 3, 16, 16)
    codes = tokenizer.encode(images)
    assert tokenizer.encode(images, tile=8).equal(codes)
    assert tokenizer.decode(codes, tile=8).equal(tokenizer.decode(codes))


def test_tiles_too_small_are_refused(tokenizer):
    with pytest.raises(UserError, match="a tile of 4 cells a side or more, got 3"):
        tokenizer.encode(random_images(1, 3, 32, 32), tile=3)
    with pytest.raises(UserError, match="multiples of 2"):
        tokenizer.encode(random_images(1, 3, 33, 32), tile=4)


def test_recomputed_activations_give_the_same_gradients(tokenizer):
    def gradients(model):
        out = model.decode_latents(model.quantize(model.latents(random_images(1, 3, 16, 16))).latents)
        out.square().mean().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    def kept(model):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            model.latents(random_images(1, 3, 16, 16))
        return sum(sizes)

    thrifty = copy.deepcopy(tokenizer)
    recompute(thrifty)
    assert thrifty.state_dict().keys() == tokenizer.state_dict().keys()
    assert kept(thrifty) < 0.7 * kept(tokenizer)
    plain, again = gradients(tokenizer), gradients(thrifty)
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


COMPILED = """
import torch
import tiny
tokenizer = tiny.generator().tokenizer.eval()
images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
codes = tokenizer.encode(images)
expected = tokenizer.decode(codes)
tokenizer.encoder.compile()
tokenizer.decoder.compile()
assert tokenizer.encode(images).equal(codes)
torch.testing.assert_close(tokenizer.decode(codes), expected, atol=1e-5, rtol=1e-5)
"""


@pytest.mark.slow
def test_compiled_networks_give_the_same_codes(tmp_path):
    """In a process of its own: what the tests' shape checker has wrapped cannot be compiled."""
    tests = Path(__file__).parents[1]
    ours = {"PYTHONPATH": str(tests), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], env={**os.environ, **ours}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
