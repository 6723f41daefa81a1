"""Every condition becomes a prefix as promised, and refuses what it does not know."""

import json
from types import SimpleNamespace

import pytest
import torch
from tiny import NETWORK

from smalti import config, library
from smalti.cli.sample import sample
from smalti.conditions import CONDITIONS, ConditionSettings
from smalti.conditions.box_tokens import Object, Scene
from smalti.conditions.context import Padded
from smalti.conditions.coordinates import Part
from smalti.conditions.label import LabelCondition, LabelSettings
from smalti.conditions.none import NoCondition, NoConditionSettings
from smalti.conditions.pose import NOWHERE, Joint, Pose
from smalti.conditions.protocol import Known
from smalti.data.protocol import Batch
from smalti.errors import UserError
from smalti.imaging import to_pil, to_uint8
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

CLASSES = {"classes": 4, "names": ("brick", "grass", "gravel", "wood"), "dropout": 0.5}
SCENES = {**CLASSES, "no_tokens": 100, "max_objects": 3}
EXAMPLES = {  # kind, the last word -> settings, a value that it takes
    "none": ({"token": 5}, None),
    "label": (CLASSES, "grass"),
    "map": ({"dropout": 0.5, "shared": True}, torch.linspace(-1, 1, 4 * 6 * 3).view(3, 4, 6)),
    "reduced map": (
        {"dropout": 0.5, "shared": True, "size": 4},
        torch.linspace(-1, 1, 4 * 6 * 3).view(3, 4, 6),
    ),
    "own map": ({"dropout": 0.5}, torch.linspace(-1, 1, 4 * 6 * 3).view(3, 4, 6)),
    "coordinates": ({"tokens": 40}, None),
    "boxes": (SCENES, [("grass", 0.0, 0.5, 1.0, 1.0), (3, 0.2, 0.2, 0.4, 0.9)]),
    "points": (SCENES, [("grass", 0.5, 0.75), (3, 0.3, 0.5)]),
    "text": ({"vocabulary": 270, "max_tokens": 14, "dropout": 0.5}, "a wall of bricks"),
    "keypoints": (
        {"joints": ("nose", "left_hand"), "places": 8, "dropout": 0.5},
        {"nose": [0.5, 0.25], "left_hand": [0.7, 0.6, 1]},
    ),
}
MAP = torch.linspace(-1, 1, 4 * 6 * 3).view(3, 4, 6)
JOINT = {"label": {"kind": "label", **CLASSES}, "map": {"kind": "map", "dropout": 0.5, "shared": True}}
EXAMPLES["joint"] = {"of": JOINT}, {"label": "grass", "map": MAP}
EXAMPLES["own joint"] = (
    {"of": {"coordinates": {"kind": "coordinates", "tokens": 40}, "map": {"kind": "map", "dropout": 0.5}}},
    {"map": MAP},
)
THINGS = [[("grass", 0.0, 0.0, 1.0, 1.0)], [("wood", 0.0, 0.0, 1.0, 1.0)], []]
TEXTS = ["grass", "a wall of wood", "gravel on a wall"]
FIGURES = [{"nose": (0.4, 0.4), "left_hand": (0.7, 0.6, 1)}, {"nose": (0.6, 0.6), "left_hand": None}]
FIGURES += [{"nose": None, "left_hand": None}]
EACH = {  # what it is told by -> three values that differ in every window
    None: None,
    "label": ["wood", 0, "grass"],
    "map": -torch.eye(3)[:, :, None, None].expand(3, 3, 4, 6),  # one color less in each
    "coordinates": torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0)),
    "boxes": THINGS,
    "points": THINGS,
    "text": TEXTS,
    "keypoints": FIGURES,
}
EACH["joint"] = {name: EACH[name] for name in ("label", "map", "coordinates")}
SCENE = tuple(
    Scene(tuple(Object(("grass", "wood").index(one) * 2 + 1, *box) for one, *box in things))
    for things in THINGS
)
POSES = (  # with joints of their own
    Pose(("chin", "left_hand", "nose"), ((NOWHERE, Joint(0.7, 0.6, 1), Joint(0.4, 0.4)),)),
    Pose(("left_hand", "nose"), ((NOWHERE, Joint(0.6, 0.6)),)),
    Pose(("nose",), ()),
)
BATCHES = {  # what it is told by -> the same three values as data have them; coordinates of whole images
    None: {},
    "label": {"labels": torch.tensor([3, 0, 1])},
    "map": {"maps": EACH["map"]},
    "coordinates": {"parts": (Part(0, 0, 4, 6),) * 3},
    "boxes": {"scenes": SCENE},
    "points": {"scenes": SCENE},
    "text": {"texts": tuple(TEXTS)},
    "keypoints": {"poses": POSES},
}
BATCHES["joint"] = {**BATCHES["label"], **BATCHES["map"], **BATCHES["coordinates"], **BATCHES["text"]}
EMPTY = -1  # in place of a token where nothing is said
WINDOWS = [(0, 0, 2, 3), (0, 1, 2, 2), (1, 0, 1, 3), (1, 1, 1, 2)]
PLACE = {"grid": (2, 3), "device": torch.device("cpu")}


