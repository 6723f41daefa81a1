"""A person's way from COCO's keypoint files to images of a pose; and the mistakes on the way."""

import json

import pytest
from tiny import generator

import smalti
from smalti import imaging
from smalti.conditions.keypoints import KeypointsSettings
from smalti.conditions.pose import COCO

NETWORK = "{width: 8, multipliers: [1, 2], blocks: 1, attention_levels: [], mid_attention: false, "
NETWORK += "latent_channels: 8, code_dim: 4, groups: 4}"
TOKENIZER = (f"network={NETWORK}", "quantizer.codebook_size=8", "losses.perceptual.kind=none")
TOKENIZER += (
    "losses.adversarial={start: 2, discriminator_start: 1, ramp: 1, patchgan: {width: 8, layers: 1}}",
)
PRIOR = ("prior={kind: gpt, layers: 1, heads: 2, width: 16}", "condition.places=8", "data.min_height=8")
SHORT = ("size=16", "batch=4", "steps=3", "log_every=1", "workers=0")
POSE = dict(zip(COCO, [[0.3 + 0.4 * (joint % 2), 0.05 * joint] for joint in range(17)], strict=True))
POSE |= {"left_ear": None, "nose": [0.5, 0.1, 1]}


@pytest.fixture
def trained(home, coco_keypoints, smalti_command):
    """Runs of a tokenizer and a prior on six figures."""
    images = coco_keypoints / "train2017"
    words = ("train", "tokenizer_300", "--data", images, "--out", "runs/tokenizer", *SHORT, *TOKENIZER)
    status, _, complaint = smalti_command(*words)
    assert status == 0, complaint
    words = ("train", "transformer_keypoints", "tokenizer=runs/tokenizer", "--data", coco_keypoints)
    status, _, complaint = smalti_command(*words, "--out", "runs/prior", *SHORT, *PRIOR)
    assert status == 0, complaint
    return home


def test_from_keypoints_to_images(trained, coco_keypoints, smalti_command):
    model = smalti.load("runs/prior")
    assert model.condition.length((8, 8)) == 84
    status, told, _ = smalti_command("info", "runs/prior")
    assert "condition: keypoints" in told
    joints = POSE | dict.fromkeys(set(model.condition.layout.names) - set(COCO))
    (trained / "pose.json").write_text(json.dumps(joints))
    words = ("sample", "runs/prior", "out", "--keypoints", "pose.json", "--num", 2, "--guidance", 2)
    status, told, complaint = smalti_command(*words, "--size", "16x24")
    assert status == 0, complaint
    paths = told.split()
    assert [imaging.open_rgb(path).shape for path in paths] == [(3, 16, 24)] * 2
    kept = imaging.read_metadata(paths[1])["keypoints"]
    assert kept["nose"] == [0.5, 0.1, 1]
    assert kept["left_ear"] is None
    (drawn,) = model.sample(keypoints=joints, seed=1, guidance_scale=2, size=(16, 24)).images
    apart = imaging.open_rgb(paths[1]).int() - imaging.from_pil(drawn).int()
    assert apart.abs().max() <= 1
    two = model.sample(keypoints=[joints, dict.fromkeys(joints)])
    assert len(two.images) == 2
    words = ("evaluate", "runs/prior", coco_keypoints, "--metrics", "nats", "--device", "cpu")
    status, told, complaint = smalti_command(*words)
    assert status == 0, complaint
    assert "nats" in told


@pytest.mark.parametrize(
    ("pose", "words"),
    [
        (
            {"nose": [0.5, 0.5]},
            "all 28 joints of a figure, got a figure without left_eye, right_eye, left_ear and",
        ),
        ({"nos": [0.5, 0.5]}, "a joint that the model is told, got 'nos'; did you mean nose?"),
        ([[0.5, 0.5]], "a figure as {"),
        ("nothing", "a JSON file with a figure, or a list of them, got pose.json (nothing)"),
    ],
)
def test_mistakes(home, smalti_command, pose, words):
    smalti.save(generator(condition=KeypointsSettings(joints="body28")), "model")
    (home / "pose.json").write_text(json.dumps(pose))
    status, _, complaint = smalti_command("sample", "model", "out", "--keypoints", "pose.json")
    assert status == 2
    assert words in complaint
    assert len(complaint.splitlines()) == 1
    assert not (home / "out").exists()


def test_data_without_joints(home, photos, smalti_command):
    words = ("train", "prior_300", "data.kind=folder", "condition={kind: keypoints}", "tokenizer=none")
    words += ("--data", photos, "--out", "runs/prior")
    status, _, complaint = smalti_command(*words)
    assert status == 2
    assert (
        "images with poses for condition.kind=keypoints, got data.kind=folder; give data.kind=coco_keypoints"
        in complaint
    )
