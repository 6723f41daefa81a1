"""What a new user types wrong: wrong keys, forms and repetitions, each answered by what was meant."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_before_the_first_step import TINY, WITHOUT_DISCRIMINATOR
from tiny import once

import smalti
from smalti import config
from smalti.training.settings import TrainingSettings

RANGE = "data.range='[0, 4095]' or data.range='{percentiles: [0.5, 99.5]}'"
KEYS = {  # typed -> what is refused, what is meant
    "losses.adversarial.discriminator.layers=3": (
        "losses.adversarial has, got losses.adversarial.discriminator",
        "did you mean losses.adversarial.patchgan.layers?",
    ),
    "losses.adversarial.layers=3": ("", "did you mean losses.adversarial.patchgan.layers?"),
    "losses.disc_start=10": ("losses has, got losses.disc_start", "did you mean losses.adversarial.start?"),
    "losses.adversarial.objectiv=hinge": ("", "did you mean losses.adversarial.objective?"),
    "network.attention_at=[]": ("got network.attention_at", "did you mean network.attention_levels?"),
    "network.attn_resolutions=[16]": ("", "did you mean network.attention_levels='[2]' (levels from 0;"),
    "network.ch_mult=[1,2]": ("", "did you mean network.multipliers='[1, 2, 4]' (one a level)?"),
    "model.params.ddconfig.num_res_blocks=2": ("recipe has, got model", "did you mean network.blocks?"),
    "model.params.n_embed=64": ("recipe has, got model", "did you mean quantizer.codebook_size?"),
    "model.base_learning_rate=1e-4": ("", "did you mean optimizer.lr?"),
    "n_embed=64": ("got n_embed", "did you mean quantizer.codebook_size?"),
    "embed_dim=64": ("", "did you mean network.code_dim?"),
    "codebook_size=64": ("", "did you mean quantizer.codebook_size?"),
    "quantizer.beta=0.5": ("", "did you mean quantizer.commitment?"),
    "quantizer.decay=0.9": ("got quantizer.decay", "; quantizer.kind=ema has it"),
    "lr=1e-4": ("", "did you mean optimizer.lr or discriminator_optimizer.lr?"),
    "resolution=64": (
        "got resolution",
        "did you mean size=256 or size=192x256, or several: size=64x64,48x80?",
    ),
    "data.params.batch_size=8": ("data has, got data.params", "did you mean batch?"),
    "epochs=10": ("", "did you mean steps=20000 (of one batch each)?"),
    "crop.size=10": ("got crop.size", "did you mean size?"),
    "losess.adversarial.weight=1": ("recipe has, got losess", "did you mean losses.adversarial.weight?"),
    "prior.layers=3": ("recipe has, got prior", "; a recipe of kind=prior has it"),
    "white=4095": ("got white", f"did you mean {RANGE}?"),
    "data.white=4095": ("got data.white", f"did you mean {RANGE}?"),
    "resume_from=x": ("", "did you mean --resume?"),
    "nothing_like_it=1": ("", "; one of accumulate, batch,"),
}
PRIORS = {
    "n_layer=2": "did you mean prior.layers?",
    "prior.n_embd=64": "did you mean prior.width?",
    "prior.dropout=0.1": "did you mean prior.residual_dropout?",
    "n_embed=64": "; a recipe of kind=tokenizer has quantizer.codebook_size",
    "vqgan=x": "did you mean tokenizer?",
    "losses.l1=1": "; a recipe of kind=tokenizer has it",
}
VALUES = {  # typed -> what came, what to write
    "data.range=percentiles": ("a valid data.range, got 'percentiles'", f"; write {RANGE}"),
    "data.range=4095": ("got 4095", f"; write {RANGE}"),
    "data.range=[1]": ("data.range, got list [1]", f"; write {RANGE}"),
    "data.range={percentiles: 99}": ("got dict {'percentiles': 99}", f"; write {RANGE}"),
    "data.range=[9,1]": ("got [9.0, 1.0]", "; data.range='[0, 4095]'"),
    "data.bands=rgb": ("a valid data.bands, got 'rgb'", "; write data.bands='[0, 1, 2]' or data.bands=gray"),
    "size=[16]": ("a valid size, got list [16]", "; write size=256 or size=192x256"),
    "quantizer=ema": ("settings below quantizer, got 'ema'", "; write quantizer.kind=ema"),
    "optimizer=adam": (
        "settings below optimizer, got 'adam'",
        "; write optimizer.lr=VALUE, or others",
    ),
    "losses.adversarial.objective=wgan": ("a valid losses.adversarial.objective, got 'wgan'", "'hinge'"),
    "kind=vqgan": ("expected kind as one of tokenizer, prior, got vqgan", "choose one of them"),
    "ema=true": ("expected a number for ema, got true", "; write ema=NUMBER"),
    "crop.flip=yes": ("expected a number for crop.flip, got true", "; write crop.flip=NUMBER"),
    "ema=1": ("a valid ema, got 1", "less than 1"),
}


def told(recipe: str, word: str) -> str:
    """The line for a recipe with a word of the command."""
    changes = {"data.root": "x", **config.overrides([word], TrainingSettings)}
    mapping = config.read(recipe, changes, TrainingSettings)
    with pytest.raises(smalti.UserError) as mistake:
        config.parse(mapping, TrainingSettings)
    return str(mistake.value)


@pytest.mark.parametrize("word", KEYS)
def test_a_wrong_key_is_told_the_right_one(word):
    refused, meant = KEYS[word]
    line = told("tokenizer_300", word)
    assert refused in line, line
    assert meant in line, line
    assert f"did you mean {word.partition('=')[0]}?" not in line


@pytest.mark.parametrize("word", PRIORS)
def test_a_wrong_key_of_a_prior_is_told_the_right_one(word):
    assert PRIORS[word] in told("prior_neighbourhood" if "dropout" not in word else "prior_300", word)


@pytest.mark.parametrize("word", VALUES)
def test_a_value_of_another_form_is_told_the_form(word):
    came, form = VALUES[word]
    line = told("tokenizer_300", word)
    assert came in line, line
    assert form in line, line


TYPED = ("data.range=[0, 4095]", "data.range={percentiles: [0.5, 99.5]}", "data.bands=[0, 1, 2]")
TYPED += ("size=192x256", "losses.adversarial.patchgan.layers=3", "network.attention_levels=[2]")


def test_the_forms_and_keys_that_are_told_can_be_typed():
    plain = {"data.root": "x", "size": 128}
    unchanged = config.parse(config.read("tokenizer_300", plain, TrainingSettings), TrainingSettings)
    for word in TYPED:
        changes = {**plain, **config.overrides([word], TrainingSettings)}
        typed = config.parse(config.read("tokenizer_300", changes, TrainingSettings), TrainingSettings)
        assert typed != unchanged, f"{word} says something"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("size=32", "steps=2", "size=16"), "the key size is given twice; leave one size= out"),
        (("losses.l1=1", "losses.l1=1"), "the key losses.l1 is given twice"),
        (("losses.l1=2", "losses={l2: 1}"), "losses= after losses.l1=, which it undoes; give losses= before"),
        (
            ("data.root=y",),
            "the key data.root is given twice, as data.root= and --data; leave",
        ),
        (("init_from=a", "--init-from", "b"), "the key init_from is given twice, as init_from= and --init"),
        (("--out", "a", "--out=b"), "the option --out is given twice; leave one --out out"),
        (("--num-workers", "4"), "write workers=4"),
    ],
)
def test_what_is_given_twice_is_refused(home, smalti_command, words, said):
    status, out, complaint = smalti_command("train", "tokenizer_300", "--data", "x", *words)
    assert (status, out, len(complaint.splitlines())) == (2, "", 1)
    assert said in complaint, complaint


@pytest.mark.parametrize(
    "words",
    [
        ("sample", "m", "o", "--seed", 1, "--num", 2, "--seed=2"),
        ("encode", "m", "d", "o", "--scale", 1, 2, "--scale", 1, 3),
        ("import", "m", "o", "--shift", "--no-shift"),
    ],
    ids=str,
)
def test_options_of_every_command_are_given_once(home, smalti_command, words):
    status, _, complaint = smalti_command(*words)
    option = next(word for word in words if str(word).startswith("--"))
    assert (status, f"the option {option} is given twice" in complaint) == (2, True), complaint


def test_the_whole_before_a_part_is_no_repetition():
    words = ["losses={l1: 2.0, l2: 1.0}", "losses.l1=3.0"]
    mapping = {"losses": {}}
    config.lay(config.overrides(words, TrainingSettings), mapping)
    assert mapping["losses"] == {"l1": 3.0, "l2": 1.0}


@pytest.mark.parametrize(("white", "suggested"), [(1, "[0.0, 1.0]"), (10000, "[0.0, 9990.0]")])
def test_float_images_without_a_white_end_before_the_first_step(home, smalti_command, white, suggested):
    """In one line, with no run folder and no process that opens images; what it says trains."""
    Path("floats").mkdir()
    ramp = np.linspace(0, 0.999, 16 * 24, dtype=np.float32).reshape(16, 24)
    for number in range(4):
        Image.fromarray(ramp * np.float32(white)).save(f"floats/{number}.tif")
    words = (*TINY, *WITHOUT_DISCRIMINATOR, "size=[16,24]", "steps=1", "quantize_start=0", "--data", "floats")
    words = once(*words, "--out", "run")
    status, _, said = smalti_command(*words, "workers=2")
    expected = "smalti: expected images whose black and white are known, got floating point numbers, which "
    last = said.splitlines()[-1]
    assert (status, last) == (2, f"{expected}have none, in all 3 looked at; data.range='{suggested}'")
    assert ("skipped" in said, Path("run").exists()) == (False, False)
    status, _, said = smalti_command(*words, last.rpartition("; ")[2].replace("'", ""))
    assert (status, "skipped" in said) == (0, False), said


def test_float_images_among_others_are_left_out_and_counted(home, smalti_command, monkeypatch):
    """Of many that are skipped the first twenty are named."""
    Path("some").mkdir()
    for number in range(24):
        Image.fromarray(np.full((16, 24), number, np.float32)).save(f"some/{number}.tif")
        Image.fromarray(np.full((16, 24, 3), number, np.uint8)).save(f"some/{number}.png")
    words = (*TINY, *WITHOUT_DISCRIMINATOR, "size=[16,24]", "steps=1", "batch=48", "quantize_start=0")
    words = once(*words, "data.val_share=0", "--data", "some", "--out", "run")
    status, _, said = smalti_command(*words)
    assert status == 0, said
    assert "no known white, so the 24 files with them are left out; data.range='[0.0, 23.0]'" in said
    lines = [line for line in said.splitlines() if "skipped: " in line]
    assert len(lines) == 21
    assert "skipped: more than these 20, which are not named" in lines[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sample", "m", "o", "num=4"), "got unexpected extra argument (num=4); write --num 4"),
        (("sample", "m", "o", "top_k=4"), "; write --top-k 4"),
        (("train", "tokenizer_300", "."), "as key=value, got .; write --data ."),
        (
            ("train", "theirs.yaml"),
            "kind as one of tokenizer, prior, got model alone; see smalti recipes",
        ),
        (("import", "run", "new"), "got a run folder of ours, run; use it as it is"),
    ],
)
def test_other_slips_are_told_what_to_write(home, smalti_command, words, said):
    Path("theirs.yaml").write_text("model: {params: {n_embed: 64}}\n")
    Path("run/model").mkdir(parents=True)
    Path("run/settings.yaml").touch()
    status, _, complaint = smalti_command(*words)
    assert (status, len(complaint.splitlines()), said in complaint) == (2, 1, True), complaint
