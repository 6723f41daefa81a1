"""Training is validated by metrics that a recipe names; the best model is kept, whatever stops the run."""

import dataclasses
import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from test_resumed_log import TOKENIZER, Killed, kill, oblong, record
from test_training import CPU, batch, prior_task, tokenizer_training

import smalti
from smalti import imaging, library
from smalti.data.shards import ShardsSettings
from smalti.errors import UserError
from smalti.features import SPACES
from smalti.features.lite0 import Lite0
from smalti.losses import DISTANCES
from smalti.metrics.distances import frechet
from smalti.metrics.reconstruction import ssim
from smalti.training import checks, curves, fit, log, validation
from smalti.training.tokenizer_task import TokenizerTask
from smalti.training.validation import Best

__all__ = ["oblong"]  # a fixture


@pytest.fixture(scope="module")
def lite0():
    return Lite0.untrained(torch.Generator().manual_seed(0))


@pytest.fixture
def at_hand(lite0, monkeypatch):
    """Networks without weight files."""
    monkeypatch.setattr(Lite0, "read", lambda: lite0)
    distance = DISTANCES["lpips_vgg"]
    made = distance.untrained(torch.Generator().manual_seed(0))
    monkeypatch.setattr(distance, "read", lambda: made)


def test_a_tokenizer_is_validated_by_what_is_named_and_nothing_else(at_hand, lite0):
    task = TokenizerTask.build(
        tokenizer_training(validate_metrics=("lite0_rfd", "ssim", "lpips_vgg"), size=16), CPU
    )
    task.tokenizer.eval()
    numbers = task.validate([batch(0), batch(1, 3)])
    assert list(numbers) == ["lite0_rfd", "ssim", "lpips_vgg", "images"]
    real = torch.cat([batch(0).images, batch(1, 3).images])
    rebuilt = task.tokenizer.reconstruct(real, is_checked=True)
    real, rebuilt = (imaging.to_float(imaging.to_uint8(one)) for one in (real, rebuilt))
    features = lite0.features(torch.cat([real, rebuilt]))
    assert numbers["lite0_rfd"] == pytest.approx(frechet(features[7:], features[:7]), rel=1e-4)
    assert numbers["ssim"] == pytest.approx(ssim(real, rebuilt).mean().item(), abs=1e-6)
    assert numbers["lpips_vgg"] == pytest.approx(task.validation._networks[DISTANCES["lpips_vgg"]](
        real, rebuilt).mean().item(), rel=1e-5)  # fmt: skip
    assert numbers["images"] == 7


def test_unless_named_the_numbers_are_the_usual_ones():
    for training, usual in ((tokenizer_training(), ["l1", "psnr", "codebook_usage", "codebook_perplexity"]),
                            (tokenizer_training(keep_best="ssim"), ["l1", "psnr", "codebook_usage",
                             "codebook_perplexity", "ssim"])):  # fmt: skip
        assert list(TokenizerTask.build(training, CPU).validate([batch()])) == usual
    assert list(prior_task().validate([batch()])) == ["nats_per_token"]


def test_a_prior_draws_for_the_numbers_of_sets(at_hand, lite0):
    task = prior_task(validate_metrics=("lite0_fd", "lite0_kd", "lite0_neighbours"), keep_best="lite0_fd")
    numbers = task.validate([batch(0, 4), batch(1, 3)])
    assert list(numbers)[:3] == ["lite0_fd", "lite0_kd", "lite0_kd_error"]
    of_neighbours = [f"lite0_{name}" for name in ("precision", "recall", "density", "coverage")]
    assert list(numbers)[3:] == [*of_neighbours, "images"]
    drawn = task.pipeline.sample(num=7, seed=0).tensors
    real, drawn = (imaging.to_float(imaging.to_uint8(one)) for one in
                   (torch.cat([batch(0).images, batch(1, 3).images]), drawn))  # fmt: skip
    features = lite0.features(torch.cat([real, drawn]))
    assert numbers["lite0_fd"] == pytest.approx(frechet(features[7:], features[:7]), rel=1e-3)


def test_of_shards_the_reference_is_what_the_codes_give_and_the_name_says_it(at_hand):
    data = ShardsSettings(root=Path("unused"))
    task = prior_task(validate_metrics=("lite0_fd",), keep_best="lite0_fd", data=data)
    codes = task.pipeline.tokenizer.encode(batch(0, 4).images)
    numbers = task.validate([dataclasses.replace(batch(), images=None, codes=codes)])
    assert list(numbers) == ["lite0_fd_to_rebuilt", "images"]
    assert Best.of(task.training).find(numbers) == ("lite0_fd_to_rebuilt", numbers["lite0_fd_to_rebuilt"])


