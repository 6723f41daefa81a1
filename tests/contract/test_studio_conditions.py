"""What a page is told of a model's conditions, and what comes of it: the same as in Python."""

import numpy as np
import pytest
import torch
from PIL import Image
from studios import drawn, image_of, picture, url
from tiny import LABELS, NETWORK, generator, of_images

from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.computed.edges import EdgesSettings
from smalti.conditions.joint import JointSettings
from smalti.conditions.keypoints import KeypointsSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.none import NoConditionSettings
from smalti.conditions.points import PointsSettings
from smalti.data.scenes import SEGMENTS
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors import PRIORS
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.reading.labels import LabelReading
from smalti.studio import described
from smalti.studio.app import Studio
from smalti.studio.limits import Limits
from smalti.studio.models import Models
from smalti.studio.runs import Runs
from smalti.studio.turns import Turns
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

JOINTS = ("nose", "left_wrist", "right_wrist", "left_elbow")
POSE = {"nose": [0.5, 0.2], "left_wrist": [0.1, 0.9, 1], "right_wrist": None, "left_elbow": [0.3, 0.6]}


def segmented(classes: int = 6, labels: LabelReading | None = None) -> Pipeline:
    """Told a segmentation of 8 x 12 pixels, a token a cell of 2 x 2."""
    torch.manual_seed(1)

    def tokenizer(channels, **more):
        network = NetworkSettings(**NETWORK, multipliers=(1, 2), in_channels=channels, out_channels=channels)
        return Tokenizer(
            TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=16), **more)
        )

    maps = tokenizer(classes, content="segmentation", labels=labels)
    settings = PipelineSettings(
        prior=PRIORS["gpt"][0](layers=1, heads=2, width=16), condition=MapSettings(dropout=0.1), grid=(4, 6)
    )
    model = Pipeline(settings, tokenizer(3), maps)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def models():
    joint = JointSettings(of={"label": LABELS, "pose": KeypointsSettings(joints=JOINTS)})
    found = {
        "segmented": segmented(),
        "edges": of_images(EdgesSettings(sigma=1.0), grid=(4, 6)),
        "boxes": generator(condition=BoxesSettings(classes=3, names=LABELS.names, no_tokens=64), grid=(4, 6)),
        "joint": generator(condition=joint, grid=(4, 6)),
    }
    return {name: model.eval() for name, model in found.items()}


@pytest.fixture(scope="module")
def studio(models):
    opened = Models({})
    for name, model in models.items():
        opened.put(name, model)
    opened.load()
    made = Studio(opened, Runs(None), Limits(), Turns())
    yield made
    made.jobs.close()
    made.turns.close()


def told_of(model) -> dict:
    return described.model("it", model)


def conditions_of(settings) -> list[dict]:
    return told_of(generator(condition=settings, grid=(4, 6)))["conditions"]


def test_classes_by_name_or_number():
    (told,) = conditions_of(LABELS)
    assert told["kind"] == told["keyword"] == "label"
    assert told["classes"] == ["brick", "grass", "moon"]
    assert told["can_be_left_out"]
    (told,) = conditions_of(type(LABELS)(classes=3))
    assert told["classes"] == ["0", "1", "2"]
    assert not told["can_be_left_out"]


def test_things_and_joints():
    (told,) = conditions_of(PointsSettings(classes=2, names=("cat", "dog"), no_tokens=64, max_objects=4))
    assert (told["classes"], told["most"]) == (["cat", "dog"], 4)
    (told,) = conditions_of(KeypointsSettings(joints=JOINTS))
    assert told["joints"] == list(JOINTS)
    assert told["limbs"] == [[3, 1]]
    assert told["pairs"] == [["left_wrist", "right_wrist"]]


def test_several_conditions_are_told_one_by_one(models):
    told = told_of(models["joint"])
    assert [(one["keyword"], one["kind"]) for one in told["conditions"]] == [
        ("label", "label"),
        ("pose", "keypoints"),
    ]
    assert "mix" not in told["can"]


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (None, [0, 1, 2, 3]),
        (LabelReading(shift=True), [255, 0, 1, 2]),
        (LabelReading(merge={7: 2, 2: 0}), [0, 1, 7, 3]),
    ],
)
def test_a_palette_says_which_value_means_a_class(labels, values):
    model = segmented(4, labels)
    (told,) = told_of(model)["conditions"]
    assert told["content"] == "segmentation"
    assert told["values"] == values
    assert len(set(told["colours"])) == 4
    picture = Image.fromarray(np.array([values] * 2, np.uint8))
    assert model.condition.open(picture).argmax(1).tolist() == [[[0, 1, 2, 3]] * 2]


