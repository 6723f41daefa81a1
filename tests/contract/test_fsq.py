"""Finite scalar quantization, by numbers computed by hand; what formats make of it."""

from math import prod

import pytest
import torch
from tiny import NETWORK, generator

import smalti
from smalti import config, library
from smalti.errors import UserError
from smalti.formats.exporting import convert
from smalti.quantizers.fsq import PUBLISHED, FsqQuantizer, FsqSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training.settings import TrainingSettings

NETWORK_2 = NetworkSettings(**{**NETWORK, "multipliers": (1, 2), "code_dim": 2})


def quantizer(*levels: int) -> FsqQuantizer:
    return FsqQuantizer(FsqSettings(levels=levels), dim=len(levels))


def tokenizer(*levels: int) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(TokenizerSettings(network=NETWORK_2, quantizer=FsqSettings(levels=levels)))


def test_codes_entries_and_gradients_by_hand():
    """Levels 8 and 5: h is 3.5035 and 2.002, the shift of the even channel atanh(0.5 / 3.5035) = 0.143696.

    b of the first is 0, 3.0035, -4.0035, 1.48797, -1.69807, of the second 0.92516, -0.39514, 1.52471,
    -2.002, 0.
    """
    latents = torch.tensor([[0.0, 20.0, -20.0, 0.5, -0.5], [0.5, -0.2, 1.0, -20.0, 0.0]])
    latents = latents.view(1, 2, 1, 5).requires_grad_()
    found = quantizer(8, 5)(latents)
    entries = [[0.0, 0.75, -1.0, 0.25, -0.5], [0.5, 0.0, 1.0, -1.0, 0.0]]
    assert found.latents[0, :, 0].tolist() == entries
    digits = [(4, 3), (7, 2), (0, 4), (5, 0), (2, 2)]
    assert found.codes.flatten().tolist() == [first + 8 * second for first, second in digits]
    assert found.loss == 0
    found.latents.sum().backward()
    # h (1 - tanh^2) / floor(L / 2): 3.5035 (1 - 0.142714^2) / 4, and 2.002 (1 - 0.462117^2) / 2
    assert latents.grad[0, :, 0, 0].tolist() == pytest.approx([0.858036, 0.787235], abs=2e-6)


def test_a_channel_of_two_levels_is_split_in_the_middle():
    found = quantizer(2, 3)(torch.tensor([[-0.01, 0.01, 9.0], [-0.6, 0.5, 0.6]]).view(1, 2, 1, 3))
    assert found.latents[0, :, 0].tolist() == [[-1.0, 0.0, 0.0], [-1.0, 0.0, 1.0]]
    assert found.codes.flatten().tolist() == [0, 3, 5]


