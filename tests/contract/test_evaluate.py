"""`smalti evaluate` and `smalti compare`: numbers with their protocol, of models, folders and npz files."""

import json
import os
import re
import shutil
import subprocess
import sys
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image
from tiny import LABELS, generator, holding

import smalti
from smalti import imaging
from smalti.cli.main import group
from smalti.errors import UserError
from smalti.evaluation import record, rows, table
from smalti.evaluation.data import open_data
from smalti.evaluation.evidence import Evidence, Side
from smalti.evaluation.measures import MEASURES, training
from smalti.evaluation.measures import sets as of_sets
from smalti.evaluation.measures.protocol import GENERATION, RECONSTRUCTION, Measure
from smalti.evaluation.record import Number, Record
from smalti.evaluation.run import _numbers as in_all
from smalti.evaluation.run import evaluate as run_evaluation
from smalti.evaluation.sets import Cut, Npz
from smalti.evaluation.settings import EvaluationSettings
from smalti.features import SPACES
from smalti.features.protocol import Space
from smalti.imaging import eight_bit
from smalti.losses import DISTANCES
from smalti.losses.distance import Distance
from smalti.metrics.codes import unigram_nats
from smalti.metrics.distances import frechet, kid
from smalti.metrics.neighbours import manifold
from smalti.metrics.obeyed.protocol import others
from smalti.metrics.reconstruction import psnr
from smalti.priors.protocol import Nats

SIZE = (32, 48)  # oblong: axes cannot be mixed up
ONE = {"size": SIZE}


class Colours(Space):
    """A feature space from outside, without weights: the colours of 4 x 4 parts; classes by brightness."""

    name, title, width, classes, side = "colours", "colours of parts", 48, 2, 16

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(10.0), requires_grad=False)

    @classmethod
    def read(cls, path=None):
        space = cls()
        space.digest = "0" * 64
        return space

    def forward(self, images):
        features = self.scale * F.adaptive_avg_pool2d(images, 4).flatten(1)
        return features, torch.stack([features.mean(1), -features.mean(1)], dim=1)


class Apart(Distance):
    """A perceptual distance without weights."""

    name, title, least = "hed", "differences", 16

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()), requires_grad=False)

    @classmethod
    def read(cls):
        return cls()

    untrained = read

    def forward(self, a, b):
        return (self.one * (a - b)).abs().mean((1, 2, 3))