def test_what_images_allow_no_number_of_is_nan_and_said(at_hand, capsys):
    task = TokenizerTask.build(tokenizer_training(validate_metrics=("psnr", "lite0_rfd")), CPU)
    numbers = task.validate([batch(0, 1)])
    assert list(numbers) == ["psnr", "lite0_rfd", "images"]
    assert numbers["psnr"] > 0
    assert math.isnan(numbers["lite0_rfd"])
    assert "lite0_rfd of the held-out images: expected at least 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("training", "held_out", "said"),
    [
        ({"validate_metrics": ("psrn",)}, 9, "validate_metrics=psrn; did you mean psnr?"),
        ({"keep_best": "PSNR"}, 9, "keep_best=PSNR; did you mean psnr?"),
        ({"keep_best": "rfd"}, 9, "did you mean mobilenet_v2_rfd?"),
        ({"keep_best": "codebook_usage"}, 9, "did you mean usage?"),
        ({"keep_best": "nats"}, 9, "expected a metric of a tokenizer: l1, psnr, usage, ssim"),
        ({"keep_best": "perceptual"}, 9, "got keep_best=perceptual"),
        ({"keep_best": "psnr"}, 0, "expected 1 held-out image or more for keep_best=psnr, got 0"),
        ({"validate_metrics": ("lite0_rfd",)}, 1, "expected 2 held-out images or more"),
        (
            {"keep_best": "ms_ssim"},
            9,
            "crops of at least 176 x 176 pixels for keep_best=ms_ssim, got size=16",
        ),
    ],
)
def test_what_cannot_be_is_one_line_before_the_first_step(training, held_out, said):
    with pytest.raises(UserError) as caught:
        checks.check(tokenizer_training(**training), held_out)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_name_is_that_of_one_number():
    for training in (tokenizer_training(), prior_task().training):
        known = validation.known(training)
        assert len({one.number for one in known.values()}) == len(known)
        for name, one in known.items():
            best = Best.of(dataclasses.replace(training, keep_best=name))
            line = {"step": 3, **{other.number: 1.0 for other in known.values()}, f"{one.number}_error": 9.0}
            assert best.find(line) == (one.number, 1.0)
            assert best.beats(2.0, 1.0) == (one.metric.better == "higher") != best.beats(1.0, 2.0)
            assert not best.beats(1.0, 1.0)
            assert best.find({one.number: "nan"}) is None
    assert {one.network.name for one in known.values() if one.network} == set(SPACES)


SVG = "{http://www.w3.org/2000/svg}"
VALUES = {2: 5.0, 4: 7.0, 6: 6.0, 8: 9.0}  # of the validation after a step: 6 is no better than 4


@pytest.fixture
def graded(monkeypatch):
    """Validation gives the values above, whatever the weights are."""
    loops: list[fit.Loop] = []
    begin = fit.Loop.__init__

    def remember(self, *args, **options):
        begin(self, *args, **options)
        loops.append(self)

    monkeypatch.setattr(fit.Loop, "__init__", remember)
    monkeypatch.setattr(TokenizerTask, "validate", lambda *_: {"psnr": VALUES[loops[-1].step], "l1": 0.5})


RUN = {**TOKENIZER, "losses": {"perceptual": {"kind": "none"}}, "keep_best": "psnr", "steps": 8}


def recipe_of(folder: Path, whole: dict) -> Path:
    path = folder / "tokenizer.yaml"
    path.write_text(json.dumps(whole))
    return path


def kept(run: Path) -> tuple[int, float, str]:
    said = library.read_config(run / "best")
    return said["provenance"]["steps"], said["provenance"]["metrics"]["psnr"], said["fingerprint"]


def test_the_best_model_stays_and_the_log_says_when_it_changes(graded, oblong, tmp_path, capsys):
    recipe = recipe_of(tmp_path, RUN)
    run = smalti.train(recipe, data=oblong, out=tmp_path / "run", steps=6)
    assert kept(run)[:2] == (4, 7.0)
    lines = [line for line in log.read(run / "log.jsonl") if line["kind"] == "best"]
    assert lines == [{"step": 2, "kind": "best", "psnr": 5.0}, {"step": 4, "kind": "best", "psnr": 7.0}]
    assert f"step 4: the best psnr so far, 7, before 5: {run / 'best'}" in capsys.readouterr().err
    best, newest = smalti.load(run / "best"), smalti.load(run)
    assert best.provenance["steps"] == 4
    assert library.fingerprint(best) != library.fingerprint(newest)
    halfway = smalti.train(recipe, data=oblong, out=tmp_path / "half", steps=4)
    assert library.fingerprint(smalti.load(halfway)) == library.fingerprint(best)


