"""Whether conditions are obeyed: images whose truth is known, what is found of them, floor and ceiling."""

from dataclasses import replace
from math import isnan, log10
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from smalti.conditions.box_tokens import Object, Scene
from smalti.conditions.pose import HIDDEN, Joint, Pose
from smalti.conditions.skeleton import skeleton
from smalti.errors import UserError
from smalti.features import SPACES
from smalti.metrics.obeyed import JUDGES
from smalti.metrics.obeyed.boxes import Boxes, visible
from smalti.metrics.obeyed.choice import has_lines, judge_of
from smalti.metrics.obeyed.depth import Depth
from smalti.metrics.obeyed.edges import Edges
from smalti.metrics.obeyed.keypoints import Keypoints
from smalti.metrics.obeyed.label import Label
from smalti.metrics.obeyed.low_resolution import LowResolution
from smalti.metrics.obeyed.probes import Discriminant
from smalti.metrics.obeyed.protocol import Pairs, obeyed, others, rows, take
from smalti.metrics.obeyed.segmentation import Segmentation
from smalti.metrics.obeyed.text import Text

HEIGHT, WIDTH = 48, 64
COLOURS = torch.tensor([[-0.8, -0.8, -0.2], [0.7, -0.6, -0.6], [-0.5, 0.6, -0.5], [0.8, 0.7, -0.3]])


@pytest.fixture(scope="module")
def space():
    return SPACES["mobilenet_v2"].untrained(torch.Generator().manual_seed(0))


def labels(count, seed):
    """Class maps of three rectangles on class 0, n H W."""
    chance = torch.Generator().manual_seed(seed)
    maps = torch.zeros(count, HEIGHT, WIDTH, dtype=torch.int64)
    for one in maps:
        for number in range(1, 4):
            top, left, height, width = (int(value) for value in torch.randint(8, 24, (4,), generator=chance))
            one[top : top + height, left + 8 * (number - 1) : left + 8 * (number - 1) + width] = number
    return maps


