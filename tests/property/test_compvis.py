"""Any model of ours that the 2021 code can hold comes back from its files as it went."""

import tempfile
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.none import NoConditionSettings
from smalti.conditions.points import PointsSettings
from smalti.errors import UserError
from smalti.formats.compvis import codebook
from smalti.formats.compvis import member as compvis
from smalti.formats.protocol import Wanted
from smalti.formats.source import open_source
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.quantizers.ema import EmaSettings
from smalti.quantizers.gaussian import GaussianSettings
from smalti.quantizers.gumbel import GumbelSettings, TemperatureSettings
from smalti.quantizers.remap import RemappedSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

# without shrinking: each try is a whole model, and the search for a smaller one would end in the time limit
SLOW = settings(
    deadline=None,
    max_examples=5,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
CODES = 16
INNER_MEMBERS = [
    VectorQuantizerSettings.legacy(codebook_size=CODES),
    EmaSettings(codebook_size=CODES, first_count=0.0),
    GumbelSettings(codebook_size=CODES, kl=1e-3, temperature=TemperatureSettings(high=0.9, until=7)),
]
QUANTIZERS = [*INNER_MEMBERS, GaussianSettings()]
QUANTIZERS += [RemappedSettings(inner=inner, used=used) for inner in INNER_MEMBERS for used in (1, 9, CODES)]
LEVELS, CHANNELS = st.integers(1, 3), st.sampled_from([1, 3])
ORDERS = ["row", "subsample", "z_curve", "spiral_out", "spiral_in", "random", "alternate"]
SCENE = {"no_tokens": 40, "classes": 3, "max_objects": 2, "clip_both_ends": False}
CONDITIONS = [
    NoConditionSettings(token=3),
    LabelSettings(classes=5),
    CoordinatesSettings(tokens=20),
    MapSettings(),
    MapSettings(shared=True),
    BoxesSettings(**SCENE, flags=("group",)),
    PointsSettings(**SCENE, encode_crop=False),
]


@st.composite
def networks(draw, levels=LEVELS, channels=CHANNELS):
    """Keywords of NetworkSettings: the shape checker, which runs where settings are made, draws by chance."""
    multipliers = tuple(draw(st.lists(st.sampled_from([1, 2]), min_size=(n := draw(levels)), max_size=n)))
    attention, middle = draw(st.sets(st.integers(0, n - 1))), draw(st.booleans())
    count = draw(channels)
    return {
        "in_channels": count,
        "out_channels": count,
        "width": 32,
        "multipliers": multipliers,
        "blocks": draw(st.integers(1, 2)),
        "attention_levels": tuple(sorted(attention)) if middle else (),
        "mid_attention": middle,
        "latent_channels": 4,
        "code_dim": 4,
        "dropout": draw(st.sampled_from([0.0, 0.1])),
        "resample_with_conv": draw(st.booleans()) or n == 1,
    }


def tokenizer(network: dict, quantizer=INNER_MEMBERS[0], **more) -> Tokenizer:
    how = TokenizerSettings(network=NetworkSettings(**network), quantizer=quantizer, **more)
    return awake(Tokenizer(how), 1)


def awake(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """With weights that all matter: also those that begin at 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
        for name, buffer in module.named_buffers():
            if name.endswith("quantizer.used"):
                buffer.copy_(torch.randperm(CODES, generator=generator)[: len(buffer)])
    return module.eval()


def there_and_back(model):
    with tempfile.TemporaryDirectory() as folder:
        compvis.write(model, Path(folder), {})
        (project,) = (Path(folder) / "configs").glob("*")
        said = yaml.safe_load(project.read_text())
        said["smalti"].pop("settings")  # by their words alone: not by what ours keeps beside them
        project.write_text(yaml.safe_dump(said))
        source = open_source(Path(folder))
        assert compvis.recognises(source)
        found = compvis.read(source, Wanted())
        assert compvis.describe(source)
        return found.model


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> None:
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@SLOW
@given(networks(), st.sampled_from(QUANTIZERS), st.integers(0, 99))
def test_tokenizers(network, quantizer, seed):
    model = tokenizer(network, quantizer)
    found = there_and_back(model)
    assert found.settings == model.settings
    same_weights(model, found)
    side, generator = model.factor * 2, torch.Generator().manual_seed(seed)
    images = torch.rand(1, model.channels, side, side, generator=generator) * 2 - 1
    assert torch.equal(model.reconstruct(images), found.reconstruct(images))


@SLOW
@given(networks(channels=st.just(7)))
def test_segmentations(network):
    model = tokenizer(network, content="segmentation")
    found = there_and_back(model)
    assert found.settings == model.settings
    same_weights(model, found)


@SLOW
@given(st.data())
@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda settings: settings.kind)
def test_models_with_a_prior(condition, data):
    draw = data.draw
    order = draw(st.sampled_from(ORDERS))
    square = draw(st.sampled_from([2, 4]))
    grid = (square, draw(st.integers(1, 5))) if order in ("row", "random", "alternate") else (square, square)
    tokens, maps = tokenizer(draw(networks(levels=st.just(2), channels=st.just(3)))), None
    if condition.kind == "map" and not condition.shared:
        network = draw(networks(levels=st.just(2), channels=st.sampled_from([1, 6])))
        maps = tokenizer(network, content="segmentation" if network["in_channels"] == 6 else "image")
    prior = GPTSettings(
        layers=draw(st.integers(1, 2)),
        heads=draw(st.sampled_from([1, 2])),
        width=8,
        attention_dropout=0.1,
        vocabulary=draw(st.integers(50, 60)),
        positions=draw(st.integers(60, 70)),
        unmasked=0 if condition.kind in ("none", "label") else draw(st.sampled_from([0, 2])),
    )
    how = PipelineSettings(prior=prior, condition=condition, order=order, grid=grid)
    model = awake(Pipeline(how, tokens, maps), 3)
    found = there_and_back(model)
    assert found.settings == how
    assert found.tokenizer.settings == tokens.settings
    same_weights(model, found)
    codes = torch.arange(grid[0] * grid[1]).view(1, *grid) % CODES
    given_condition = told(condition, grid, maps)
    assert torch.equal(model.logits(codes, **given_condition), found.logits(codes, **given_condition))


def told(condition, grid, maps):
    """Something to tell a model."""
    sides = grid[0] * 2, grid[1] * 2
    if condition.kind == "label":
        return {"label": 4}
    if condition.kind == "map":
        return {
            "map": torch.linspace(0, 1, sides[0] * sides[1])
            .view(1, 1, *sides)
            .repeat(1, maps.channels if maps else 3, 1, 1)
        }
    if condition.kind == "boxes":
        return {"boxes": [(1, 0.1, 0.2, 0.5, 0.9)]}
    return {"points": [(2, 0.1, 0.7)]} if condition.kind == "points" else {}


@pytest.mark.parametrize("used", [[0, 8], [-1, 3], [[1, 2]], [0.5, 1.0], []])
def test_a_list_of_used_codes_that_is_none(used):
    """Damage that would show only when an image is encoded."""
    state = {"quantize.embedding.weight": torch.zeros(8, 4), "quantize.used": torch.tensor(used)}
    with pytest.raises(UserError, match=r"quantize\.used as a list of codes from 0 to 7 in file"):
        codebook.find(state, {}, "file")