PLACES = {
    "before the model": (library, "save"),
    "before the line": (log.Log, "write"),
    "before the picture": (curves, "write"),
}


@pytest.mark.parametrize(("place", "call"), [("before the model", 4), ("before the line", 10),
                                             ("before the line", 11), ("before the line", 12),
                                             ("before the picture", 2)])  # fmt: skip
def test_a_kill_costs_neither_the_best_model_nor_its_line(graded, oblong, tmp_path, monkeypatch, place, call):
    recipe = recipe_of(tmp_path, {**RUN, "checkpoint_every": 2})
    whole = smalti.train(recipe, data=oblong, out=tmp_path / "whole")
    calls: list[int] = []
    with monkeypatch.context() as patched:
        kill(patched, *PLACES[place], lambda *_, **__: calls.append(1) or len(calls) == call)
        with pytest.raises(Killed):
            smalti.train(recipe, data=oblong, out=tmp_path / "parts")
    smalti.train(recipe, out=tmp_path / "parts", resume=True)
    assert record(tmp_path / "parts") == record(whole)
    assert kept(tmp_path / "parts") == kept(whole)
    assert kept(whole)[0] == 8


def test_an_old_run_may_begin_to_keep_its_best(graded, oblong, tmp_path):
    without = {name: value for name, value in RUN.items() if name != "keep_best"}
    recipe = recipe_of(tmp_path, without)
    run = smalti.train(recipe, data=oblong, out=tmp_path / "run", steps=4)
    assert not (run / "best").exists()
    settings = (run / "settings.yaml").read_text()
    young = re.sub(r"^(keep_best|validate_metrics): null\n", "", settings, flags=re.M)
    assert young != settings
    (run / "settings.yaml").write_text(young)
    smalti.train(recipe, out=run, resume=True, steps=6)
    assert not (run / "best").exists()
    smalti.train(recipe, out=run, resume=True, steps=8, keep_best="psnr")
    assert kept(run)[:2] == (8, 9.0)
    smalti.train(recipe, out=run, resume=True, steps=8, keep_best="l1")
    assert library.read_config(run / "best")["provenance"]["best_by"] == "l1"


def test_curves_are_a_picture_of_the_log(graded, oblong, tmp_path):
    run = smalti.train(recipe_of(tmp_path, RUN), data=oblong, out=tmp_path / "run")
    picture = ET.parse(run / "curves.svg").getroot()
    texts = [element.text for element in picture.iter(f"{SVG}text")]
    assert (
        texts.index("l1")
        < texts.index("psnr")
        < texts.index("loss/autoencoder")
        < texts.index("gradient/autoencoder")
    )
    assert "skipped" not in texts, "it never changed"
    (chart,) = (
        one for one in picture.iter(f"{SVG}g") if "psnr" in [text.text for text in one.iter(f"{SVG}text")]
    )
    (line,) = (element.get("points") for element in chart.iter(f"{SVG}polyline"))
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert sorted(range(4), key=lambda number: heights[number]) == [3, 1, 2, 0], "high values lie high"


def test_many_points_are_drawn_as_means(tmp_path):
    lines = [{"step": step, "kind": "train", "loss/prior": float(step % 2)} for step in range(1, 1201)]
    curves.write(tmp_path / "curves.svg", [*lines, {"step": 3, "kind": "train", "loss/prior": "nan"}])
    (line,) = ET.parse(tmp_path / "curves.svg").getroot().iter(f"{SVG}polyline")
    assert len(line.get("points").split()) == curves.POINTS
    curves.write(tmp_path / "empty.svg", [])
    ET.parse(tmp_path / "empty.svg")


def test_sheets_are_in_tensorboard(oblong, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = smalti.train(recipe_of(tmp_path, RUN), data=oblong, out=tmp_path / "run", steps=4)
    found = events.EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    shown = found.Images("samples")
    assert [image.step for image in shown] == [2, 4]
    assert (shown[0].height, shown[0].width) == imaging.open_rgb(run / "samples/step-00000002.png").shape[1:]