@pytest.fixture(scope="module", autouse=True)
def quick_networks():
    with holding(SPACES, {"colours": Colours}), holding(DISTANCES, {"hed": Apart}):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve images of each of two of the tiny model's classes, and none of the third."""
    root = tmp_path_factory.mktemp("data") / "photos"
    chance = np.random.default_rng(0)
    across = np.arange(56)[None, :, None]
    for name in ("brick", "moon"):
        (root / name).mkdir(parents=True)
        for number in range(12):
            stripes = (across // 8 + number) % 2 * 190 if name == "brick" else 10 * number
            pixels = stripes + chance.integers(0, 60, (40, 56, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def pipeline():
    return generator(condition=replace(LABELS, dropout=0.0), grid=(16, 24))


@pytest.fixture(scope="module")
def tokenizer_folder(pipeline, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tokenizer"
    smalti.save(pipeline.tokenizer, path, {"size": list(SIZE)})
    return path


@pytest.fixture(scope="module")
def pipeline_folder(pipeline, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "pipeline"
    smalti.save(pipeline, path, {"size": list(SIZE)})
    return path


@pytest.fixture(scope="module")
def rebuilt(tokenizer_folder, folder, tmp_path_factory):
    """A tokenizer's evaluation: its record, its folder, and the images it wrote."""
    out = tmp_path_factory.mktemp("out")
    how = {"metrics": ("psnr", "hed", "fd", "usage", "bits"), **ONE}
    found = run_evaluation(tokenizer_folder, folder, save=out / "saved", **how)
    found.save(out / "report")
    return found.record, out


@pytest.fixture(scope="module")
def drawn(pipeline_folder, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "LOOKED_AT", 4)
        found = run_evaluation(pipeline_folder, folder, train=folder, save=out / "drawn.npz", **ONE)
    found.save(out)
    return found.record, out


def evaluate(*given, **how):
    return run_evaluation(*given, **how).record


def crops(folder):
    """The images of the folder as an evaluation sees them."""
    cut, found = Cut(size=SIZE), []
    for path in imaging.find_images(folder):
        found.append(cut(imaging.open_rgb(path), path))
    return torch.stack(found)


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words], standalone_mode=False)


def test_reconstructions_are_measured_as_eight_bit_images_cut_from_the_middle(rebuilt, pipeline, folder):
    real, (found, _) = crops(folder), rebuilt
    fake = eight_bit(pipeline.tokenizer.reconstruct(real, is_checked=True))
    values = psnr(real, fake).double()
    assert found.numbers["psnr"].value == pytest.approx(values.mean().item(), rel=1e-6)
    assert found.numbers["psnr"].error == pytest.approx(values.std().item() / 24**0.5, rel=1e-6)
    space = Colours.read()
    distance = frechet(space.features(fake), space.features(real))
    assert found.numbers["colours_rfd"].value == pytest.approx(distance, rel=1e-5)
    assert found.numbers["bits_per_pixel"].value == pytest.approx(np.log2(12) / 4, rel=1e-6)


def test_every_number_carries_its_protocol(rebuilt, tokenizer_folder):
    found, out = rebuilt
    written = json.loads((out / "report" / "metrics.json").read_text())
    for name, number in written["numbers"].items():
        protocol = number["protocol"]
        assert protocol["task"] == RECONSTRUCTION, name
        assert (protocol["count"], protocol["reference"]["count"]) == (24, 24)
        assert (protocol["size"], protocol["crop"]) == ("32 x 48", "center")
        assert protocol["resize"] == "short side, bicubic, antialiased"
        assert protocol["library"].startswith("smalti ")
        assert len(protocol["reference"]["hash"]) == 16
    assert len(written["numbers"]["colours_rfd"]["protocol"]["network"]["weights"]) == 64
    assert written["subject"]["fingerprint"] == smalti.load(tokenizer_folder).fingerprint
    assert record.read(out / "report") == found


def test_the_page_shows_worst_and_best(rebuilt):
    text = (rebuilt[1] / "report" / "report.html").read_text()
    assert "Worst 8 by hed" in text
    assert "Best 8 by hed" in text
    worst, best = (
        [float(value) for value in found.split(", ")]
        for found in dict.fromkeys(re.findall(r"below their reconstructions; hed ([\d., e-]+)", text))
    )
    assert worst == sorted(worst, reverse=True)
    assert best == sorted(best)
    assert min(worst) >= max(best)
    assert max(worst) > max(best)
    assert text.count("data:image/png") == 2


def test_the_page_shows_nearest_training_images(drawn):
    text = (drawn[1] / "report.html").read_text()
    assert "Nearest training images" in text
    assert text.count("data:image/png") == 4


def test_saved_images_are_those_that_were_measured(rebuilt, folder):
    """Evaluated again as images, with no model, they give the same numbers."""
    found, out = rebuilt
    again = evaluate(out / "saved", folder, metrics=("psnr", "hed", "fd"), paired=True, **ONE)
    for name in ("psnr", "hed", "colours_rfd"):
        assert again.numbers[name].value == pytest.approx(found.numbers[name].value, rel=1e-6)
        assert record.unlike(again.numbers[name].protocol, found.numbers[name].protocol) is None


def test_all_numbers_of_a_model_that_draws(drawn):
    found, _ = drawn
    for name in ("fd", "kd", "score", "precision", "coverage", "accuracy", "nearest", "copies", "diversity"):
        assert f"colours_{name}" in found.numbers
    assert {"nats_per_token", "bits_per_pixel", "hed_nearest", "hed_diversity"} <= found.numbers.keys()
    assert found.numbers["colours_kd"].error > 0
    assert found.numbers["colours_accuracy"].beside["real images"] > 0.8, "it has learned from them"
    assert found.numbers["colours_copies"].beside["real images"] == 1, "they are the training images"
    assert found.subject["classes"] == "as in the data"
    assert found.subject["drawing"]["temperature"] == 1


def test_nats_are_those_that_the_model_says(drawn, pipeline, folder):
    numbers = [0] * 12 + [2] * 12  # by the model's classes: brick, grass, moon
    expected = pipeline.nats_per_token(crops(folder), label=numbers)
    assert drawn[0].numbers["nats_per_token"].value == pytest.approx(expected, rel=1e-5)


def test_drawn_images_are_those_of_their_seeds_and_classes(drawn, pipeline):
    with np.load(drawn[1] / "drawn.npz") as file:
        saved = file["arr_0"]
    assert saved.shape == (24, *SIZE, 3)
    expected = pipeline.sample(num=1, seed=20, label="moon").tensors
    assert np.array_equal(saved[20], imaging.to_uint8(expected)[0].permute(1, 2, 0).numpy())


def test_all_images_are_measured_as_files_of_eight_bits_hold_them(pipeline_folder, folder, pipeline):
    found = run_evaluation(pipeline_folder, folder, train=folder, metrics=("fd", "accuracy"), **ONE).evidence
    real, space = crops(folder), Colours.read()
    made = pipeline.tokenizer.decode(pipeline.sample(num=1, seed=3, label="brick").codes)
    for seen, images in ((found.real, real), (found.train, real), (found.fake, made)):
        rows = slice(3, 4) if images is made else slice(None)
        features = seen.features["colours"][rows]
        assert torch.allclose(features, space.features(eight_bit(images)), atol=1e-4)
    assert not torch.allclose(found.fake.features["colours"][3:4], space.features(made), atol=1e-4)
    half = F.interpolate(eight_bit(real), scale_factor=0.5, mode="area")
    blurred = F.interpolate(half, size=SIZE, mode="bilinear")
    assert torch.allclose(found.blurred["colours"], space.features(blurred), atol=0.05)
    assert not torch.allclose(found.blurred["colours"], space.features(real), atol=0.05)


def test_npz_files_of_others_are_judged(drawn, folder, tmp_path):
    """As written by numpy, packed, with classes, on both sides."""
    found, out = drawn
    path = tmp_path / "others.npz"
    with np.load(out / "drawn.npz") as file:
        np.savez_compressed(path, file["arr_0"], np.arange(24))
    again = evaluate(path, folder, metrics=("fd",), **ONE)
    assert again.numbers["colours_fd"].value == pytest.approx(found.numbers["colours_fd"].value, rel=1e-6)
    assert Npz(path, Cut(size=SIZE)).labels == list(range(24))
    there = Npz(path, Cut(size=SIZE))
    last, first = there[23], there[0]
    assert torch.equal(there[23], last)
    assert not torch.equal(first, last)
    back = evaluate(folder, path, metrics=("fd",), **ONE)
    assert back.numbers["colours_fd"].value == pytest.approx(found.numbers["colours_fd"].value, rel=1e-5)


def test_training_images_are_those_of_the_prior_and_no_others(pipeline, folder, tmp_path):
    """Not those of its tokenizer, and not the other part of a folder that it never saw."""
    for name, whose in (("first", "moon"), ("second", "brick")):
        shutil.copytree(folder / whose, tmp_path / name / whose)
    for part in ("train", "val"):
        shutil.copytree(folder, tmp_path / "foreign" / part)
    told = {
        name: {"kind": "folder", "root": str(tmp_path / name), "val_share": 0.25}
        for name in ("first", "second")
    }
    model = copy(pipeline)
    model.provenance, how = {"data": told["second"]}, EvaluationSettings(**ONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.tokenizer, "provenance", {"data": told["first"]})
        foreign = open_data(tmp_path / "foreign", Cut(size=SIZE), how, model, None)
        assert len(foreign.real) == 24
        assert foreign.train.name == str(tmp_path / "second")
        own = open_data(tmp_path / "second", Cut(size=SIZE), how, model, None)
        assert len(own.real) + len(own.train) == 12
        assert len(own.train) == len(foreign.train) < 12
        model.provenance = {"data": {"kind": "shards", "root": str(tmp_path)}}
        assert open_data(folder, Cut(size=SIZE), how, model, None).train.name == str(tmp_path / "first")
        patch.setattr(pipeline.tokenizer, "provenance", {})
        assert len(open_data(tmp_path / "foreign", Cut(size=SIZE), how, model, None).train) == 24


def test_all_classes_evenly(pipeline_folder, folder):
    found = evaluate(pipeline_folder, folder, metrics=("score",), per_class=2, **ONE)
    assert found.subject["classes"] == "2 each"
    assert found.numbers["colours_score"].protocol["count"] == 6


def test_a_batch_is_all_that_several_processes_share(monkeypatch):
    """Each measures whole batches, so that all of them together give what one gives."""

    class Two:
        count = 2

        def __init__(self, rank, parts):
            self.rank, self._parts = rank, parts

        def collect(self, thing):
            self._parts[self.rank] = thing
            return self._parts

    def measure(batch, loaded):
        return {"number": torch.tensor([float(row) + loaded for row in batch])}

    one = rows.over(40, len, measure, "numbers")
    parts = [{}, {}]
    for rank in (1, 0):
        monkeypatch.setattr(rows.strategy, "current", lambda rank=rank: Two(rank, parts))
        found = rows.over(40, len, measure, "numbers") if rank == 0 else _of_one_part(measure)
    assert torch.equal(found["number"], one["number"])
    lengths = torch.tensor([16] * 32 + [8] * 8)  # what is loaded with each
    assert torch.equal(one["number"], torch.arange(40) + lengths), "all of them, in order"
    assert [len(part) for part in parts] == [2, 1]


def _of_one_part(measure):
    with pytest.raises(KeyError):  # what the other process measures is not there yet
        rows.over(40, len, measure, "numbers")


def test_records_of_one_protocol_make_a_table(rebuilt, tmp_path):
    text = table.of_several({"a": rebuilt[0], "b": rebuilt[0]})
    assert "psnr" in text
    assert len(text.splitlines()) == len(rebuilt[0].numbers) + 2


def test_models_of_one_protocol_make_a_table(pipeline_folder, folder, monkeypatch):
    """What was found, of a score its spread over splits, is no part of how it was measured."""
    monkeypatch.setattr(of_sets, "_A_SPLIT", 6)  # so that 24 images have several
    names = ("fd", "kid", "score", "neighbours")
    found = {
        str(seed): evaluate(pipeline_folder, folder, metrics=names, seed=seed, **ONE) for seed in (0, 100)
    }
    spreads = {one.numbers["colours_score"].beside["spread over splits"] for one in found.values()}
    assert len(spreads) == 2
    assert "colours_score" in table.of_several(found)


def test_tokenizers_of_different_factors_make_a_table(rebuilt):
    """Their codes are as many as they are: no way of measuring, and bits a pixel compare."""
    found = rebuilt[0]
    numbers = found.numbers
    assert numbers["codebook_usage"].beside == {"tokens": 24 * 16 * 24}
    for name in ("codebook_usage", "bits_per_pixel", "entropy_bits_per_pixel"):
        assert "tokens" not in numbers[name].protocol


def changed(found, **protocol):
    numbers = {
        name: replace(one, protocol={**one.protocol, **protocol}) for name, one in found.numbers.items()
    }
    return Record(subject=found.subject, numbers=numbers)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"count": 23}, "count of psnr is 24 in a and 23 in b"),
        ({"resize": "none"}, "resize of psnr is short side"),
        ({"reference": {"count": 24, "hash": "0"}}, "reference.hash of psnr"),
        ({"library": "smalti 9"}, "library of psnr"),
        ({"more": 1}, "more of psnr is not there in a and 1 in b"),
    ],
)
def test_records_of_unlike_protocols_are_no_table(rebuilt, tmp_path, change, field):
    for name, one in {"a": rebuilt[0], "b": changed(rebuilt[0], **change)}.items():
        (tmp_path / name).mkdir()
        one.save(tmp_path / name)
    with pytest.raises(UserError, match=field):
        table.of_several({name: record.read(tmp_path / name) for name in ("a", "b")})
    assert isinstance(run("compare", tmp_path / "a", tmp_path / "b").exception, UserError)
    assert run("compare", tmp_path / "a", tmp_path / "a" / "metrics.json").exit_code == 0
    told = json.loads(run("compare", tmp_path / "a", "--json").stdout)
    assert told["left_out"] == {}
    (numbers,) = told["numbers"].values()
    assert numbers["psnr"]["value"] == rebuilt[0].numbers["psnr"].value


