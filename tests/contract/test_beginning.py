"""A training can begin with a model that is there, its discriminator and its settings."""

import pytest
import torch
from tiny import NETWORK

import smalti
from smalti import library
from smalti.conditions.label import LabelSettings
from smalti.errors import UserError
from smalti.losses.patchgan import PatchGAN, PatchGANSettings
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training.checkpoints import latest, read

STILL = {"optimizer.lr": 1e-12, "ema": 0.0, "workers": 0, "log_every": 1, "checkpoint_every": 1}
STILL |= {"losses.perceptual.kind": "none", "batch": 2, "steps": 1, "device": "cpu"}


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer in a model folder, with a discriminator."""
    torch.manual_seed(3)
    network = NetworkSettings(**{**NETWORK, "multipliers": (1, 1)})
    quantizer = VectorQuantizerSettings(codebook_size=12, kmeans_start=True)
    model = Tokenizer(TokenizerSettings(network=network, quantizer=quantizer))
    discriminator = PatchGAN(PatchGANSettings(width=4, layers=1))
    library.save(model, tmp_path / "tokenizer", discriminator=discriminator.state_dict())
    return tmp_path / "tokenizer"


@pytest.fixture
def prior(tokenizer, tmp_path):
    condition = LabelSettings(classes=2, names=("lying", "standing"))
    settings = PipelineSettings(
        prior=GPTSettings(layers=1, heads=1, width=8), condition=condition, order="spiral_in", grid=(4, 4)
    )
    library.save(Pipeline(settings, smalti.load(tokenizer)), tmp_path / "prior")
    return tmp_path / "prior"


def near(a, b) -> None:
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=1e-5)


def test_a_tokenizer_and_its_discriminator(tokenizer, photos, tmp_path):
    asked = {
        **STILL,
        "size": 16,
        "discriminator_optimizer.lr": 1e-12,
        "losses.adversarial.discriminator_start": 0,
        "losses.adversarial.start": 0,
    }
    run = smalti.train("tokenizer_300", data=photos, out=tmp_path / "run", init_from=str(tokenizer), **asked)
    near(smalti.load(run), smalti.load(tokenizer))
    kept = read(latest(run / "checkpoints")).below("network/discriminator")
    expected = library.load_discriminator(tokenizer)
    assert kept.keys() == expected.keys()
    torch.testing.assert_close(kept["main.0.weight"], expected["main.0.weight"], atol=1e-6, rtol=0)


def test_a_prior(prior, photos, tmp_path):
    run = smalti.train("prior_300", data=photos, out=tmp_path / "run", init_from=str(prior), **_of_priors())
    found, began = smalti.load(run), smalti.load(prior)
    assert found.settings == began.settings
    near(found.prior, began.prior)
    near(found.tokenizer, began.tokenizer)


def test_a_resumed_run_goes_on_from_its_own_weights(prior, photos, tmp_path):
    asked = {**_of_priors(), "optimizer.lr": 0.1}
    run = smalti.train("prior_300", data=photos, out=tmp_path / "run", init_from=str(prior), **asked)
    first = smalti.load(run).prior.head.weight.clone()
    smalti.train("prior_300", out=run, resume=True, steps=1)
    assert torch.equal(smalti.load(run).prior.head.weight, first)
    assert not torch.allclose(smalti.load(prior).prior.head.weight, first)


def test_what_the_model_has_settled_cannot_be_asked(tokenizer, prior, photos, tmp_path):
    cases = [
        ("tokenizer_300", tokenizer, "network.width", 16),
        ("tokenizer_300", tokenizer, "quantizer.codebook_size", 3),
        ("prior_300", prior, "prior.layers", 2),
    ]
    for recipe, model, key, value in cases:
        with pytest.raises(UserError, match=key):
            smalti.train(recipe, data=photos, out=tmp_path / "run", init_from=str(model), **{key: value})


def test_a_tokenizer_is_no_prior(tokenizer, photos, tmp_path):
    with pytest.raises(UserError, match="tokenizer="):
        smalti.train("prior_300", data=photos, out=tmp_path / "run", init_from=str(tokenizer))
    assert not (tmp_path / "run").exists()


def _of_priors() -> dict:
    return {name: value for name, value in STILL.items() if not name.startswith("losses")}