def test_classes_of_scenes_have_names():
    model = segmented(len(SEGMENTS))
    assert told_of(model)["conditions"][0]["classes"] == ["0", "1", "2", "3", "4", "5"]
    model.provenance = {"data": {"kind": "scenes"}}
    assert told_of(model)["conditions"][0]["classes"] == list(SEGMENTS)


def test_maps_that_are_computed(models):
    (told,) = told_of(models["edges"])["conditions"]
    assert (told["content"], told["from_image"], told["channels"]) == ("edges", True, 1)


def test_what_a_model_can():
    none = NoConditionSettings()
    gpt, masked, local = (told_of(generator(kind, none)) for kind in ("gpt", "masked", "neighbourhood"))
    assert gpt["about"].splitlines()[1].startswith("prior: gpt, ")
    assert (gpt["any_size"], local["any_size"]) == (False, True)
    assert ("nats" in gpt["can"], "nats" in masked["can"]) == (True, False)
    assert gpt["options"] == {}
    assert masked["options"]["steps"]["default"] == 12
    assert masked["options"]["steps"]["description"] == "Passes, of which each generates some cells."
    assert masked["options"]["order"]["enum"] == ["confidence", "halton"]
    tokenizer = told_of(generator().tokenizer)
    assert tokenizer["can"] == ["reconstruct", "encode", "decode", "codebook"]


def test_a_painted_map_is_the_map(client, models):
    classes = np.arange(96).reshape(8, 12) % 6
    painted = np.stack([classes] * 3 + [np.full((8, 12), 255)], -1).astype(np.uint8)  # as a canvas gives it
    job, _ = drawn(client, model="segmented", condition={"map": url(Image.fromarray(painted))}, seed=2)
    ours = models["segmented"].sample(map=torch.from_numpy(classes), seed=2, micro_batch=1)[0]
    found = image_of(client.get(f"/api/jobs/{job}/images/0.png").content)
    assert np.array_equal(np.asarray(found), np.asarray(ours))


@pytest.mark.parametrize("value", ["/etc/passwd", "runs/map.png", ["/etc/passwd"], 3, {"a": 1}, ""])
@pytest.mark.parametrize(
    ("model", "keyword"), [("segmented", "map"), ("edges", "map"), ("edges", "from_image")]
)
def test_no_path_stands_for_a_map(client, model, keyword, value):
    answer = client.post("/api/sample", json={"model": model, "condition": {keyword: value}})
    assert answer.status_code == 400
    assert answer.json()["expected"] in (f"an image for {keyword}", "an image as data:image/png;base64,...")


def test_a_map_is_computed_of_an_image_of_any_size(client, models):
    image = picture(20, 17)
    job, _ = drawn(client, model="edges", condition={"from_image": url(image)}, seed=4)
    ours = models["edges"].sample(from_image=image, seed=4, micro_batch=1)[0]
    found = image_of(client.get(f"/api/jobs/{job}/images/0.png").content)
    assert np.array_equal(np.asarray(found), np.asarray(ours))


@pytest.mark.parametrize(
    ("model", "condition"),
    [
        ("boxes", {"boxes": [["brick", 0.1, 0.2, 0.6, 0.9], ["moon", 0.5, 0.5, 1.0, 1.0]]}),
        ("joint", {"label": "moon", "pose": POSE}),
        ("joint", {"label": 1, "pose": [POSE, POSE]}),
    ],
)
def test_things_and_joints_in_json(client, models, model, condition):
    job, events = drawn(client, model=model, condition=condition, num=2)
    assert events[-1][1] == "done", events[-1]
    ours = models[model].sample(2, **condition, micro_batch=1)
    for index, image in enumerate(ours):
        found = image_of(client.get(f"/api/jobs/{job}/images/{index}.png").content)
        assert np.array_equal(np.asarray(found), np.asarray(image))