def test_numbers_that_were_measured_otherwise_are_left_out_by_name(rebuilt):
    found = rebuilt[0]
    other = replace(found.numbers["psnr"], protocol={**found.numbers["psnr"].protocol, "count": 23})
    text = table.of_several({"a": found, "b": replace(found, numbers={**found.numbers, "psnr": other})})
    lines = text.splitlines()
    assert "psnr" not in [line.split()[0] for line in lines]
    assert {*found.numbers} - {"psnr"} <= {line.split()[0] for line in lines}
    assert lines[-1] == "without psnr: count of psnr is 24 in a and 23 in b"
    assert len(lines) == len(found.numbers) + 2


def test_records_with_nothing_in_common_are_no_table(rebuilt, drawn):
    with pytest.raises(UserError, match="a number in common"):
        table.of_several(
            {
                "a": Record(subject={}, numbers={"psnr": rebuilt[0].numbers["psnr"]}),
                "b": Record(subject={}, numbers={"kd": drawn[0].numbers["colours_kd"]}),
            }
        )


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "smalti metrics 1"}', "{"])
def test_what_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(UserError, match="record"):
        record.read(tmp_path)


def test_few_images_are_warned_of_and_what_they_are_too_few_for_is_left_out(
    pipeline_folder, folder, monkeypatch
):
    monkeypatch.setattr(training, "LOOKED_AT", 4)
    found = evaluate(pipeline_folder, folder, num=3, **ONE)
    assert any("3 images are few for 48 features" in note for note in found.notes)
    assert any(note.startswith("without kid: it takes at least 4") for note in found.notes)
    assert "colours_fd" in found.numbers
    with pytest.raises(UserError, match="at least 4"):
        evaluate(pipeline_folder, folder, num=3, metrics=("kid",), **ONE)