@pytest.mark.parametrize("levels", [*PUBLISHED.values(), (2, 3, 4, 7, 9)], ids=str)
def test_each_code_has_an_entry_that_latents_find(levels):
    """The first channel counts single; each entry is reached from where its channel's b is a whole number."""
    member = quantizer(*levels)
    codes = torch.arange(member.codebook_size).view(1, 1, -1)
    entries = member.lookup(codes)
    assert len(entries[0, :, 0].T.unique(dim=0)) == member.codebook_size == prod(levels)
    lowest, second, last = ([-1.0] * len(levels) for _ in range(3))
    second[0] += 1 / (levels[0] // 2)
    last = [1.0 - (2 / level if level % 2 == 0 else 0.0) for level in levels]
    assert entries[0, :, 0, [0, 1, -1]].T.tolist() == [
        pytest.approx(lowest), pytest.approx(second), pytest.approx(last)
    ]  # fmt: skip
    radix = torch.tensor(levels).view(1, -1, 1, 1)
    half, even = (radix - 1) * 1.001 / 2, radix % 2 == 0
    shift = torch.where(even & (radix > 2), 0.5 / half, 0.0).atanh()
    latents = ((entries * (radix // 2) + 0.5 * even) / half).atanh() - shift
    assert torch.equal(member(latents).codes, codes)
    assert torch.equal(member(latents).latents, entries)


@pytest.mark.parametrize(
    ("size", "codes"), [(256, 240), (1024, 1000), (4096, 4375), (16384, 15360), (65536, 64000)]
)
def test_published_levels_by_the_size_of_the_codebook(size, codes):
    found = config.parse({"kind": "fsq", "levels": size}, FsqSettings)
    assert found.levels == PUBLISHED[size]
    assert prod(found.levels) == codes
    assert config.dump(found) == {"kind": "fsq", "levels": list(PUBLISHED[size])}


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (
            1000,
            r"levels as a list, or one of 256, 1024, 4096, 16384, 65536, got 1000; quantizer\.levels='\[8, 5",
        ),
        ([8, 1], r"a valid quantizer\.levels\.1, got 1; .*greater than or equal to 2"),
        ([], r"a valid quantizer\.levels, got list \[\]; .*at least 1 item"),
        ([4096, 4097], "at most 16,777,216 codes, got 16,781,312, the product of"),
        ("8x5", "levels as a list, or one of .*, got 8x5; quantizer"),
    ],
)
def test_levels_that_are_none_are_told(levels, message):
    with pytest.raises(UserError, match=message) as told:
        config.parse({"quantizer": {"kind": "fsq", "levels": levels}}, TokenizerSettings)
    assert "\n" not in str(told.value)


def test_the_width_of_an_entry_follows_from_the_levels():
    changes = {"data.root": "x", "quantizer": {"kind": "fsq", "levels": 65536}}
    training = config.parse(config.read("vqgan_imagenet_f16_1024", changes), TrainingSettings)
    assert training.network.code_dim == 6
    assert config.parse(config.dump(training), TrainingSettings) == training
    with pytest.raises(UserError, match=r"code_dim=6, as quantizer\.kind=fsq has it, got 8; leave"):
        config.parse(config.dump(training) | {"network": {"code_dim": 8}}, TrainingSettings)


def test_it_is_saved_loaded_told_and_begun_with(tmp_path, photos):
    model = tokenizer(8, 5)
    library.save(model, tmp_path / "fsq")
    found = smalti.load(tmp_path / "fsq")
    images = torch.rand(2, 3, 12, 20) * 2 - 1
    codes = model.encode(images)
    assert torch.equal(found.encode(images), codes)
    assert torch.equal(found.decode(codes), model.decode(codes))
    assert "quantizer" not in " ".join(found.state_dict())
    said = library.outline(tmp_path / "fsq").words
    assert "factor 2, 40 codes" in said
    assert said.splitlines()[1].endswith("quantizer fsq of levels 8 5")
    still = {"optimizer.lr": 1e-12, "ema": 0.0, "workers": 0, "steps": 1, "batch": 2, "size": 16}
    still |= {"losses.perceptual.kind": "none", "losses.adversarial": None, "discriminator_optimizer": None}
    run = smalti.train(
        "tokenizer_300", data=photos, out=tmp_path / "run", init_from=str(tmp_path / "fsq"), **still
    )
    assert smalti.load(run).settings.quantizer == FsqSettings(levels=(8, 5))
    assert torch.equal(smalti.load(run).encode(images), codes)


@pytest.mark.parametrize("of_a_prior", [False, True])
@pytest.mark.parametrize("name", ["compvis", "diffusers"])
def test_formats_that_cannot_hold_it_say_so(name, of_a_prior, tmp_path):
    model = generator(quantizer=FsqSettings(levels=(4, 3))) if of_a_prior else tokenizer(4, 3)
    library.save(model, tmp_path / "model")
    expected = (
        r"got a generator"
        if of_a_prior and name == "diffusers"
        else r"got (quantizer\.)?kind.fsq; keep the model folder(:|$)"
    )
    with pytest.raises(UserError, match=expected):
        convert(tmp_path / "model", tmp_path / "out", name)
    assert not (tmp_path / "out").exists()
