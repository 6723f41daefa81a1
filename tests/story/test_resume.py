"""`--resume`: the command that began a run goes on with it, wherever its things lie by now."""

import json
import os
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny import TOKENIZER_TRAINING, TRAINING

import smalti
from smalti import library
from smalti.training import log, resuming
from smalti.training.fit import Loop
from smalti.training.folder import RunFolder

TOKENIZER = {**TOKENIZER_TRAINING, "size": [16, 24], "steps": 4, "checkpoint_every": 2}
PRIOR = {
    **TRAINING,
    "kind": "prior",
    "size": [16, 24],
    "steps": 4,
    "checkpoint_every": 2,
    "prior": {"kind": "gpt", "layers": 1, "heads": 2, "width": 16},
    "condition": {"kind": "label"},
}
BEGUN = ("train", "my recipes/tiny one.yaml", "--data", "my photos", "--out", "my runs/first", "size=[16,24]")
BEGUN += ("optimizer.lr=1e-3", "crop={resize: none}", "precision=auto", "seed=0")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A home with a tokenizer's run, stopped after step 2, and a prior's, stopped alike; both of 4 steps."""
    home = tmp_path_factory.mktemp("home")
    across, down = np.meshgrid(np.arange(30), np.arange(20))
    for number in range(10):
        wave = 127 + 120 * np.sin(across * (number + 1) / 9 + down / (number + 2))
        folder = home / "my photos" / ("even", "odd")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(wave.astype(np.uint8)).convert("RGB").save(folder / f"{number}.png")
    (home / "my recipes").mkdir()
    for name, recipe in (("tiny one", TOKENIZER), ("prior", PRIOR)):
        (home / "my recipes" / f"{name}.yaml").write_text(yaml.safe_dump(_plain(recipe)))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(home)
        asked = {"optimizer.lr": "1e-3", "crop": {"resize": "none"}, "precision": "auto", "seed": 0}
        smalti.train(BEGUN[1], data="my photos", out="whole", size=[16, 24], **asked)
        smalti.train(BEGUN[1], data="my photos", out="another tokenizer", seed=5, steps=1)
        real = Loop._advance

        def advance(self, *rest):
            real(self, *rest)
            if self.step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

        patched.setattr(Loop, "_advance", advance)
        with pytest.raises(SystemExit):
            smalti.train(BEGUN[1], data="my photos", out=BEGUN[5], size=[16, 24], **asked)
        with pytest.raises(SystemExit):
            smalti.train(
                "my recipes/prior.yaml", data="my photos", out="prior", tokenizer="whole", log_every=1
            )
    return home


@pytest.fixture
def at_home(stopped, tmp_path, monkeypatch) -> Path:
    """A copy of it, in which a person works."""
    shutil.copytree(stopped, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def _plain(mapping: dict) -> dict:
    return json.loads(json.dumps(mapping))


def steps(run: Path | str) -> list[int]:
    return [line["step"] for line in log.read(Path(run) / "log.jsonl") if line["kind"] == "train"]


def settings(run: Path | str) -> dict:
    return yaml.safe_load((Path(run) / "settings.yaml").read_text())


def test_11_the_very_command_that_began_a_run_goes_on(at_home, smalti_command):
    assert steps("my runs/first") == [1, 2]
    before = settings("my runs/first")
    status, told, err = smalti_command(*BEGUN, "--resume")
    assert (status, told) == (0, "my runs/first\n"), err
    assert steps("my runs/first") == [1, 2, 3, 4]
    assert settings("my runs/first") == before
    made = [library.read_config(Path(run) / "model") for run in ("my runs/first", "whole")]
    assert made[0]["fingerprint"] == made[1]["fingerprint"]


@pytest.mark.parametrize(
    "words",
    [
        ("optimizer.lr=0.001",),
        ("optimizer={lr: 1e-3}",),
        ("batch=4", "crop.resize=none", "losses.perceptual.kind=none"),
        ("precision=auto",),
        ("condition_kind",),
    ],
    ids=" ".join,
)
def test_11_what_is_said_again_is_no_change(at_home, smalti_command, words):
    if words == ("condition_kind",):  # the classes of a condition were filled in when the run began
        command = ("train", "my recipes/prior.yaml", "--out", "prior", "condition={kind: label}")
        assert "classes" in settings("prior")["condition"]
        status, _, err = smalti_command(
            *command, "tokenizer=./whole", f"data.root={at_home / 'my photos'}", "--resume"
        )
        assert (status, steps("prior")) == (0, [1, 2, 3, 4]), err
        return
    status, _, err = smalti_command("train", BEGUN[1], "--out", BEGUN[5], "--resume", *words)
    assert (status, steps(BEGUN[5])) == (0, [1, 2, 3, 4]), err


def test_11_a_side_is_a_size(at_home, smalti_command):
    smalti_command("train", BEGUN[1], "--data", "my photos", "--out", "square", "size=16", "steps=1")
    for again in ("size=[16, 16]", "size=16"):
        status, _, err = smalti_command("train", BEGUN[1], "--out", "square", again, "steps=2", "--resume")
        assert status == 0, err
    assert steps("square") == [1, 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("optimizer.lr=2e-3",),
            ("optimizer.lr=0.001, with which", "got optimizer.lr=0.002", "leave optimizer.lr"),
        ),
        (("size=[24,16]",), ("size=16x24", "size=24x16", "leave size out")),
        (("crop={resize: none, flip: 0.0}",), ("crop.flip=0.5", "crop.flip=0.0", "leave crop.flip out")),
        (("steps=1",), ("steps of at least the 2 that are done", "steps=1", "leave steps out")),
        (("network.wdith=8",), ("network.wdith", "did you mean network.width?", "")),
    ],
    ids=lambda given: given[0],
)
def test_11_a_change_is_refused_in_one_line_and_nothing_is_touched(at_home, smalti_command, words, said):
    before = (Path(BEGUN[5]) / "settings.yaml").read_bytes()
    status, told, err = smalti_command("train", BEGUN[1], "--out", BEGUN[5], "--resume", *words)
    assert (status, told, len(err.splitlines())) == (2, "", 1)
    assert all(part in err for part in said), err
    assert (Path(BEGUN[5]) / "settings.yaml").read_bytes() == before
    assert steps(BEGUN[5]) == [1, 2]


def test_11_the_recipe_may_be_left_out_and_settings_follow(at_home, smalti_command):
    words = ("train", "steps=3", "log_every=2", "--resume", "--out", BEGUN[5])
    status, told, err = smalti_command(*words)
    assert (status, told) == (0, "my runs/first\n"), err
    assert (steps(BEGUN[5]), settings(BEGUN[5])["steps"], settings(BEGUN[5])["log_every"]) == (
        [1, 2, 3],
        3,
        2,
    )
    status, _, err = smalti_command("train", "--resume", "--out", BEGUN[5])
    assert (status, "all 3 steps are done; steps=MORE" in err) == (0, True), err
    assert steps(BEGUN[5]) == [1, 2, 3], "3 steps are what it is to have now"
    status, _, err = smalti_command("train", "--resume", "--out", "absent")
    assert (status, "absent without settings.yaml; leave out --resume" in err) == (2, True), err
    assert not list(Path(BEGUN[5]).glob(".*")), "written to another name, then renamed"
    for words in (("--resume",), ("--out", "new"), ("steps=3",)):
        status, _, err = smalti_command("train", *words)
        assert (status, len(err.splitlines())) == (2, 1)
        assert "expected RECIPE, or a run to go on with" in err


def test_11_another_recipe_is_refused(at_home, smalti_command):
    for recipe in ("tokenizer_300", "my recipes/prior.yaml"):
        status, _, err = smalti_command("train", recipe, "--out", BEGUN[5], "--resume")
        assert (status, len(err.splitlines())) == (2, 1)
        assert f"expected the recipe that the run was begun with, tiny one, got {recipe}; " in err
        line = err.partition("leave the recipe out: ")[2]
    assert shlex.split(line) == ["smalti", "train", "--resume", "--out", "my runs/first"]
    Path("copy.yaml").write_bytes(Path(BEGUN[1]).read_bytes())  # the same recipe by another name
    assert smalti_command("train", "copy.yaml", "--out", BEGUN[5], "--resume")[0] == 0


def test_11_a_recipe_that_was_edited_is_taken_at_its_word(at_home, smalti_command):
    recipe = Path(BEGUN[1])
    recipe.write_text(yaml.safe_dump({**_plain(TOKENIZER), "batch": 2}))
    status, _, err = smalti_command("train", BEGUN[1], "--out", BEGUN[5], "--resume")
    assert (status, "got batch=2" in err) == (2, True), err
    recipe.write_text(yaml.safe_dump({**_plain(TOKENIZER), "steps": 3}))
    assert smalti_command("train", BEGUN[1], "--out", BEGUN[5], "--resume")[0] == 0
    assert steps(BEGUN[5]) == [1, 2, 3]
    shorter = {key: value for key, value in _plain(TOKENIZER).items() if key != "log_every"}
    recipe.write_text(yaml.safe_dump({**shorter, "steps": 4}))
    assert smalti_command("train", BEGUN[1], "--out", BEGUN[5], "--resume")[0] == 0
    assert (steps(BEGUN[5]), settings(BEGUN[5])["log_every"]) == ([1, 2, 3, 4], 50)


def test_11_an_edited_recipe_has_text_where_text_is_wanted(at_home, smalti_command):
    """The tokenizer moved to a folder that is called as a number is."""
    Path("whole").rename("2021")
    recipe = Path("my recipes/prior.yaml")
    recipe.write_text(recipe.read_text() + "tokenizer: 2021\n")
    status, _, err = smalti_command("train", recipe, "--out", "prior", "--resume")
    assert (status, settings("prior")["tokenizer"], steps("prior")) == (0, "2021", [1, 2, 3, 4]), err


def test_11_a_run_that_did_not_note_its_recipe(at_home, smalti_command):
    (Path(BEGUN[5]) / "origin.json").unlink()
    status, _, err = smalti_command("train", "my recipes/prior.yaml", "--out", BEGUN[5], "--resume")
    assert (status, "begun with, one with kind=tokenizer, got my recipes/prior.yaml" in err) == (2, True), err
    assert smalti_command(*BEGUN, "--resume")[0] == 0
    assert steps(BEGUN[5]) == [1, 2, 3, 4]


def test_11_the_line_that_a_stopped_run_prints_works_when_pasted(at_home, smalti_command, monkeypatch):
    with monkeypatch.context() as patched:
        real = Loop._advance
        stop = lambda loop, *rest: real(loop, *rest) or os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
        patched.setattr(Loop, "_advance", stop)
        status, _, err = smalti_command("train", BEGUN[1], "--data", "my photos", "--out", "it's a run")
    (line,) = (line for line in err.splitlines() if line.startswith("stopped after step 1; go on with: "))
    words = shlex.split(line.partition("go on with: ")[2])
    assert words == ["smalti", "train", "--resume", "--out", "it's a run"]
    status, told, err = smalti_command(*words[1:])
    assert (status, told, steps("it's a run")) == (0, "it's a run\n", [1, 2, 3, 4]), err


def test_11_data_that_moved_are_taken_and_others_refused(at_home, smalti_command):
    moved = Path("my photos").rename("elsewhere")
    words = ("train", "--resume", "--out", BEGUN[5])
    status, _, err = smalti_command(*words)
    assert (status, len(err.splitlines())) == (2, 1)
    (moved / "even" / "0.png").rename(moved / "even" / "zero.png")
    status, _, err = smalti_command(*words, "--data", moved)
    assert (status, len(err.splitlines())) == (2, 1), err
    assert "data to train on that the run began with" in err or "held-out data that the run" in err
    (moved / "even" / "zero.png").rename(moved / "even" / "0.png")
    assert smalti_command(*words, f"data.root={moved}")[0] == 0
    assert (settings(BEGUN[5])["data"]["root"], steps(BEGUN[5])) == ("elsewhere", [1, 2, 3, 4])


OF_TOKENIZERS = {
    "data": {"kind": "pairs", "root": "a", "maps": "b", "val": "c", "val_maps": "d"},
    "losses": {"perceptual": {"kind": "lpips", "vgg": "e", "heads": "f"}},
}
OF_PRIORS = {"tokenizer": "a", "condition_tokenizer": "b", "condition": {"kind": "none"}}
PLACES = ("data.root", "data.maps", "data.val", "data.val_maps")
PLACES += ("losses.perceptual.vgg", "losses.perceptual.heads")


@pytest.mark.parametrize(
    ("recipe", "places"),
    [
        ({**TOKENIZER, **OF_TOKENIZERS}, PLACES),
        (
            {**PRIOR, **OF_PRIORS, "data": {"kind": "folder", "root": "c"}},
            ("tokenizer", "condition_tokenizer"),
        ),
    ],
    ids=["tokenizer", "prior"],
)
def test_11_each_place_may_be_another(tmp_path, recipe, places):
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(_plain(recipe)))
    asked = {key: f"moved/{key}" for key in places}
    now, moved = resuming.settings(RunFolder(tmp_path), None, None, asked)
    assert moved == set(places)
    assert now.data.root == Path("moved/data.root" if "data.root" in places else "c")


def test_11_data_that_changed_in_their_place_are_said(at_home, smalti_command):
    for number in range(4):
        shutil.copy("my photos/even/0.png", f"my photos/even/more-{number}.png")
    status, _, err = smalti_command("train", "--resume", "--out", BEGUN[5])
    assert (status, "the data to train on changed: " in err) == (0, True), err


@pytest.mark.parametrize("way", ["moved", "gone", "overwritten"])
def test_11_a_prior_goes_on_with_its_tokenizer_wherever_that_is(at_home, smalti_command, way):
    words, held = ("train", "--resume", "--out", "prior"), Path("prior/model/tokenizer")
    made = library.read_config(held)["fingerprint"]
    if way == "moved":
        words = (*words, f"tokenizer={Path('whole').rename('kept')}")
    elif way == "gone":
        shutil.rmtree("whole")
    else:  # another one by the same name
        shutil.rmtree("whole")
        Path("another tokenizer").rename("whole")
    status, _, err = smalti_command(*words)
    assert (status, steps("prior")) == (0, [1, 2, 3, 4]), err
    assert library.read_config(held)["fingerprint"] == made
    assert settings("prior")["tokenizer"] == ("kept" if way == "moved" else "whole")
    said = {"gone": "tokenizer: whole is gone; the copy in", "overwritten": "whole holds another one by now"}
    assert way == "moved" or said[way] in err


def test_11_another_tokenizer_is_refused(at_home, smalti_command):
    made = library.read_config(Path("whole/model"))["fingerprint"]
    for noted in (True, False):
        if not noted:  # a run of before goes by the copy
            Path("prior/origin.json").unlink()
        status, _, err = smalti_command("train", "--resume", "--out", "prior", "tokenizer=another tokenizer")
        assert (status, len(err.splitlines())) == (2, 1)
        assert f"expected the tokenizer that the run began with, {made}, got " in err
        assert settings("prior")["tokenizer"] == "whole"
    assert smalti_command("train", "--resume", "--out", "prior")[0] == 0  # and notes it from now on
    assert json.loads(Path("prior/origin.json").read_text())["tokenizers"] == {"tokenizer": made}


def test_21_a_kill_between_two_renames_takes_no_model(at_home, smalti_command):
    """`model/` was moved away and the new one not yet put there: it is used, and put there on --resume."""
    run, gone = Path("prior"), 2**22 + 1  # above every number of a process
    made = library.read_config(run / "model")["fingerprint"]
    shutil.copytree(run / "model", run / f".model.new-{gone}")
    (run / "model").rename(run / f".model.old-{gone}")
    (run / f".model.old-{gone}" / "model.safetensors").write_bytes(b"")  # the new one is whole too, and newer
    assert smalti_command("sample", run, "drawn", "--label", "odd")[0] == 0
    assert smalti_command("info", run)[0] == 0
    assert library.fingerprint(smalti.load(run)) == made
    shutil.rmtree("whole")  # the copy of the tokenizer is in there too
    status, _, err = smalti_command("train", "--resume", "--out", run)
    assert status == 0, err
    assert library.read_config(run / "model")["provenance"]["steps"] == 4
    assert not list(run.glob(".*"))


def test_21_a_run_without_a_model_takes_it_from_its_checkpoint(at_home, smalti_command):
    run = Path("whole")
    made = library.read_config(run / "model")["fingerprint"]
    shutil.rmtree(run / "model")
    (run / ".model.new-4194305").mkdir()  # its first save was killed half way
    with pytest.raises(smalti.UserError) as caught:
        smalti.load(run)
    words = shlex.split(caught.value.remedy.partition(": ")[2])
    assert words == ["smalti", "train", "--resume", "--out", "whole"]
    assert smalti_command(*words[1:])[0] == 0
    assert library.read_config(run / "model")["fingerprint"] == made
    assert not list(run.glob(".*"))
    shutil.rmtree(run / "model")  # and where the kill came before the model of the newest checkpoint
    shutil.copytree(Path(BEGUN[5]) / "model", run / "model")
    assert smalti_command(*words[1:])[0] == 0
    assert library.read_config(run / "model")["fingerprint"] == made


def test_21_leftovers_of_the_dead_go_and_those_of_the_living_stay(at_home, smalti_command):
    run, dead, living = Path(BEGUN[5]), 4194305, os.getppid()
    own = os.getpid()  # in a container a process has the number of the one before
    (run / "samples").mkdir(exist_ok=True)
    names = [
        ".model.new-{}",
        ".model.old-{}",
        "checkpoints/.step-00000009.{}",
        "samples/.step-00000002.png.{}",
    ]
    for number in (dead, own, living):
        for name in (*names, ".settings.yaml.{}", ".log.jsonl.{}"):
            path = run / name.format(number)
            path.mkdir() if "model" in name or "checkpoints" in name else path.write_bytes(b"half")
    (run / ".notes.2024").write_text("a person's")
    assert smalti_command("train", "--resume", "--out", run)[0] == 0
    left = {str(path.relative_to(run)) for path in run.rglob(".*")}
    expected = {name.format(living) for name in (*names, ".settings.yaml.{}", ".log.jsonl.{}")}
    assert left == {*expected, ".notes.2024"}


def test_21_saving_a_model_again_clears_what_a_kill_left(at_home):
    model = smalti.load("whole")
    smalti.save(model, "models/one [a]")
    for name in (".one [a].new-4194305", ".one [a].old-4194305", ".one a.new-4194305"):
        (Path("models") / name).mkdir()
    smalti.save(model, "models/one [a]")
    assert sorted(path.name for path in Path("models").iterdir()) == [".one a.new-4194305", "one [a]"]
    living = Path(f"models/.one [a].old-{os.getppid()}")  # another one, between its two renames
    Path("models/one [a]").rename(living)
    library.recover(Path("models/one [a]"))
    assert living.is_dir()
    living.rename("models/.one [a].old-4194305")
    assert library.fingerprint(smalti.load("models/one [a]")) == library.fingerprint(model)
    smalti.save(model, "models/one [a]")
    assert sorted(path.name for path in Path("models").iterdir()) == [".one a.new-4194305", "one [a]"]


def test_21_a_folder_with_half_a_image_alone_is_empty(at_home, smalti_command):
    Path("drawn").mkdir()
    for name in (".00000.png.4194305", ".00000.tif.4194305", ".00000-an image.png.4194305"):
        Path("drawn", name).write_bytes(b"half")
    person = Path("drawn/.holiday.png.4194305")
    person.write_bytes(b"a person's")
    assert (smalti_command("sample", "prior", "drawn", "--label", "odd")[0], person.is_file()) == (2, True)
    person.unlink()
    assert smalti_command("sample", "prior", "drawn", "--label", "odd")[0] == 0
    assert [path.name for path in Path("drawn").iterdir()] == ["00000.png"]