def test_images_that_say_nothing_are_refused(folder, tokenizer_folder, tmp_path):
    with pytest.raises(UserError, match="at least 2 real images, got 1"):
        evaluate(tokenizer_folder, folder, num=1, metrics=("psnr",), **ONE)
    with pytest.raises(UserError, match="the same 24 images on both sides"):
        evaluate(folder, folder, metrics=("fd",), **ONE)
    (tmp_path / "alike").mkdir()
    for number in range(4):
        Image.new("RGB", (48, 32), "red").save(tmp_path / "alike" / f"{number}.png")
    with pytest.raises(UserError, match="4 judged images of equal colours features"):
        evaluate(tmp_path / "alike", folder, metrics=("fd",), **ONE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="which holds neither"):
        evaluate(tmp_path / "empty", folder, **ONE)
    with pytest.raises(UserError, match=r"images in .*empty, got none"):
        evaluate(tokenizer_folder, tmp_path / "empty", **ONE)
    with pytest.raises(UserError, match="does not exist"):
        evaluate(tokenizer_folder, tmp_path / "nowhere", **ONE)


def test_images_that_rounding_alone_tells_apart_are_refused():
    alike = torch.ones(3, 4) + torch.tensor([[0.0], [1e-6], [0.0]])
    side = Side(what="judged images", count=3, show=list, features={"colours": alike})
    with pytest.raises(UserError, match="3 judged images of equal colours features"):
        side.check()
    differ = alike + torch.tensor([[0.0], [1e-2], [0.0]])
    Side(what="judged images", count=3, show=list, features={"colours": differ}).check()


