"""What holds for every tokenizer, every size of image, every batch."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.errors import UserError
from smalti.quantizers.clusters import nearest
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

TINY = NetworkSettings(
    width=4, multipliers=(1, 2), blocks=1, attention_levels=(1,), latent_channels=3, code_dim=2, groups=2
)
EXAMPLES = settings(max_examples=20, deadline=None)


def build(network: NetworkSettings = TINY, image_range: str = "-1..1", **quantizer) -> Tokenizer:
    torch.manual_seed(0)
    quantizer = VectorQuantizerSettings(codebook_size=32, **quantizer)
    tokenizer = Tokenizer(TokenizerSettings(network=network, quantizer=quantizer, image_range=image_range))
    with torch.no_grad():  # as it is, nearly all latents of a fresh network fall to one entry
        tokenizer.quantizer.codebook.weight.normal_()
        tokenizer.quant_conv.weight.mul_(4.0)
    return tokenizer.eval()


@st.composite
def networks(draw) -> dict:  # not yet settings: the shape checker draws random numbers, a strategy must not
    multipliers = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)))
    levels = range(len(multipliers))
    groups = draw(st.sampled_from([1, 2, 4]))
    return dict(
        in_channels=draw(st.integers(1, 4)),
        out_channels=draw(st.integers(1, 4)),
        width=groups * draw(st.integers(2, 3)),  # torch wants a group of more than one number
        multipliers=multipliers,
        blocks=draw(st.integers(1, 2)),
        attention_levels=tuple(level for level in levels if draw(st.booleans())),
        mid_attention=draw(st.booleans()),
        latent_channels=draw(st.integers(1, 5)),
        code_dim=draw(st.integers(2, 5)),
        dropout=draw(st.sampled_from([0.0, 0.5])),
        resample_with_conv=draw(st.booleans()),
        groups=groups,
    )


@EXAMPLES
@given(networks(), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.data())
def test_every_network_goes_there_and_back(network, b, h, w, cosine, data):
    image_range = data.draw(st.sampled_from(["-1..1", "0..1"]))
    network = NetworkSettings(**network)
    tokenizer = build(network, image_range, cosine=cosine).train()
    images = torch.rand(b, network.in_channels, h * tokenizer.factor, w * tokenizer.factor) * 2 - 1
    images[..., 0, 0] = -1  # few pixels that are all above 0 would be taken for images in [0, 1]
    assert tokenizer.latents(images).shape == (b, network.code_dim, h, w)
    codes = tokenizer.encode(images)
    assert codes.shape == (b, h, w)
    reconstruction = tokenizer.reconstruct(images)
    assert reconstruction.shape == (b, network.out_channels, *images.shape[2:])
    assert torch.equal(reconstruction, tokenizer.decode(codes)), "dropout in a model in training mode"
    assert not reconstruction.requires_grad
    assert tokenizer.training
    assert tokenizer.encoder.mid.block_1.dropout.training


@EXAMPLES
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.data())
def test_a_image_alone_is_the_same_as_in_a_batch(b, h, w, data):
    tokenizer = build()
    row = data.draw(st.integers(0, b - 1))
    images = torch.rand(b, 3, 2 * h, 2 * w) * 2 - 1
    images[..., 0, 0] = -1  # few pixels that are all above 0 would be taken for images in [0, 1]
    with torch.no_grad():
        torch.testing.assert_close(tokenizer.latents(images)[row], tokenizer.latents(images[row, None])[0])
    codes = tokenizer.encode(images)
    torch.testing.assert_close(tokenizer.decode(codes)[row], tokenizer.decode(codes[row, None])[0])
    latents = torch.randn(b, 2, h, w)
    alone = tokenizer.quantize(latents[row, None])
    assert torch.equal(tokenizer.quantize(latents).codes[row], alone.codes[0])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 400), st.integers(0, 2**32))
def test_search_in_parts_is_the_whole_search(num_rows, num_entries, max_elements, seed):
    generator = torch.Generator().manual_seed(seed)
    # small whole numbers: sums are exact, and many entries are equally near
    rows = torch.randint(-2, 3, (num_rows, 3), generator=generator).float()
    entries = torch.randint(-2, 3, (num_entries, 3), generator=generator).float()
    distances = (rows[:, None] - entries).square().sum(-1)
    first = [row.tolist().index(row.min().item()) for row in distances]
    assert nearest(rows, entries).tolist() == first
    assert nearest(rows, entries, max_elements=max_elements).tolist() == first


@pytest.mark.parametrize("max_elements", [64, 7])
def test_search_holds_no_more_scores_than_it_may(monkeypatch, max_elements):
    sizes = []
    addmm = torch.addmm
    monkeypatch.setattr(
        torch, "addmm", lambda *a, out, **k: sizes.append(out.numel()) or addmm(*a, out=out, **k)
    )
    nearest(torch.randn(100, 3), torch.randn(10, 3), max_elements=max_elements)
    assert sum(sizes) == 1000
    assert max_elements // 2 < max(sizes) <= max_elements


@EXAMPLES
@given(st.integers(1, 9), st.integers(1, 9))
def test_sides_of_no_multiple_are_refused(height, width):
    tokenizer, images = build(), torch.zeros(1, 3, height, width)
    if height % 2 == 0 and width % 2 == 0:
        assert tokenizer.encode(images).shape == (1, height // 2, width // 2)
        return
    with pytest.raises(UserError, match="multiples of 2") as caught:
        tokenizer.encode(images)
    assert caught.value.got == f"{height} x {width} pixels"
    sides = [int(word) for word in caught.value.remedy.split() if word.isdigit()]
    assert tokenizer.encode(torch.zeros(1, 3, *sides)).numel() > 0


def test_wrong_channels_are_refused():
    with pytest.raises(
        UserError, match=r"floats \(batch, 3, height, width\).*got torch.float32 \(1, 4, 8, 8\)"
    ):
        build().encode(torch.zeros(1, 4, 8, 8))


@pytest.mark.parametrize("code", [-1, 32])
def test_codes_that_the_codebook_lacks_are_refused(code):
    with pytest.raises(UserError, match="codes from 0 to 31, got"):
        build().decode(torch.tensor([[[0, code]]]))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"attention_levels": (2,)}, "attention_levels from 0 to 1, got 2"),
        ({"groups": 3}, "multiples of groups=3, got 4, 8"),
        ({"multipliers": ()}, "one number a level"),
    ],
)
def test_networks_that_cannot_be_are_refused(wrong, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(TINY, **wrong)


def test_training_gets_gradients_everywhere():
    tokenizer = build().train()
    quantized = tokenizer.quantize(tokenizer.latents(torch.rand(1, 3, 8, 8) * 2 - 1))
    (tokenizer.decode_latents(quantized.latents).square().mean() + quantized.loss).backward()
    # a bias of the keys moves every score of a row alike: its gradient is nothing but rounding
    dead = [name for name, p in tokenizer.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in dead if not name.endswith(".k.bias")] == []


def test_the_range_inside_does_not_show_outside():
    outer, inner = build(image_range="-1..1"), build(image_range="0..1")
    images = torch.rand(1, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(inner.latents(images), outer.latents((images + 1) / 2))
        latents = torch.randn(1, 2, 4, 4)
        torch.testing.assert_close(inner.decode_latents(latents), outer.decode_latents(latents) * 2 - 1)


def test_half_precision_weights_decode():
    tokenizer = build().bfloat16()
    images = torch.rand(1, 3, 8, 8, dtype=torch.bfloat16) * 2 - 1
    assert tokenizer.reconstruct(images).dtype == torch.float32, "images are fp32 at the interface"
    assert tokenizer.quantize(tokenizer.latents(images)).latents.dtype == torch.float32
