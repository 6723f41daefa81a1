"""Every condition becomes a prefix as promised, and refuses what it does not know."""

import pytest
import torch

from smalti import config
from smalti.conditions import CONDITIONS, ConditionSettings
from smalti.conditions.label import LabelCondition, LabelSettings
from smalti.conditions.none import NoCondition, NoConditionSettings
from smalti.errors import UserError

EXAMPLES = {  # kind -> settings, a value that it takes
    "none": ({"token": 5}, None),
    "label": ({"classes": 4, "names": ("brick", "grass", "gravel", "wood"), "dropout": 0.5}, "grass"),
}
PLACE = {"grid": (2, 3), "device": torch.device("cpu")}


@config.settings
class Recipe:
    condition: ConditionSettings


@pytest.fixture(params=CONDITIONS)
def case(request):
    values, value = EXAMPLES[request.param]
    read = config.parse({"condition": {"kind": request.param, **values}}, Recipe).condition
    settings, member = CONDITIONS[request.param]
    assert read == settings(**values)
    return member(read), value


def label(**changes):
    return LabelCondition(
        LabelSettings(**{"classes": 4, "names": ("brick", "grass", "gravel", "wood")} | changes)
    )


def numbers(condition, value, num=3):
    return condition.encode(value, num=num, **PLACE).window(0, 0, 2, 3)[:, 0].tolist()


def test_a_prefix_for_every_canvas_and_window(case):
    condition, value = case
    prompt = condition.encode(value, num=3, **PLACE)
    prefix = prompt.window(0, 0, 2, 3)
    assert prefix.shape == (3, condition.length)
    assert prefix.dtype is torch.int64
    assert prefix.min() >= 0
    assert prefix.max() < condition.vocabulary
    assert prompt.window(1, 1, 1, 2).equal(prefix)


def test_dropping_gives_the_null_prefix(case):
    condition, value = case
    prefix = condition.encode(value, num=1000, **PLACE).window(0, 0, 2, 3)
    dropped = condition.drop(prefix, torch.Generator().manual_seed(0))
    assert dropped.shape == prefix.shape
    if condition.argument is None:
        assert dropped.equal(prefix)
        return
    null = condition.null(num=1000, **PLACE).window(0, 0, 2, 3)
    gone = (dropped != prefix)[:, 0]
    assert abs(gone.float().mean() - 0.5) < 0.05
    assert dropped[gone].equal(null[gone])
    assert null.max() < condition.vocabulary


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
    assert label().drop(prefix, torch.Generator()).equal(prefix)


@pytest.mark.parametrize("names", [("brick",), ("brick", "grass", "wood", "wood")])
def test_names_must_fit_the_classes(names):
    with pytest.raises(UserError, match=r"condition\.names"):
        label(names=names)