def test_files_that_are_no_npz_are_told_in_words(folder, tmp_path):
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "empty.npz")
    np.save(tmp_path / "one.npy", np.zeros((2, 8, 8, 3), np.uint8))
    for name, said in (
        ("text.npz", "got a file that is no npz; write"),
        ("empty.npz", "got a file without arrays; write"),
        ("missing.npz", r"missing.npz, which does not exist; check the path"),
        ("missing", r"missing, which does not exist; check the path"),
        ("one.npy", r"got the array .*one.npy; write it with numpy.savez"),
    ):
        with pytest.raises(UserError, match=said):
            evaluate(tmp_path / name, folder, **ONE)


def test_a_column_in_which_nothing_stands_is_left_out(rebuilt, drawn):
    alone = {name: one for name, one in rebuilt[0].numbers.items() if not one.beside}
    assert "beside" not in table.of_one(replace(rebuilt[0], numbers=alone)).splitlines()[0]
    assert "beside" in table.of_one(drawn[0]).splitlines()[0]
    assert "<th>beside</th>" in (drawn[1] / "report.html").read_text()


def test_features_that_are_no_numbers_are_refused():
    features = torch.ones(3, 4).cumsum(0)
    features[1, 2] = float("nan")
    side = Side(what="real images", count=3, show=list, features={"colours": features})
    with pytest.raises(UserError, match="finite colours features of real images, got NaN for number 1"):
        side.check()


