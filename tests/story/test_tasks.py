"""Each task on scenes by its recipe, cut to seconds: from nothing to images drawn of what was asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import NETWORK

from smalti import imaging
from smalti.conditions.pose import COCO
from smalti.data.scenes import Scenes, ScenesSettings

FAST = ("steps=3", "batch=4", "log_every=1", "size=32", "data.size=32", "data.count=40", "data.val_count=4")
CODES = ("quantize_start=0", "quantizer.codebook_size=8")
SMALL = [f"network.{key}={json.dumps(value)}" for key, value in NETWORK.items()]
PLAIN = ("losses.perceptual={kind: none, weight: 0.0}", "losses.adversarial=null")
TINY = ("prior.layers=1", "prior.heads=2", "prior.width=16")
SIZE = (48, 32)  # of what is asked for
BOX = ["person", 0.2, 0.1, 0.6, 0.9]
ASKED = {"segmentation": "map", "depth": "map", "edges": "from", "boxes": "boxes", "keypoints": "keypoints"}


def done(run, *words) -> str:
    status, out, complaint = run(*words)
    assert status == 0, complaint
    return out


def asked(task: str) -> str:
    """Write what a person asks for, and return the file."""
    things = Scenes(ScenesSettings(size=SIZE, people=1.0), "val")[0]
    near = Scenes(ScenesSettings(size=SIZE, content="depth"), "val")[0].map
    if task in ("boxes", "keypoints"):
        pose = dict(zip(COCO, [[0.3, 0.05 * joint] for joint in range(17)], strict=True))
        with Path("told.json").open("w") as file:
            json.dump([BOX] if task == "boxes" else pose, file)
        return "told.json"
    if task == "segmentation":
        Image.fromarray(things.segmentation.numpy().astype(np.uint8)).save("told.png")
    else:
        imaging.save_png("told.png", imaging.to_uint8(near[None])[0] if task == "depth" else things.image)
    return "told.png"


@pytest.mark.parametrize("task", ASKED)
def test_a_task_from_nothing_to_images(home, smalti_command, task):
    run = smalti_command
    done(run, "train", "tokenizer_hour", "--data", "scenes", *FAST, *CODES, *SMALL, *PLAIN, "--out", "images")
    words = ["tokenizer=images"]
    if ASKED[task] in ("map", "from"):
        recipe = (f"tokenizer_{task}_minutes", "--data", "scenes", *FAST, *CODES, *SMALL)
        done(run, "train", *recipe, "--out", "maps")
        words.append("condition_tokenizer=maps")
    done(run, "train", f"prior_{task}_minutes", "--data", "scenes", *FAST, *TINY, *words, "--out", "prior")
    option = (f"--{ASKED[task]}", asked(task), "--size", "48x32")
    done(run, "sample", "prior", "out", *option, "--num", 2, "--guidance", 2)
    drawn = [imaging.open_rgb(home / "out" / f"0000{number}.png") for number in range(2)]
    assert [image.shape for image in drawn] == [(3, *SIZE)] * 2
    assert not drawn[0].equal(drawn[1])