@config.settings
class Recipe:
    condition: ConditionSettings


def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    network = NetworkSettings(**NETWORK, multipliers=(1, 2))
    return Tokenizer(TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=8)))


def example(name):
    """A condition by a name in EXAMPLES, and a value of it."""
    values, value = EXAMPLES[name]
    kind = name.split()[-1]
    read = config.parse({"condition": {"kind": kind, **values}}, Recipe).condition
    settings, member = CONDITIONS[kind]
    assert kind == "joint" or read == settings(**values)
    condition = member(read, tokenizer(), tokenizer() if "own" in name else None)
    condition.learn(SimpleNamespace(captions=lambda: iter([*TEXTS, "a wall of bricks"])))
    return condition, value


@pytest.fixture(params=[*CONDITIONS, "reduced map", "own map", "own joint"])
def case(request):
    return example(request.param)


def key(condition):
    """Under which its examples stand."""
    return "joint" if len(condition.named) > 1 else condition.argument


def by_name(condition, value, of):
    """The same done to a value, or of several conditions to each."""
    if len(condition.named) < 2:
        return of(value)
    return {name: of(one) for name, one in value.items() if name in condition.named}


def each_of(condition):
    """Three values that differ in every window."""
    found = EACH[key(condition)]
    return {name: found[name] for name in condition.named} if key(condition) == "joint" else found


def label(**changes):
    return LabelCondition(
        LabelSettings(**{"classes": 4, "names": ("brick", "grass", "gravel", "wood")} | changes)
    )


def seen(prompt, *window):
    """Its prefix for a window, -1 where a place is empty."""
    found = prompt.window(*window)
    return found.values.masked_fill(~found.mask, EMPTY) if isinstance(found, Padded) else found


def numbers(condition, value, num=3):
    return condition.context(value, num=num, **PLACE).window(0, 0, 2, 3)[:, 0].tolist()


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_prefix_for_every_canvas_and_window(case, window):
    condition, value = case
    prompt = condition.context(value, num=3, **PLACE)
    prefix = seen(prompt, *window)
    assert prefix.shape == (3, condition.length(window[2:]))
    assert prefix.dtype is torch.int64
    assert prefix.min() >= (EMPTY if condition.is_padded else 0)
    assert prefix.max() < condition.vocabulary
    assert seen(prompt, *window).equal(prefix)
    assert condition.shift in (0, 1)


def test_one_value_for_each_canvas(case):
    condition, value = case
    if not condition.named:
        assert condition.context(None, num=2, **PLACE).window(0, 1, 2, 2).tolist() == [[5], [5]]
        with pytest.raises(UserError, match=r"no condition: .* got \[None, None\]"):
            condition.context([None, None], num=2, **PLACE)
        return
    one = EACH["coordinates"][0] if condition.argument == "coordinates" else value
    two = by_name(condition, one, lambda one: [one, one])
    two = torch.stack(two) if condition.argument == "coordinates" else two
    together = condition.context(two, num=2, **PLACE)
    assert seen(together, 0, 1, 2, 2).equal(seen(condition.context(one, num=2, **PLACE), 0, 1, 2, 2))
    with pytest.raises(UserError, match=r"one .*, or 3 of them, got 2|\(3 H W\) .* got a tensor \(2,"):
        condition.context(two, num=3, **PLACE)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_the_prompt_of_some_canvases(case, window):
    """Of one value for all, of one for each, and of nothing said."""
    condition, value = case
    rows = torch.tensor([2, 0, 0, 1])
    one, each = (condition.context(told, num=3, **PLACE) for told in (value, each_of(condition)))
    null = (
        [condition.null(num=3, **PLACE)]
        if condition.named and set(condition.loose) == set(condition.named)
        else []
    )
    for prompt in (one, each, *null):
        assert seen(prompt.take(rows), *window).equal(seen(prompt, *window)[rows])
    assert len(seen(each, *window).unique(dim=0)) == (3 if condition.named else 1)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_data_say_what_a_user_says(case, window):
    condition, _ = case
    each = None if condition.argument == "coordinates" else each_of(condition)
    if "coordinates" in condition.named and each is not None:
        each = {**each, "coordinates": None}
    batch = Batch(images=torch.zeros(3, 3, 4, 6), **BATCHES[key(condition)])
    known, user = condition.from_batch(batch), condition.context(each, num=3, **PLACE)
    assert seen(condition.context(Known(known), num=3, **PLACE), *window).equal(seen(user, *window))
    cut = condition.encode(known if known is None else known[:2], num=2, **PLACE)
    assert seen(cut, *window).equal(seen(user, *window)[:2])