def test_nothing_is_overwritten(tokenizer_folder, folder, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "mine.txt").write_text("mine")
    found = run("evaluate", tokenizer_folder, folder, "--out", tmp_path / "report")
    assert isinstance(found.exception, UserError)
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="--save"):
        evaluate(tokenizer_folder, folder, save=tmp_path / "report", **ONE)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"metrics": ("psrn",)}, "did you mean psnr"),
        ({"metrics": ("kid",)}, "metrics of a reconstruction"),
        ({"metrics": ("psnr", "kid")}, "got kid; leave it out"),
        ({"metrics": ()}, "got none; choose some"),
        ({"metrics": ("PSNR",)}, "did you mean psnr"),
        ({"spaces": ("inceptoin",)}, "feature spaces among"),
        ({"spaces": ("inceptoin",), "metrics": ("psnr",)}, "feature spaces among"),
        ({"per_class": 2}, "--per-class with"),
        ({"paired": True}, "for --paired"),
        ({"drawing": {"top_k": 1}}, "a model that draws, for --top-k"),
        ({"num": 0}, "num"),
        ({"metrics": ("ms_ssim",)}, "176"),
        ({"metrics": ("hed",), "size": (8, 12)}, "16 pixels a side or more for differences"),
    ],
)
def test_what_cannot_be_measured_is_said(tokenizer_folder, folder, given, match):
    with pytest.raises(UserError, match=match):
        evaluate(tokenizer_folder, folder, **{**ONE, **given})


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"num": 4, "per_class": 2}, "one of --num and --per-class, got both"),
        ({"paired": True}, "images that somebody made, for --paired"),
        ({"maps": "maps"}, "a model that is told maps, for --maps"),
    ],
)
def test_options_that_a_model_that_draws_has_no_use_for_are_said(pipeline_folder, folder, given, match):
    with pytest.raises(UserError, match=match):
        evaluate(pipeline_folder, folder, **{**ONE, **given})


@pytest.mark.parametrize("given", [{"per_class": 2}, {"maps": "maps"}])
def test_images_that_somebody_made_are_told_nothing(folder, given):
    with pytest.raises(UserError, match="a model that draws, for --"):
        evaluate(folder, folder, **{**ONE, **given})


def test_what_is_told_nothing_cannot_have_obeyed(pipeline_folder, folder, tmp_path):
    with pytest.raises(UserError, match="got one that is told classes; --metrics accuracy"):
        evaluate(pipeline_folder, folder, metrics=("obeyed",), **ONE)
    np.savez(tmp_path / "some.npz", np.zeros((4, *SIZE, 3), np.uint8))
    with pytest.raises(UserError, match="got images that are told nothing; leave it out"):
        evaluate(tmp_path / "some.npz", folder, metrics=("obeyed",), **ONE)


def test_the_command_prints_the_table(tokenizer_folder, folder):
    found = run("evaluate", tokenizer_folder, folder, "--metrics", "psnr,usage", "--num", "6")
    assert found.exit_code == 0
    assert found.output.startswith("number")
    assert "codebook_usage" in found.output
    assert "6 of 24" not in found.output
    told = json.loads(
        run("evaluate", tokenizer_folder, folder, "--metrics", "psnr", "--num", "6", "--json").stdout
    )
    assert f"{told['numbers']['psnr']['value']:.4g}" in found.output
    assert told["numbers"]["psnr"]["protocol"]["count"] == 6


