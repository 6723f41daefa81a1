"""Every condition becomes a prefix as promised, and refuses what it does not know."""

import pytest
import torch
from tiny import NETWORK

from smalti import config
from smalti.conditions import CONDITIONS, ConditionSettings
from smalti.conditions.coordinates import Part
from smalti.conditions.label import LabelCondition, LabelSettings
from smalti.conditions.none import NoCondition, NoConditionSettings
from smalti.errors import UserError
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

CLASSES = {"classes": 4, "names": ("brick", "grass", "gravel", "wood"), "dropout": 0.5}
SCENES = {**CLASSES, "no_tokens": 100, "max_objects": 3}
EXAMPLES = {  # kind, the last word -> settings, a value that it takes
    "none": ({"token": 5}, None),
    "label": (CLASSES, "grass"),
    "map": ({"dropout": 0.5}, torch.linspace(-1, 1, 4 * 6 * 3).view(3, 4, 6)),
    "reduced map": ({"dropout": 0.5, "size": 4}, torch.linspace(-1, 1, 4 * 6 * 3).view(3, 4, 6)),
    "coordinates": ({"tokens": 40}, None),
    "boxes": (SCENES, [("grass", 0.0, 0.5, 1.0, 1.0), (3, 0.2, 0.2, 0.4, 0.9)]),
    "points": (SCENES, [("grass", 0.5, 0.75), (3, 0.3, 0.5)]),
}
THINGS = [[("grass", 0.0, 0.0, 1.0, 1.0)], [("wood", 0.0, 0.0, 1.0, 1.0)], []]
EACH = {  # what it is told by -> three values that differ in every window
    None: None,
    "label": ["wood", 0, "grass"],
    "map": -torch.eye(3)[:, :, None, None].expand(3, 3, 4, 6),  # one color less in each
    "coordinates": torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0)),
    "boxes": THINGS,
    "points": THINGS,
}
WINDOWS = [(0, 0, 2, 3), (0, 1, 2, 2), (1, 0, 1, 3), (1, 1, 1, 2)]
PLACE = {"grid": (2, 3), "device": torch.device("cpu")}


@config.settings
class Recipe:
    condition: ConditionSettings


def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    network = NetworkSettings(**NETWORK, multipliers=(1, 2))
    return Tokenizer(TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=8)))


@pytest.fixture(params=[*CONDITIONS, "reduced map"])
def case(request):
    values, value = EXAMPLES[request.param]
    kind = request.param.split()[-1]
    read = config.parse({"condition": {"kind": kind, **values}}, Recipe).condition
    settings, member = CONDITIONS[kind]
    assert read == settings(**values)
    return member(read, tokenizer()), value


def label(**changes):
    return LabelCondition(
        LabelSettings(**{"classes": 4, "names": ("brick", "grass", "gravel", "wood")} | changes)
    )


def numbers(condition, value, num=3):
    return condition.encode(value, num=num, **PLACE).window(0, 0, 2, 3)[:, 0].tolist()


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_prefix_for_every_canvas_and_window(case, window):
    condition, value = case
    prompt = condition.encode(value, num=3, **PLACE)
    prefix = prompt.window(*window)
    assert prefix.shape == (3, condition.length(window[2:]))
    assert prefix.dtype is torch.int64
    assert prefix.min() >= 0
    assert prefix.max() < condition.vocabulary
    assert prompt.window(*window).equal(prefix)
    assert condition.shift in (0, 1)


def test_one_value_for_each_canvas(case):
    condition, value = case
    if condition.argument is None:
        assert condition.encode(None, num=2, **PLACE).window(0, 1, 2, 2).tolist() == [[5], [5]]
        with pytest.raises(UserError, match=r"no condition: .* got \[None, None\]"):
            condition.encode([None, None], num=2, **PLACE)
        return
    value = Part(1, 2, 9, 8) if condition.argument == "coordinates" else value
    together = condition.encode([value, value], num=2, **PLACE)
    one = [value] if condition.argument == "coordinates" else value
    assert together.window(0, 1, 2, 2).equal(condition.encode(one, num=2, **PLACE).window(0, 1, 2, 2))
    with pytest.raises(UserError, match=r"one .*, or 3 of them, got 2"):
        condition.encode([value, value], num=3, **PLACE)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_the_prompt_of_some_canvases(case, window):
    """Of one value for all, of one for each, and of nothing said."""
    condition, value = case
    rows = torch.tensor([2, 0, 0, 1])
    one, each = (condition.encode(told, num=3, **PLACE) for told in (value, EACH[condition.argument]))
    null = [] if condition.argument in (None, "coordinates") else [condition.null(num=3, **PLACE)]
    for prompt in (one, each, *null):
        assert prompt.take(rows).window(*window).equal(prompt.window(*window)[rows])
    assert len(each.window(*window).unique(dim=0)) == (1 if condition.argument is None else 3)


