"""Models load and save themselves, with a card; a tokenizer is called; what is drawn is Samples."""

import io
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny import NETWORK, generator

import smalti
from smalti import imaging, library
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.none import NoConditionSettings
from smalti.conditions.points import PointsSettings
from smalti.errors import UserError
from smalti.pretrained import Unfilled
from smalti.quantizers.gaussian import GaussianSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

CONDITIONS = [
    NoConditionSettings(),
    LabelSettings(classes=3, names=("it's", "b", "c")),
    LabelSettings(classes=3),
    MapSettings(shared=True),
    CoordinatesSettings(tokens=16),
    BoxesSettings(classes=2, max_objects=2),
    PointsSettings(classes=2, max_objects=2),
]


@pytest.fixture(scope="module")
def model():
    return generator()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "photos"
    smalti.save(model, folder, {"steps": 20, "data": {"kind": "folder", "root": "photos"}})
    return folder


def images(num: int) -> torch.Tensor:
    return torch.rand(num, 3, 8, 12, generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_a_model_is_loaded_without_drawing_weights_first(model, saved):
    """They are those of the file to the last bit; torch's numbers of chance stay where they are."""
    before = torch.get_rng_state()
    again = smalti.load(saved)
    assert torch.get_rng_state().equal(before)
    both = again.state_dict(), model.state_dict()
    assert all(both[0][name].equal(both[1][name]) for name in both[1])
    with Unfilled():
        assert torch.nn.init.normal_(torch.full((3,), 2.0)).tolist() == [2.0] * 3
        assert torch.nn.init.ones_(torch.zeros(2)).tolist() == [1.0] * 2, "what is not drawn is filled"
    assert torch.nn.init.normal_(torch.full((3,), 2.0)).tolist() != [2.0] * 3


def test_each_class_loads_its_own(model, saved):
    again = smalti.Pipeline.from_pretrained(saved)
    assert again.sample(label=0).codes.equal(model.sample(label=0).codes)
    tokenizer = smalti.Tokenizer.from_pretrained(str(saved / "tokenizer"), dtype="bf16")
    assert tokenizer.dtype == torch.bfloat16
    with pytest.raises(UserError, match=r"a tokenizer, got a model with a prior, .*photos; .*\.tokenizer"):
        smalti.Tokenizer.from_pretrained(saved)
    with pytest.raises(UserError, match="a model with a prior, got a tokenizer, "):
        smalti.Pipeline.from_pretrained(saved / "tokenizer")
    for wrong in (None, 5, "nowhere", [], saved / "config.json"):
        with pytest.raises(UserError):
            smalti.Pipeline.from_pretrained(wrong)


def test_what_is_known_of_the_making_stays(saved, tmp_path):
    again = smalti.load(saved)
    assert again.save_pretrained(tmp_path / "copy") == tmp_path / "copy"
    assert library.read_config(tmp_path / "copy") == library.read_config(saved)
    with pytest.raises(UserError, match="in fp32, got one kept in bf16"):
        smalti.load(saved, dtype="bf16").save_pretrained(tmp_path / "half")
    for wrong in (None, 5, "", saved / "config.json"):
        with pytest.raises(UserError):
            again.save_pretrained(wrong)


def test_a_card_says_what_the_model_is(saved):
    card = (saved / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front == {"library_name": "smalti", "license": "unknown"}
    assert "# photos\n" in card
    assert "- steps: 20\n" in card
    assert re.search(r"- prior: gpt, 0\.0\d M parameters, crop 8 x 8 pixels\n", card)
    assert "- condition: label: brick, grass, moon\n" in card
    data, told = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", card, re.S))
    assert data == {"kind": "folder", "root": "photos"}
    assert told == json.loads(json.dumps(library.read_config(saved)["settings"]))
    assert "## Figures\n\nnot measured\n" in card
    assert "## Licence\n\nNot stated." in card


def test_a_card_has_the_figures_of_its_run(model, saved, tmp_path):
    run = tmp_path / "run"
    smalti.save(model, run / "model", {"steps": 4, "data": {}})
    (run / "settings.yaml").write_text("kind: prior\n")
    lines = [{"step": step, "kind": "validation", "nats_per_token": 9.0 - step} for step in (2, 4, 6)]
    (run / "log.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 8, "kind": "val'
    )
    smalti.load(run).save_pretrained(tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "| number | value |\n| --- | --- |\n| step | 4 |\n| nats_per_token | 5 |\n" in card


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda one: one.kind)
def test_the_example_of_a_card_runs(condition, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    imaging.save_png("map.png", torch.full((3, 8, 8), 90, dtype=torch.uint8))
    imaging.save_png("photo.png", torch.full((3, 8, 12), 90, dtype=torch.uint8))
    generator(condition=condition).save_pretrained("drawer")
    smalti.load("drawer/tokenizer").save_pretrained("tok")
    for card in (Path("drawer/README.md"), Path("tok/README.md")):
        (code,) = re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.S)
        exec(compile(code, str(card), "exec"), {})
    assert imaging.open_rgb("samples.png").shape == (3, 8, 32)
    assert imaging.open_rgb("rebuilt/00000.png").shape == (3, 8, 12)


def test_a_call_gives_images_codes_and_loss_with_gradients(model):
    tokenizer, given = model.tokenizer.eval(), images(2)
    made = tokenizer(given)
    assert made.codes.equal(tokenizer.encode(given))
    torch.testing.assert_close(made.images.detach(), tokenizer.reconstruct(given))
    (made.images.square().mean() + made.quantizer_loss).backward()
    gradients = [parameter.grad for parameter in tokenizer.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    tokenizer.zero_grad(set_to_none=True)
    with pytest.raises(UserError, match="multiply by 2"):
        tokenizer(given / 2 + 0.5)
    assert tokenizer(given / 2 + 0.5, is_checked=True).images.shape == (2, 3, 8, 12)
    network = NetworkSettings(**NETWORK, multipliers=(1, 1))
    without = Tokenizer(TokenizerSettings(network=network, quantizer=GaussianSettings()))
    rebuilt, codes, loss = without(given)
    assert (rebuilt.shape, codes, loss.ndim) == (given.shape, None, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_what_loading_gives(saved, dtype):
    given = images(3)
    for cast in (
        lambda model: model.to(dtype),
        lambda model: model.bfloat16() if dtype is torch.bfloat16 else model.half(),
    ):
        mine, loaded = cast(smalti.load(saved)), smalti.load(saved, dtype=dtype)
        assert {n: t.dtype for n, t in mine.state_dict().items()} == {
            n: t.dtype for n, t in loaded.state_dict().items()
        }
        for name, tensor in mine.state_dict().items():
            assert tensor.equal(loaded.state_dict()[name]), name
            assert (tensor.dtype == torch.float32) == ("quantizer" in name)
        assert mine.tokenizer.encode(given).equal(loaded.tokenizer.encode(given))
    assert mine.float().tokenizer.quantizer.codebook.weight.equal(
        smalti.load(saved).tokenizer.quantizer.codebook.weight
    )
    assert smalti.load(saved).double().tokenizer.quantizer.codebook.weight.dtype == torch.float64


def test_samples(model, tmp_path):
    out = model.sample(num=5, label=[0, 1, 2, 0, 1], seed=7, micro_batch=2)
    assert (len(out), len(out.images), len(list(out)), len(out.metadata)) == (5, 5, 5, 5)
    assert repr(out) == "<5 samples of 8 x 8 pixels: .images, .codes, .metadata>"
    pairs = [model.tokenizer.decode(out.codes[[at, min(at + 1, 4)]]) for at in (0, 2, 4)]
    assert out.tensors.equal(torch.cat(pairs)[:5]), "decoded in the batches in which they were drawn"
    assert [one["seed"] for one in out.metadata] == [7, 8, 9, 10, 11]
    assert [json.loads(one.info[imaging.METADATA]) for one in out] == out.metadata
    values = out.values()
    assert np.array_equal(values[3].transpose(1, 2, 0), np.asarray(out[3]))
    part = out[1:4]
    assert (len(part), part.metadata) == (3, out.metadata[1:4])
    assert part.images == out.images[1:4], "what is decoded is not decoded again"
    assert out[-1].tobytes() == out.images[4].tobytes()
    paths = out.save(tmp_path, first=3)
    assert [path.name for path in paths] == [f"{index:05}.png" for index in range(3, 8)]
    assert imaging.read_metadata(paths[0]) == out.metadata[0]
    with pytest.raises(UserError, match="names that are free"):
        out.save(tmp_path)
    assert pickle.loads(pickle.dumps(out)).codes.equal(out.codes)
    assert Image.open(io.BytesIO(out._repr_png_())).size == (40, 8)


def test_codes_alone_are_not_decoded(model, monkeypatch):
    monkeypatch.setattr(type(model.tokenizer), "decode", None)
    out = model.sample(num=3, label=0)
    assert out.codes.shape == (3, 4, 4)
    assert [part.codes.shape for part in model.iter_batches(3, label=0, micro_batch=2)] == [
        (2, 4, 4),
        (1, 4, 4),
    ]


def test_classes(model):
    assert model.classes == ("brick", "grass", "moon")
    assert generator(condition=LabelSettings(classes=2)).classes == (0, 1)
    assert generator(condition=NoConditionSettings()).classes == ()
    assert generator(condition=BoxesSettings(classes=2, max_objects=2)).classes == (0, 1)


def test_a_grid(model):
    out = model.sample(num=5, label=0)
    assert smalti.grid(out).size == (32, 16)
    assert smalti.grid(out, columns=9).size == (40, 8)
    sheet = smalti.grid(out.images, columns=2)
    assert (sheet.size, sheet.mode) == ((16, 24), "RGB")
    assert sheet.crop((8, 8, 16, 16)).tobytes() == out[3].tobytes()
    assert sheet.getpixel((12, 20)) == (255, 255, 255)
    assert smalti.grid(out.tensors, 5).tobytes() == smalti.grid(out, 5).tobytes()
    gray = Image.new("L", (4, 3), 90)
    assert (smalti.grid([gray, gray]).mode, smalti.grid([gray, gray.convert("RGB")]).mode) == ("L", "RGB")
    for wrong in (None, 5, [], [gray, out[0]], "a.png", [None]):
        with pytest.raises(UserError):
            smalti.grid(wrong)
    for columns in (0, 1.5, "2", None, True):
        with pytest.raises(UserError, match="for columns"):
            smalti.grid(out, columns)