def of_rows(real, fake, **more):
    """Evidence of rows of features alone."""
    sides = {
        what: Side(what=what, count=len(one), show=list, features={"colours": one}, labels=[0] * len(one))
        for what, one in (("real", real), ("fake", fake))
    }
    protocol = {"count": len(fake), "reference": {"count": len(real)}}
    spaces = {"colours": Colours.read()}
    return Evidence(task=GENERATION, **sides, spaces=spaces, distances={}, protocol=protocol, **more)


def test_precision_is_of_judged_images_and_recall_of_real_ones():
    """Judged images that all lie in one of two parts of the real ones."""
    chance = torch.Generator().manual_seed(0)
    part = torch.randn(40, 3, generator=chance)
    real = torch.cat([part, part + 100])
    found = dict(MEASURES["neighbours"].numbers(of_rows(real, part[:20] + 0.01)))
    assert found["colours_precision"].value == 1
    assert found["colours_recall"].value <= 0.5
    assert found["colours_coverage"].value <= 0.5
    assert found["colours_precision"].protocol["neighbours"] == 3
    assert found["colours_coverage"].protocol["neighbours"] == 5
    expected = manifold(part[:20] + 0.01, real)
    assert {name: found[f"colours_{name}"].value for name in vars(expected)} == vars(expected)


def test_distances_are_of_judged_images_and_beside_of_training_images():
    chance = torch.Generator().manual_seed(0)
    fake, real, trained = (torch.randn(12, 3, generator=chance) + 3 * number for number in range(3))
    evidence = of_rows(real, fake)
    train = replace(evidence.fake, features={"colours": trained})
    for name, short, distance in (("fd", "fd", frechet), ("kid", "kd", lambda a, b: kid(a, b).value)):
        found = dict(MEASURES[name].numbers(replace(evidence, train=train)))[f"colours_{short}"]
        assert found.value == pytest.approx(distance(fake, real), rel=1e-9)
        assert found.beside["real training images"] == pytest.approx(distance(trained, real), rel=1e-9)


def test_frequencies_beside_a_likelihood_are_those_of_training_images():
    codes, trained = torch.zeros(3, 2, 2, dtype=torch.int64), torch.ones(5, 2, 2, dtype=torch.int64)
    more = {"codes": codes, "codebook_size": 4, "nats": Nats(24.0, 12, False), "pixels": 16}
    for train, whose in ((trained, "training images"), (None, "these images")):
        evidence = of_rows(torch.eye(3), torch.eye(3), train_codes=train, **more)
        number = dict(MEASURES["nats"].numbers(evidence))["nats_per_token"]
        expected = unigram_nats(codes if train is None else train, codes, 4)
        assert number.value == 2
        assert number.beside[f"by the frequencies of codes in {whose}"] == expected


def test_accuracy_stands_between_exchanged_classes_and_real_images():
    """Images that show their classes, one real one in four of another, and training images of three."""
    chance, labels = torch.Generator().manual_seed(0), [0, 1, 2, 0, 1, 2, 0, 1]
    means = 5 * torch.eye(3)
    shown = [means[torch.tensor(labels)] + 0.1 * torch.randn(8, 3, generator=chance) for _ in range(3)]
    evidence = of_rows(shown[0], shown[1])
    sides = {name: replace(getattr(evidence, name), labels=labels) for name in ("real", "fake")}
    sides["real"] = replace(sides["real"], labels=[1, 0, *labels[2:]])
    train = replace(sides["fake"], features={"colours": shown[2]}, hash="0")
    evidence = replace(evidence, **sides, train=train, blurred={"colours": shown[2]})
    number = dict(MEASURES["accuracy"].numbers(evidence))["colours_accuracy"]
    exchanged = [labels[other] == own for own, other in zip(labels, others(8), strict=True)]
    assert number.value == 1
    assert number.beside == {"real images": 0.75, "classes exchanged": sum(exchanged) / 8}
    assert sum(exchanged) < 6