def test_descriptions_fit_into_a_file(case):
    condition, value = case
    told = condition.describe(value, num=3)
    assert len(told) == 3
    assert len(str(told)) < 400


def test_dropping_gives_the_null_prefix(case):
    condition, value = case
    prefix = condition.encode(value, num=1000, **PLACE).window(0, 0, 2, 3)
    dropped = condition.vary(prefix, torch.Generator().manual_seed(0))
    assert dropped.shape == prefix.shape
    if condition.argument in (None, "coordinates"):
        assert dropped.equal(prefix)
        with pytest.raises(UserError, match="guidance"):
            condition.null(num=2, **PLACE)
        return
    null = condition.null(num=1000, **PLACE).window(0, 0, 2, 3)
    gone = (dropped == null).all(1)
    assert abs(gone.float().mean() - 0.5) < 0.05
    assert not (prefix == null).any()
    assert null.max() < condition.vocabulary
    kept = dropped[~gone]
    if condition.argument in ("boxes", "points"):  # which are shuffled too
        kept, prefix = kept.sort(1).values, prefix.sort(1).values
    assert kept.equal(prefix[~gone])


def test_nothing_is_no_value(case):
    condition, _ = case
    if condition.argument in (None, "coordinates"):
        return
    with pytest.raises(UserError, match=f"a? ?{condition.argument}, got none"):
        condition.encode(None, num=1, **PLACE)


def test_no_condition():
    condition = NoCondition(NoConditionSettings(token=5))
    assert (condition.argument, condition.vocabulary) == (None, 6)
    assert numbers(condition, None) == [5, 5, 5]
    with pytest.raises(UserError, match="trained without one, got 'brick'"):
        numbers(condition, "brick")
    with pytest.raises(UserError, match="guidance"):
        condition.null(num=1, **PLACE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, [2, 2, 2]),
        ("gravel", [2, 2, 2]),
        ("2", [2, 2, 2]),
        (["wood", 0, "brick"], [3, 0, 0]),
        (torch.tensor([3, 2, 1]), [3, 2, 1]),
        (torch.tensor(1), [1, 1, 1]),
    ],
)
def test_labels(value, expected):
    assert numbers(label(), value) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "expected a label, got none; give label= a number from 0 to 3, or a name: brick, grass"),
        ("gras", "got 'gras'; did you mean grass?"),
        ("zebra", "got 'zebra'; give a number from 0 to 3"),
        (4, "from 0 to 3, got 4"),
        (-1, "from 0 to 3, got -1"),
        (1.0, "got 1.0"),
        ([0, 1], "one label, or 3 of them, got 2"),
    ],
)
def test_wrong_labels(value, words):
    with pytest.raises(UserError) as caught:
        numbers(label(), value)
    assert words in str(caught.value)


def test_labels_without_names():
    condition = label(names=())
    assert numbers(condition, 3) == [3, 3, 3]
    with pytest.raises(UserError, match=r"give a number from 0 to 3$"):
        numbers(condition, "brick")


def test_the_null_label_needs_dropout():
    assert label().vocabulary == 4
    with pytest.raises(UserError, match=r"condition\.dropout"):
        label().null(num=2, **PLACE)
    condition = label(dropout=0.1)
    assert condition.vocabulary == 5
    assert condition.null(num=2, **PLACE).window(0, 0, 2, 3).tolist() == [[4], [4]]
    with pytest.raises(UserError):  # "no label" is no label
        numbers(condition, 4)
    prefix = torch.tensor([[0], [1]])
    assert label().vary(prefix, torch.Generator()).equal(prefix)


@pytest.mark.parametrize("names", [("brick",), ("brick", "grass", "wood", "wood")])
def test_names_must_fit_the_classes(names):
    with pytest.raises(UserError, match=r"condition\.names"):
        label(names=names)