@pytest.mark.parametrize("gives", [{"image"}, {"codes"}, {"map"}])
def test_data_without_anything_for_it_are_refused(case, gives):
    """Coordinates follow from any image."""
    condition, _ = case
    data = SimpleNamespace(kind="odd", root="somewhere", max_objects=3)
    reader = SimpleNamespace(gives=frozenset(gives), classes=())
    if not condition.named or (condition.argument == "coordinates" and "image" in gives):
        condition.needs(condition.settings, data, reader)
        return
    with pytest.raises(
        UserError, match=f"condition.kind=({'|'.join(condition.named)}), got .*(odd|none in somewhere)"
    ):
        condition.needs(condition.settings, data, reader)


def test_it_is_saved_and_loaded(case, tmp_path):
    """With what it has of its own, which lies in a folder of its own."""
    condition, value = case
    own = torch.nn.ModuleDict(condition.parts) if condition.parts else condition.own
    own = None if condition.own is condition and not condition.parts else own
    settings = PipelineSettings(
        prior=GPTSettings(layers=1, heads=2, width=16), condition=condition.settings, grid=(2, 3)
    )
    model = Pipeline(settings, tokenizer(), own)
    model.condition.take(condition.files())
    library.save(model, tmp_path / "model")
    assert (tmp_path / "model" / "condition").is_dir() == (condition.own is not None)
    loaded, codes = library.load(tmp_path / "model"), torch.arange(12).view(2, 2, 3) % 8
    told = {} if value is None else condition.given(value)
    assert loaded.logits(codes, **told).equal(model.logits(codes, **told))
    assert library.fingerprint(loaded) == loaded.fingerprint == library.fingerprint(model)
    kinds = " and ".join(condition.named) or "none"
    assert f"condition: {kinds}" in library.outline(tmp_path / "model").words


def test_what_the_command_is_given_is_what_a_user_gives(case, tmp_path):
    condition, value = case
    names = {param.name for param in sample.params}
    kind = condition.settings.kind
    if kind not in CONDITIONS.offers:
        assert condition.argument not in names
        return
    assert condition.argument == kind
    given = value
    if condition.argument == "map":
        given = str(tmp_path / "map.png")
        to_pil(to_uint8(value)[None])[0].save(given)
        value = condition.open(given)
    elif CONDITIONS.offers[kind].is_file:
        given = str(tmp_path / "things.json")
        (tmp_path / "things.json").write_text(json.dumps(value))
    parsed = sample.make_context("sample", ["model", "out", f"--{condition.argument}", given]).params
    (word,) = parsed[condition.argument]
    found = condition.from_option(word, lambda found, how: None)
    same = [seen(condition.context(one, num=2, **PLACE), 0, 0, 2, 3) for one in (found, value)]
    assert same[0].equal(same[1])
    if condition.argument == "map":
        assert condition.from_option(given, lambda found, how: found + 1).equal(value + 1)


def test_descriptions_fit_into_a_file(case):
    condition, value = case
    told = condition.describe(value, num=3)
    assert len(told) == 3
    assert len(str(told)) < 400


def test_dropping_gives_the_null_prefix(case):
    condition, value = case
    context = condition.context(value, num=1000, **PLACE)
    prefix = seen(context, 0, 0, 2, 3)
    dropped = seen(condition.drop(context, 1000, torch.Generator().manual_seed(0)), 0, 0, 2, 3)
    assert dropped.shape == prefix.shape
    if len(condition.named) > 1:  # see test_joint
        return
    if condition.argument in (None, "coordinates"):
        assert dropped.equal(prefix)
        with pytest.raises(UserError, match="guidance"):
            condition.null(num=2, **PLACE)
        return
    null = seen(condition.null(num=1000, **PLACE), 0, 0, 2, 3)
    gone = (dropped == null).all(1)
    assert abs(gone.float().mean() - 0.5) < 0.05
    assert not (prefix == null).all(1).any()
    assert null.max() < condition.vocabulary
    kept = dropped[~gone]
    if condition.argument in ("boxes", "points"):  # which are shuffled too
        kept, prefix = kept.sort(1).values, prefix.sort(1).values
    assert kept.equal(prefix[~gone])


def test_nothing_is_no_value(case):
    condition, _ = case
    if condition.argument in (None, "coordinates"):  # several: see test_joint
        return
    with pytest.raises(UserError, match=f"a? ?{condition.argument}, got none"):
        condition.context(None, num=1, **PLACE)


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
    context = label().context([0, 1], num=2, **PLACE)
    assert label().drop(context, 2, torch.Generator()).window(0, 0, 2, 3).tolist() == [[0], [1]]


@pytest.mark.parametrize("names", [("brick",), ("brick", "grass", "wood", "wood")])
def test_names_must_fit_the_classes(names):
    with pytest.raises(UserError, match=r"condition\.names"):
        label(names=names)