def test_copies_are_told_of_judged_images_and_beside_of_real_ones():
    chance = torch.Generator().manual_seed(0)
    trained, real = (torch.randn(30, 3, generator=chance) for _ in range(2))
    evidence = of_rows(real, trained[:10] + 1e-4)
    train = replace(evidence.fake, count=30, features={"colours": trained}, hash="0")
    found = dict(MEASURES["nearest"].numbers(replace(evidence, train=train)))
    assert found["colours_copies"].value == 1
    assert found["colours_copies"].beside["real images"] < 0.5
    assert found["colours_nearest"].value < 0.01 < found["colours_nearest"].beside["real images"]


def test_numbers_that_images_tell_nothing_of_are_left_out_and_said(monkeypatch):
    class Nothing(Measure):
        tasks = (GENERATION,)

        def numbers(self, evidence):
            yield "none", Number(value=float("nan"), title="")
            yield "half", Number(value=1.0, title="", beside={"other": float("nan"), "one": 2.0})

    monkeypatch.setitem(MEASURES, "nothing", Nothing())
    found, notes = in_all(of_rows(torch.eye(3), torch.eye(3)), ["nothing"], [])
    assert list(found) == ["half"]
    assert found["half"].beside == {"one": 2.0}
    assert notes == ["without none: these images tell nothing of it (nan)"]


def test_diversity_without_two_images_of_a_class_is_refused():
    """Without a feature space too, where a perceptual distance alone is there."""
    evidence = of_rows(torch.eye(3), torch.eye(3))
    sides = {name: replace(getattr(evidence, name), labels=[0, 1, 2]) for name in ("real", "fake")}
    alone = replace(evidence, **sides, spaces={}, distances={"hed": Apart()})
    with pytest.raises(UserError, match="two images or more of some class"):
        dict(MEASURES["diversity"].numbers(alone))


def test_every_measure_is_of_a_task_and_known_by_a_name():
    for name, measure in MEASURES.items():
        assert set(measure.tasks) <= {RECONSTRUCTION, GENERATION}, name
        assert measure.tasks


def test_a_number_without_error_is_shown_by_its_value():
    assert table.shown(Number(value=0.123456, title="")) == "0.1235"
    assert table.shown(Number(value=27.5, title="", error=0.031)) == "27.5 +- 0.031"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tokenizer", "pipeline"])
def test_two_processes_give_what_one_gives(kind, tokenizer_folder, pipeline_folder, folder, tmp_path):
    """To the last bit, as each batch is measured whole by one of them."""
    model = {"tokenizer": tokenizer_folder, "pipeline": pipeline_folder}[kind]
    metrics = {"tokenizer": "psnr,ssim,fd,usage,bits", "pipeline": "fd,kid,score,nats,accuracy"}[kind]
    given = ["evaluate", model, folder, "--spaces", "lite0", "--metrics", metrics, "--train", folder]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--"]
    found = []
    for name, words in {"one": [sys.executable, "-m", "smalti"], "two": [*two, "smalti"]}.items():
        command = [*map(str, (*words, *given, "--out", tmp_path / name))]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        found.append(record.read(tmp_path / name).numbers)
    assert found[0] == found[1]
    assert found[0]


def test_a_record_that_is_no_json_and_a_name_of_an_image(tokenizer_folder, folder, tmp_path):
    (tmp_path / "text.json").write_text("text")
    with pytest.raises(UserError, match=r"text\.json which is no JSON; give the metrics\.json"):
        record.read(tmp_path / "text.json")
    with pytest.raises(UserError, match=r"a folder or NAME\.npz for --save, got .*x\.png; leave"):
        evaluate(tokenizer_folder, folder, save=tmp_path / "x.png", **ONE)


def test_without_a_terminal_a_line_says_what_goes_on(tokenizer_folder, folder, capsys):
    found = evaluate(tokenizer_folder, folder, num=6, **ONE)
    assert ": 6 images" in capsys.readouterr().err
    assert any(note.startswith("6 evenly out of 24 of 24 images of ") for note in found.notes)