def painted(maps, seed):
    """Images of class maps, with noise."""
    noise = torch.randn(len(maps), 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return (COLOURS[maps].permute(0, 3, 1, 2) + 0.1 * noise).clamp(-1, 1)


def smooth(count, channels, seed):
    """Waves of a few pixels and more, n c H W in [-1, 1]."""
    chance = torch.Generator().manual_seed(seed)
    small = torch.randn(count, channels, 6, 8, generator=chance)
    return F.interpolate(small, size=(HEIGHT, WIDTH), mode="bicubic").clamp(-1, 1)


def parts(make, seed=0):
    """Pairs to judge, held out, and to learn from, of images and conditions made from a count and a seed."""
    return {"given": make(6, seed), "real": make(8, seed + 1), "train": make(24, seed + 2)}


def judged(judge, given, real, train):
    return obeyed(judge, given, real=real, train=train)


def test_another_condition_is_never_ones_own():
    for count in (2, 3, 17):
        found = others(count)
        assert sorted(found) == list(range(count))
        assert all(other != own for own, other in enumerate(found))
    assert others(17) == others(17)
    with pytest.raises(UserError, match="at least 2 images with conditions, got 1"):
        others(1)


def test_conditions_are_taken_of_tensors_and_lists():
    assert take(torch.tensor([5, 6, 7]), [2, 0]).tolist() == [7, 5]
    assert take(["a", "b", "c"], [2, 0]) == ["c", "a"]
    with pytest.raises(UserError, match="2 images and 3 conditions"):
        Pairs(images=torch.zeros(2, 3, 8, 8), conditions=[1, 2, 3])


def test_batches_do_not_matter(space, monkeypatch):
    pairs = Pairs(images=painted(labels(5, 0), 1), conditions=labels(5, 0))
    judge = Segmentation(space, 4)
    judge.learn(judge.lesson(pairs.images, pairs.conditions))
    whole = rows(judge, pairs)
    monkeypatch.setattr("smalti.metrics.obeyed.protocol._BATCH", 2)
    for one, other in zip(whole, rows(judge, pairs), strict=True):
        assert (one - other).abs().max() <= 2  # cells, at a border between two classes


def test_segmentations_are_counted_by_hand(space):
    judge = Segmentation(space, 3)
    asked = torch.tensor([[[0, 0, 1, 1]], [[0, 0, 0, 0]]])
    seen = torch.tensor([[[0, 1, 1, 2]], [[0, 0, 0, 0]]])
    found = judge.numbers(judge.compare(seen, asked))
    assert found["miou"] == pytest.approx((5 / 6 + 1 / 3) / 2)  # class 2 is asked for nowhere
    assert found["segmentation_accuracy"] == pytest.approx(6 / 8)


def test_discriminants_are_those_of_scikit_learn():
    analysis = pytest.importorskip("sklearn.discriminant_analysis").LinearDiscriminantAnalysis
    chance = torch.Generator().manual_seed(0)
    labels_ = torch.arange(90) % 5 // 2  # classes 0, 1, 2: two fifths, two fifths, one
    features = torch.randn(90, 7, generator=chance) * torch.arange(1, 8) + labels_[:, None]
    found = Discriminant.fit(features, labels_, 4)
    scaled = (features / features.std(0, correction=0)).numpy()
    model = analysis(solver="lsqr", shrinkage=0.5).fit(scaled, labels_.numpy())
    ours = (features.double() @ found.weight + found.bias)[:, :3]
    theirs = torch.from_numpy(model.decision_function(scaled)).double()
    assert ((ours - ours[:, :1]) - (theirs - theirs[:, :1])).abs().max() < 1e-4
    assert found.bias[3] == -torch.inf
    assert found.classes(features).tolist() == model.predict(scaled).tolist()


def test_segmentations_that_are_obeyed_reach_the_ceiling(space):
    def make(count, seed):
        maps = labels(count, seed)
        return Pairs(images=painted(maps, seed), conditions=F.one_hot(maps, 4).permute(0, 3, 1, 2).float())

    sides = parts(make)
    found = judged(Segmentation(space, 4), **sides)
    assert found["miou"].ceiling > 0.8
    assert found["miou"].value == pytest.approx(found["miou"].ceiling, abs=0.1)
    assert found["miou"].floor < 0.5
    assert (found["miou"].count, found["miou"].real, found["miou"].train) == (6, 8, 24)
    ignored = replace(sides["given"], images=painted(labels(6, 9), 9))
    found = judged(Segmentation(space, 4), **{**sides, "given": ignored})
    assert found["miou"].value == pytest.approx(found["miou"].floor, abs=0.15)
    assert found["segmentation_accuracy"].ceiling > 0.9


def test_depths_are_compared_by_their_order(space):
    judge, depth = Depth(space), smooth(3, 1, 0)
    depth[2] = 0.3  # flat: no order
    cells = F.adaptive_avg_pool2d(depth, (12, 16))[:, 0]
    for sign, expected in ((1, 1), (-1, 0)):
        rows_ = judge.compare(sign * cells, depth)
        assert rows_[2].tolist() == [0, 0]
        assert judge.numbers(rows_)["depth_order"] == expected


def test_depths_that_are_obeyed_reach_the_ceiling(space):
    def make(count, seed):
        depth = smooth(count, 1, seed)
        return Pairs(images=depth * torch.tensor([0.9, 0.6, -0.3]).view(3, 1, 1), conditions=depth)

    sides = parts(make)
    found = judged(Depth(space), **sides)["depth_order"]
    assert found.ceiling > 0.9
    assert found.value == pytest.approx(found.ceiling, abs=0.05)
    assert 0.3 < found.floor < 0.7
    turned = replace(sides["given"], images=-sides["given"].images)
    assert judged(Depth(space), **{**sides, "given": turned})["depth_order"].value < 0.2


def framed(top, left, side=20):
    """A light square on dark, 1 3 H W, and a map of its outline of one pixel."""
    image = torch.full((1, 3, HEIGHT, WIDTH), -0.5)
    image[:, :, top : top + side, left : left + side] = 0.8
    outline = torch.full((1, 3, HEIGHT, WIDTH), -1.0)
    outline[:, :, top : top + side, left : left + side] = 1
    outline[:, :, top + 1 : top + side - 1, left + 1 : left + side - 1] = -1
    return image, outline


def test_edges_near_enough_are_the_same():
    pytest.importorskip("skimage")
    judge, (image, outline) = Edges(), framed(10, 12)
    seen = judge.look(image)
    assert 60 < seen.sum() < 100
    found = [judge.numbers(judge.compare(seen, outline.roll(move, 3)))["edge_f1"] for move in (0, 1, 12)]
    assert found[0] > 0.9
    assert found[0] > found[1] > 0.5 > found[2]
    in_range_of_2021 = judge.compare(seen, (outline + 1) / 2)
    assert in_range_of_2021.equal(judge.compare(seen, outline))


def test_f1_of_edges_by_hand():
    judge = Edges()
    seen, asked = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool), torch.full((1, 1, HEIGHT, WIDTH), -1.0)
    seen[0, 10, 10:20] = True  # 10 pixels, of which 5 and the one beside them are near
    asked[0, 0, 10, 10:15] = 1
    asked[0, 0, 30, 10:15] = 1  # not seen
    assert judge.compare(seen, asked).tolist() == [[10, 6, 10, 5]]
    f1 = 2 * 0.6 * 0.5 / 1.1
    assert judge.numbers(judge.compare(seen, asked))["edge_f1"] == pytest.approx(f1)
    assert isnan(judge.numbers(judge.compare(seen, torch.full_like(asked, -1.0)))["edge_f1"])


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("filter", ["nearest", "bilinear"])
def test_the_factor_of_low_resolution_is_found(factor, filter):
    chance, images = torch.Generator().manual_seed(0), torch.zeros(4, 3, HEIGHT, WIDTH)
    for size in (1, 2, 4, 8, 16):  # details of all sizes, the larger the stronger, as photographs have them
        noise = torch.randn(4, 3, HEIGHT // size, WIDTH // size, generator=chance)
        images += 0.05 * size**0.5 * F.interpolate(noise, size=(HEIGHT, WIDTH))
    small = F.avg_pool2d(images, factor)
    maps = F.interpolate(small, size=(HEIGHT, WIDTH), mode=filter)
    judge = LowResolution()
    judge.learn(judge.lesson(images, maps))
    assert judge.factor == factor


def test_low_resolution_is_compared_in_db():
    images = smooth(2, 3, 0) * 0.8
    judge = LowResolution(factor=4)
    noisy = images + torch.tensor([0.1, -0.1]).repeat(WIDTH // 2)  # gone in the means
    darker = images - 0.1
    value = judge.numbers(judge.compare(judge.look(darker), images))["low_resolution_psnr"]
    assert value == pytest.approx(-20 * log10(0.05), abs=0.15)  # of 8 bits
    assert judge.numbers(judge.compare(noisy, images))["low_resolution_psnr"] > 45


def test_boxes_too_small_or_hidden_are_left_out():
    things = (
        Object(0, 0.0, 0.0, 0.05, 0.5),  # thin
        Object(1, 0.5, 0.25, 0.75, 0.75),
        Object(2, 0.0, 0.0, 0.45, 1.0),  # of which less than half is shown
        Object(3, 0.4, 0.0, 1.0, 1.0),
    )
    shown = visible(Scene(things, crop=(0.4, 0.0, 1.0, 1.0)))
    assert [thing.label for thing in shown] == [3, 1]
    assert shown[1].box == pytest.approx((1 / 6, 0.25, 3.5 / 6, 0.75))
    mirrored = visible(Scene(things, crop=(0.4, 0.0, 1.0, 1.0), is_flipped=True))
    assert mirrored[1].box == pytest.approx((2.5 / 6, 0.25, 5 / 6, 0.75))


def test_boxes_that_are_obeyed_reach_the_ceiling(space):
    def make(count, seed):
        chance, maps, scenes = torch.Generator().manual_seed(seed), [], []
        for _ in range(count):
            left, right = (1 + torch.randperm(3, generator=chance)[:2]).tolist()
            one = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
            one[8:40, 4:28], one[8:40, 36:60] = left, right
            maps.append(one)
            boxes = ((4 / 64, 1 / 6, 28 / 64, 5 / 6), (36 / 64, 1 / 6, 60 / 64, 5 / 6))
            flags = 4 * int(seed > 0)  # of classes 0 to 3: those from 4 on carry flags
            pairs = zip((left, right), boxes, strict=True)
            scenes.append(Scene(tuple(Object(label + flags, *box) for label, box in pairs)))
        return Pairs(images=painted(torch.stack(maps), seed), conditions=scenes)

    sides = parts(make)
    found = judged(Boxes(space, 4), **sides)["box_recall"]
    assert found.ceiling > 0.9
    assert found.value > 0.9
    assert found.floor < 0.7
    empty = Pairs(images=torch.zeros(2, 3, HEIGHT, WIDTH), conditions=[Scene(()), Scene(())])
    judge = Boxes(space, 4)
    nothing = judge.compare(judge.look(empty.images), empty.conditions)
    assert nothing.tolist() == [[0, 0], [0, 0]]
    assert isnan(judge.numbers(nothing)["box_recall"]), "not the worst of recalls"


ARM = ("left_shoulder", "left_elbow", "left_wrist")


def test_poses_that_are_obeyed_reach_the_ceiling(space):
    """Images are pictures of the poses, a colour a joint."""

    def make(count, seed):
        places = 0.1 + 0.8 * torch.rand(count, 3, 2, generator=torch.Generator().manual_seed(seed))
        poses = [Pose(ARM, (tuple(Joint(*place) for place in one),)) for one in places.tolist()]
        return Pairs(images=torch.stack([skeleton(one, (HEIGHT, WIDTH)) for one in poses]), conditions=poses)

    sides = parts(make)
    found = judged(Keypoints(space, ARM), **sides)["keypoints"]
    assert found.ceiling > 0.8
    assert found.value > 0.8
    assert found.floor < 0.3
    empty = Pose(ARM, ())
    judge = Keypoints(space, ARM)
    judge.learn(judge.lesson(sides["train"].images[:4], [*sides["train"].conditions[:3], empty]))
    nothing = judge.compare(judge.look(sides["real"].images[:1]), [empty])
    assert nothing.tolist() == [[0, 0]]
    assert isnan(judge.numbers(nothing)["keypoints"])


def test_joints_are_counted_by_hand(space):
    """On an image twice as wide as high, of a figure that is one high and two wide: 0.2 is near."""
    figure = (Joint(0.0, 0.0), Joint(0.5, 0.5), Joint(1.0, 1.0, HIDDEN))
    small = (Joint(0.1, 0.1), Joint(0.2, 0.1), Joint(0.2, 0.2))
    asked = [Pose(ARM, (small, figure))] * 3
    seen = torch.tensor([[[0.0, 0.19], [0.61, 0.5]], [[0.09, 0.0], [0.5, 0.5]], [[0.5, 0.5], [0.59, 0.51]]])
    seen = torch.cat([seen, torch.zeros(3, 1, 2)], 1)
    judge = Keypoints(space, ARM)
    found = judge.compare(torch.cat([seen, torch.full((3, 3, 1), 2.0)], 2), asked)
    assert found.tolist() == [[1, 2], [2, 2], [1, 2]]
    assert judge.numbers(found) == {"keypoints": 4 / 6}
    right = [one.part((0.5, 0.0, 1.0, 1.0)) for one in asked[:1]]
    cut = judge.compare(torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.69, 1.0], [1.0, 1.0, 1.0]]]), right)
    assert cut.tolist() == [[1, 1]], "of a figure that is cut the whole one's size"


