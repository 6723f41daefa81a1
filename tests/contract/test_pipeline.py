"""What a user holds keeps its promises: seeds, sizes, forms of output, conditions, errors, metadata."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import generator

from smalti import config, imaging, library
from smalti import pipeline as pipeline_module
from smalti.cli.main import main
from smalti.conditions.label import LabelSettings
from smalti.conditions.none import NoConditionSettings
from smalti.errors import UserError
from smalti.pipeline import BATCH, PipelineSettings
from smalti.priors import PRIORS, causal, gpt


@pytest.fixture(scope="module", params=PRIORS)
def model(request):
    return generator(request.param)


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_forms_of_output(model):
    codes = model.sample(num=3, label="grass", seed=5).codes
    assert codes.shape == (3, 4, 4)
    assert codes.dtype == torch.int64
    assert 0 <= codes.min() <= codes.max() < 12
    shown = model.sample(num=3, label="grass", seed=5).tensors
    torch.testing.assert_close(shown, model.tokenizer.decode(codes))
    images = model.sample(num=3, label="grass", seed=5)
    assert [drawn.size for drawn in images] == [(8, 8)] * 3
    for found, expected in zip(images, imaging.to_pil(shown), strict=True):
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [(8, 8), (10, 12)], ids=str)
def test_a_stream_gives_each_image_as_soon_as_its_batch_is_drawn(model, size, monkeypatch):
    drawn = []
    real = pipeline_module.passes
    monkeypatch.setattr(pipeline_module, "passes", lambda *both: drawn.append(1) or real(*both))
    options = {"num": 5, "size": size, "seed": 5, "label": [0, 1, 2, 0, 1], "micro_batch": 2}
    whole = model.sample(**options)
    drawn.clear()
    stream = model.iter_samples(**options)
    assert drawn == []
    found = []
    for index, one in enumerate(stream):
        assert len(drawn) == index // 2 + 1
        found.append(one)
    assert [one.tobytes() for one in found] == [one.tobytes() for one in whole]
    assert [one.info for one in found] == [one.info for one in whole]


def test_a_stream_of_completions(model, image):
    whole = model.complete(image, keep=0.5, num=3, label=1)
    stream = model.iter_samples(3, image=image, keep=0.5, label=1)
    assert next(stream).tobytes() == whole[0].tobytes()
    assert [one.tobytes() for one in stream] == [one.tobytes() for one in whole[1:]]


def test_between_the_images_of_a_stream_nothing_is_changed(model, capsys):
    model.train()
    stream = model.iter_samples(num=3, label=0, micro_batch=1, progress=True)
    next(stream)
    assert torch.is_grad_enabled()
    assert all(part.training for part in model.modules())
    model.eval()
    stream.close()
    assert "16/48" in capsys.readouterr().err
    for wrong in ({"label": "sand"}, {"label": 0, "num": 0}, {"label": 0, "size": (9, 8)}):
        with pytest.raises(UserError):
            model.iter_samples(**wrong)  # now, and not when the first image is asked for


@pytest.mark.parametrize("size", [None, (8, 14), (16, 8), (12, 20)], ids=str)
def test_image_i_has_seed_plus_i(model, size):
    options = {"size": size, "label": 1}
    together = model.sample(num=4, seed=10, **options).codes
    for index in range(4):
        assert model.sample(seed=10 + index, **options).codes[0].equal(together[index])
    assert len({tuple(codes.flatten().tolist()) for codes in together}) == 4
    height, width = size or (8, 8)
    assert together.shape == (4, height // 2, width // 2)


def test_more_images_than_a_batch(model):
    num = BATCH + 3
    labels = [index % 3 for index in range(num)]
    drawn = model.sample(num=num, label=labels).codes
    assert len(drawn) == num
    for index in (0, BATCH - 1, BATCH, num - 1):
        assert model.sample(seed=index, label=labels[index]).codes[0].equal(drawn[index])


@pytest.mark.parametrize("size", [(8, 8), (10, 14)], ids=str)
def test_micro_batches_make_images_equal_to_the_bit(model, size):
    options = {"size": size, "label": 0, "micro_batch": 4, "guidance_scale": 1.5}
    many = model.sample(num=9, **options).tensors
    assert len(many) == 9
    for num in (1, 3, 4, 6):
        assert model.sample(num=num, **options).tensors.equal(many[:num])


def test_labels(model):
    one_each = model.sample(num=3, label=["moon", 0, "1"]).codes
    for index, label in enumerate([2, "brick", "grass"]):
        alone = model.sample(num=3, label=label).codes
        assert alone[index].equal(one_each[index])
    same = model.sample(num=3, label=torch.tensor([2, 0, 1])).codes
    assert same.equal(one_each)


def test_options_reach_the_draw(model):
    plain = model.sample(num=4, label=0).codes
    assert model.sample(num=4, label=0, guidance_scale=1.0, top_p=1.0, min_p=0.0).codes.equal(plain)
    changes = [
        {"temperature": 3.0},
        {"top_k": 2},
        {"top_p": 0.3},
        {"min_p": 0.9},
        {"guidance_scale": 4.0},
        {"seed": 1},
    ]
    for change in changes:
        assert not model.sample(num=4, label=0, **change).codes.equal(plain), change
    calm = {name: 0.0 for name in ("confidence_noise",) if hasattr(model.prior.options, name)}
    greedy = model.sample(num=4, label=0, top_k=1, seed=77, **calm).codes
    assert (greedy == greedy[0]).all()


@pytest.mark.parametrize("kind", PRIORS)
def test_the_first_code_comes_as_often_as_it_is_likely(kind):
    model = generator(kind)
    first = {"steps": 1} if kind == "masked" else {}  # all cells are the first then
    drawn = model.sample(num=400, label=2, **first).codes[:, 0, 0]
    shares = model.logits(drawn[:1, None, None].expand(1, 4, 4), label=2)[0, 0, :12].softmax(-1)
    counts = torch.bincount(drawn, minlength=12)
    error = (counts / 400 - shares).abs()
    assert (error < 4 * (shares * (1 - shares) / 400).sqrt() + 0.005).all()


def test_nothing_outside_changes(model):
    before = torch.get_rng_state()
    model.train()
    first = model.sample(label=0).codes
    torch.manual_seed(1234)
    assert model.sample(label=0).codes.equal(first)
    with pytest.raises(UserError):
        model.sample(label="sand")
    model.logits(first, label=0)
    assert all(part.training for part in model.modules())
    model.eval()
    assert model.sample(label=0).codes.equal(first)
    assert not any(part.training for part in model.modules())
    assert not model.sample(label=0).tensors.requires_grad
    torch.set_rng_state(before)
    model.sample(label=0)
    assert torch.get_rng_state().equal(before)


def test_metadata_are_enough_to_draw_a_image_again(model, tmp_path):
    images = model.sample(
        num=3,
        size=(8, 12),
        seed=40,
        label=["moon", 1, "brick"],
        temperature=1.3,
        top_k=6,
        top_p=0.95,
        min_p=0.01,
        guidance_scale=2.0,
        micro_batch=2,
    )
    for index, path in enumerate(imaging.save_all(images.images, tmp_path)):
        metadata = imaging.read_metadata(path)
        assert metadata.pop("model") == "0123456789abcdef"
        assert metadata.pop("rows_kept") == 0
        metadata["guidance_scale"] = metadata.pop("guidance")
        assert metadata["seed"] == 40 + index
        assert metadata["label"] == ["moon", 1, "brick"][index]
        (again,) = model.sample(size=(metadata.pop("height"), metadata.pop("width")), **metadata)
        assert again.tobytes() == images[index].tobytes()
        assert again.info == images[index].info


def test_metadata_of_labels_in_a_tensor(model):
    drawn = model.sample(num=2, label=torch.tensor([2, 0]))
    assert [json.loads(one.info["smalti"])["label"] for one in drawn] == [2, 0]


def test_completion(model, image):
    codes = model.tokenizer.encode(image[None])
    drawn = model.complete(image, keep=0.5, num=3, seed=4, label=1).codes
    assert drawn.shape == (3, 6, 8)
    assert (drawn[:, :3] == codes[:, :3]).all()
    assert len({tuple(one.flatten().tolist()) for one in drawn}) == 3
    alone = model.complete(image[None], keep=0.5, seed=6, label=1).codes
    assert alone[0].equal(drawn[2])
    (shown,) = model.complete(image, keep=0.5, seed=6, label=1)
    assert json.loads(shown.info["smalti"])["rows_kept"] == 3
    assert json.loads(shown.info["smalti"])["seed"] == 6


def test_completion_of_everything_and_of_nothing(model, image):
    codes = model.tokenizer.encode(image[None])
    assert model.complete(image, keep=1, label=0).codes.equal(codes)
    rest = model.complete(image, keep=0, label=0, seed=8).codes
    assert rest.equal(model.sample(size=(12, 16), label=0, seed=8).codes)


def test_completion_of_files_and_of_pillow_images(model, image, tmp_path):
    (pillow,) = imaging.to_pil(image[None])
    path = imaging.save_png(tmp_path / "one.png", pillow, {})
    rounded = imaging.to_float(imaging.to_uint8(image))
    expected = model.complete(rounded, label=0).codes
    for image in (path, str(path), pillow):
        assert model.complete(image, label=0).codes.equal(expected)


@pytest.mark.parametrize("order", ["row", "spiral_in", "random"])
def test_scores(order):
    model = generator(order=order)
    codes = torch.randint(12, (3, 4, 4), generator=torch.Generator().manual_seed(0))
    scores = model.logits(codes, label=[0, 1, 2])
    assert scores.shape == (3, 16, 12)
    sequence = model.sequence(codes)
    expected = F.cross_entropy(scores.flatten(0, 1), sequence.flatten()).item()
    assert model.nats_per_token(codes, label=[0, 1, 2]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("order", ["row", "spiral_in", "random"])
def test_scores_are_blind_to_what_comes_later(order):
    model = generator(order=order)
    codes = torch.randint(12, (1, 4, 4), generator=torch.Generator().manual_seed(0))
    scores = model.logits(codes, label=1)
    for place in range(16):
        changed = codes.flatten(1).clone()
        changed[0, model.order[place]] = (changed[0, model.order[place]] + 1) % 12
        other = model.logits(changed.view(1, 4, 4), label=1)
        torch.testing.assert_close(other[:, : place + 1], scores[:, : place + 1])
        assert place == 15 or not torch.allclose(other[:, place + 1], scores[:, place + 1])


def test_likelihood_of_images_and_of_many(model):
    images = torch.rand(BATCH + 5, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    labels = torch.arange(BATCH + 5) % 3
    codes = model.tokenizer.encode(images)
    whole = model.nats_per_token(images, label=labels)
    assert whole == pytest.approx(model.nats_per_token(codes, label=labels), rel=1e-6)
    each = [
        model.nats_per_token(one[None], label=int(label)) for one, label in zip(codes, labels, strict=True)
    ]
    assert whole == pytest.approx(sum(each) / len(each), rel=1e-5)


def test_a_model_that_knows_nothing():
    model = generator()
    torch.nn.init.zeros_(model.prior.head.weight)
    codes = torch.zeros(2, 4, 4, dtype=torch.int64)
    assert model.nats_per_token(codes, label=0) == pytest.approx(math.log(12), rel=1e-6)


def test_progress(model, capsys):
    model.sample(num=2, size=(8, 12), label=0, progress=True)
    shown = capsys.readouterr()
    assert "48/48" in shown.err
    assert not shown.out
    model.sample(label=0)
    assert not capsys.readouterr().err


def test_settings_survive_a_file():
    settings = generator("modern", order="z_curve").settings
    assert config.parse(json.loads(json.dumps(config.dump(settings))), PipelineSettings) == settings


def test_weights_are_those_of_tokenizer_and_prior():
    names = {name.partition(".")[0] for name in generator().state_dict()}
    assert names == {"tokenizer", "prior"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({}, "expected a label, got none; give label="),
        ({"label": "sand"}, "got 'sand'"),
        ({"label": 3}, "class number from 0 to 2, got 3"),
        ({"label": [0, 1], "num": 3}, "one label, or 3 of them, got 2"),
        ({"label": 0, "map": 1}, "label= as its only condition.*got map=; leave it out"),
        ({"label": 0, "temprature": 1.0}, "options of this method.*got temprature="),
        ({"label": 0, "size": (9, 8)}, "multiples of 2 pixels, got 9 x 8; the next size is 8 x 8"),
        ({"label": 0, "num": 0}, "from 1 for num, got 0"),
        ({"label": 0, "seed": 2**63 - 1, "num": 2}, "64 bits, also for the last image's, for seed"),
        ({"label": 0, "micro_batch": 0}, "from 1 for micro_batch, got 0"),
        ({"label": 0, "output": "png"}, "got output=; what comes back has .images, .codes"),
        ({"label": 0, "guidance_scale": math.nan}, "a number for guidance_scale, got nan"),
        ({"label": 0, "top_k": 0}, "for top_k, got 0"),
    ],
    ids=str,
)
def test_mistakes_in_sampling(model, call, message):
    with pytest.raises(UserError, match=message):
        model.sample(**call)


def test_mistakes_with_other_models():
    alone = generator(condition=NoConditionSettings())
    assert len(alone.sample(num=2)) == 2
    with pytest.raises(UserError, match="takes no condition, got label="):
        alone.sample(label=0)
    with pytest.raises(UserError, match="for guidance"):
        alone.sample(guidance_scale=2.0)
    never_dropped = generator(condition=LabelSettings(classes=3))
    with pytest.raises(UserError, match="guidance_scale at 1"):
        never_dropped.sample(label=0, guidance_scale=2.0)
    with pytest.raises(UserError, match="the order spiral_out has no moving window, got 8 x 10"):
        generator(order="spiral_out").sample(label=0, size=(8, 10))
    with pytest.raises(UserError, match="order"):
        generator(order="spiral_out", grid=(4, 5))


@pytest.mark.parametrize("kind", [kind for kind in PRIORS if kind != "neighbourhood"])  # which takes any size
def test_images_smaller_than_the_crop(kind, image):
    expected = "from 8 x 8 pixels up, this model's training crop, got {}"
    with pytest.raises(UserError, match=expected.format("6 x 16")):
        generator(kind).sample(label=0, size=(6, 16))
    with pytest.raises(UserError, match=expected.format("4 x 16")):
        generator(kind).complete(image[:, :4], label=0)


def test_mistakes_in_completion(model, image, tmp_path):
    with pytest.raises(UserError, match=r"in \[0, 1\] for keep, or one of top.*, got 1.5"):
        model.complete(image, keep=1.5, label=0)
    with pytest.raises(UserError, match="multiples of 2 pixels, got 11 x 16"):
        model.complete(image[:, :11], label=0)
    with pytest.raises(UserError, match=r"one image \(c H W\)"):
        model.complete(torch.stack([image, image]), label=0)
    with pytest.raises(UserError, match=r"nothing\.png"):
        model.complete(tmp_path / "nothing.png", label=0)


def test_mistakes_in_scoring(model):
    with pytest.raises(UserError, match="4 x 4 cells, a training crop, got 4 x 5"):
        model.logits(torch.zeros(1, 4, 5, dtype=torch.int64), label=0)
    with pytest.raises(UserError, match="codes from 0 to 11, got 0 to 12"):
        model.logits(torch.arange(16).view(1, 4, 4).clamp(max=12), label=0)
    with pytest.raises(UserError, match="multiples of 2"):
        model.nats_per_token(torch.zeros(1, 3, 9, 8), label=0)
    with pytest.raises(UserError, match="give label="):
        model.nats_per_token(torch.zeros(1, 4, 4, dtype=torch.int64))


@pytest.fixture
def frames(monkeypatch):
    """The files of our functions between a caller and attention, the shape checkers of the tests left out."""
    seen, real = [], gpt.attend

    def spied(*given, **more):
        frame, seen[:] = sys._getframe(1), [causal.__file__]
        while frame:
            if Path(frame.f_code.co_filename).is_relative_to(Path(pipeline_module.__file__).parent):
                seen.append(frame.f_code.co_filename)
            frame = frame.f_back
        return real(*given, **more)

    monkeypatch.setattr(gpt, "attend", spied)
    return seen


def test_few_frames_lie_between_a_call_and_attention(frames):
    """A reader goes through eight functions in five files."""
    generator().sample(label=1)
    assert (len(frames), len(set(frames))) == (8, 5)


def test_few_frames_lie_between_a_command_and_attention(frames, monkeypatch, tmp_path):
    """The entry, the command, what writes its images, and what shares them among processes, are all that
    comes before; click is not ours.
    """
    library.save(generator(), tmp_path / "model")
    words = ["sample", str(tmp_path / "model"), str(tmp_path / "out"), "--label", "1"]
    monkeypatch.setattr(sys, "argv", ["smalti", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert len(list((tmp_path / "out").glob("*.png"))) == 1
    assert (len(frames), len(set(frames))) == (12, 9)