def test_a_single_class_cannot_be_told_apart(space):
    things = [Scene((Object(2, 0.0, 0.0, 1.0, 1.0),))] * 2
    images = torch.zeros(2, 3, HEIGHT, WIDTH)
    judge = Boxes(space, 4)
    with pytest.raises(UserError, match="two classes or more to tell apart, got rows of one alone"):
        judge.learn(judge.lesson(images, things))
    with pytest.raises(UserError, match="got no rows"):
        judge.learn(judge.lesson(images, [Scene(()), Scene(())]))


def test_labels_that_are_obeyed_reach_the_ceiling(space):
    def make(count, seed):
        classes = torch.arange(count) % 4
        maps = classes[:, None, None].expand(-1, HEIGHT, WIDTH)
        return Pairs(images=painted(maps, seed), conditions=classes)

    sides = parts(make)
    found = judged(Label(space), **sides)["accuracy"]
    assert found.ceiling == 1
    assert found.value == 1
    assert found.floor < 0.5
    wrong = replace(sides["given"], conditions=(sides["given"].conditions + 1) % 4)
    assert judged(Label(space), **{**sides, "given": wrong})["accuracy"].value == 0


class Words:
    """Sentences that are numbers: a vector for each."""

    width, digest = 24, "of a test"

    def vectors(self, texts):
        table = torch.randn(40, self.width, generator=torch.Generator().manual_seed(0))
        return F.normalize(torch.stack([table[int(text)] for text in texts]), dim=1)


def test_captions_that_are_obeyed_are_found(space):
    """Images of a flat colour that tells the number, in three digits."""

    def make(count, seed):
        numbers = torch.randperm(40, generator=torch.Generator().manual_seed(seed)).repeat(3)[:count]
        digits = torch.stack([numbers // 16, numbers // 4 % 4, numbers % 4], 1) / 1.5 - 1
        return Pairs(
            images=digits[:, :, None, None].expand(-1, -1, 16, 16).contiguous(),
            conditions=[str(number) for number in numbers.tolist()],
        )

    found = obeyed(Text(space, Words()), make(30, 0), real=make(32, 1), train=make(80, 2))
    for one in found.values():
        assert one.value > 0.9
        assert one.ceiling > 0.9
        assert one.floor < 0.2
    with pytest.raises(UserError, match="candidates of these texts"):
        obeyed(Text(space, Words()), make(6, 0), real=make(32, 1), train=make(80, 2))


def test_a_condition_has_the_judge_of_its_kind(space):
    light = smooth(2, 3, 0)
    _, edges = framed(10, 12)

    def condition(argument, channels=3, of_classes=False):
        tokenizer, settings = SimpleNamespace(channels=channels), SimpleNamespace(classes=4, names=ARM)
        return SimpleNamespace(
            argument=argument, of_classes=of_classes, tokenizer=tokenizer, settings=settings
        )

    cases = [
        (condition("label"), None, "label"),
        (condition("map", 3, of_classes=True), light, "segmentation"),
        (condition("map", 1), light[:, :1], "depth"),
        (condition("map", 3), light, "low_resolution"),
        (condition("map", 3), edges, "edges"),
        (condition("map", 1), (edges[:, :1] + 1) / 2, "edges"),
        (condition("boxes"), None, "boxes"),
        (condition("points"), None, "boxes"),
        (condition("keypoints"), None, "keypoints"),
    ]
    for one, maps, name in cases:
        assert type(judge_of(one, space, maps)) is JUDGES[name]
    assert judge_of(condition(None), space, None) is None
    assert not has_lines(-edges)  # a frame of dark lines is no map of edges


def test_every_judge_says_what_its_numbers_depend_on(space):
    made = [Label(space), Segmentation(space, 4), Depth(space), Edges(), LowResolution(4), Boxes(space, 4)]
    made += [Text(space, Words()), Keypoints(space, ARM)]
    assert {type(judge) for judge in made} == set(JUDGES.values())
    for judge in made:
        assert judge.titles
        assert judge.protocol()
