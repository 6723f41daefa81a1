"""Metrics of sets of features have other packages' values, see exact copies, and refuse what says nothing."""

import math

import numpy as np
import pytest
import torch

from smalti.errors import UserError
from smalti.metrics import distances, neighbours
from smalti.metrics.distances import few, frechet, kid
from smalti.metrics.neighbours import diversity, manifold, nearest
from smalti.metrics.scores import inception_score, retrieval


def drawn(seed, count, scale=1.0, shift=0.0, width=16):
    """Features in float32: a normal distribution by the seed."""
    rows = np.random.default_rng(seed).normal(size=(count, width)) * scale + shift
    return torch.from_numpy(rows.astype(np.float32))


REAL, FAKE = drawn(0, 60), drawn(1, 50, 0.9, 0.3)
MANY_REAL, MANY_FAKE = drawn(2, 300), drawn(3, 300, 0.9, 0.3)
LOGITS = drawn(4, 300, 2.0, width=7)
PAIRS = drawn(5, 40), drawn(5, 40) + drawn(6, 40, 1.5)


# pytorch-fid 0.3.0, torch-fidelity 0.4.0, torchmetrics 1.9.0's _compute_fid, scipy 1.17.1's sqrtm: all four
@pytest.mark.parametrize(
    ("fake", "real", "value"), [(FAKE, REAL, 3.87620932549), (MANY_FAKE, MANY_REAL, 2.10772310671)]
)
def test_frechet(fake, real, value):
    assert frechet(fake, real) == pytest.approx(value, rel=1e-9)
    assert frechet(real, fake) == pytest.approx(value, rel=1e-9)


def test_frechet_of_few_images_and_of_many_is_the_same_in_zeros_and_parts(monkeypatch):
    """A feature that is always 0 makes a covariance singular: the factor is then another, the value not."""
    padded = [torch.cat((rows, torch.zeros(len(rows), 3)), 1) for rows in (FAKE, REAL)]
    assert frechet(*padded) == pytest.approx(3.87620932549, rel=1e-6)
    wide = [torch.cat((rows, torch.zeros(len(rows), 100)), 1) for rows in (FAKE, REAL)]  # fewer than features
    assert frechet(*wide) == pytest.approx(3.87620932549, rel=1e-9)
    assert frechet(wide[0], wide[0]) == pytest.approx(0, abs=1e-9)
    monkeypatch.setattr(distances, "_COLUMNS", 5)
    monkeypatch.setattr(distances, "ROWS", 7)
    assert frechet(FAKE, REAL) == pytest.approx(3.87620932549, rel=1e-9)


def test_frechet_of_too_few_images_warns():
    assert few(17, 16) is None
    assert "16 images are few for 16 features" in few(16, 16)


# torchmetrics 1.9.0's poly_mmd and torch-fidelity 0.4.0, of one subset that is the whole set
@pytest.mark.parametrize(
    ("fake", "real", "value"),
    [(FAKE, REAL[:50], 0.20998600344), (MANY_FAKE, MANY_REAL, 0.31724099753)],
)
def test_kid(fake, real, value):
    found = kid(fake, real, subsets=1, size=len(fake))
    assert found.value == pytest.approx(value, rel=1e-9)
    assert found.error is None, "one subset does not say how it varies"


@pytest.mark.parametrize(("subsets", "size"), [(50, 25), (3, 12)])
def test_kid_is_the_mean_over_its_subsets_however_it_is_summed(subsets, size, monkeypatch):
    monkeypatch.setattr(distances, "ROWS", 17)
    chance, values = torch.Generator().manual_seed(3), []
    for _ in range(subsets):
        a, b = (rows[torch.randperm(len(rows), generator=chance)[:size]].double() for rows in (FAKE, REAL))
        aa, bb, ab = ((x @ y.T / 16 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
        alike = (aa.sum() - aa.trace() + bb.sum() - bb.trace()) / (size * (size - 1))
        values.append((alike - 2 * ab.mean()).item())
    found = kid(FAKE, REAL, subsets=subsets, size=size, seed=3)
    assert found.value == pytest.approx(np.mean(values), rel=1e-9)
    assert found.spread == pytest.approx(np.std(values), rel=1e-9)
    assert found.error == pytest.approx(np.std(values) * (size / (50 - size)) ** 0.5, rel=1e-9)
    assert kid(FAKE, REAL, subsets=subsets, size=size, seed=4) != found


def test_kid_says_how_much_it_varies():
    """Against the spread of values over sets of other images; nearer to 0 its error is said too large."""
    found = [kid(drawn(seed, 80, shift=0.4), drawn(100 + seed, 80)) for seed in range(40)]
    varies = np.std([one.value for one in found], ddof=1)
    assert 0.7 < np.mean([one.error for one in found]) / varies < 1.4
    assert {one.size for one in found} == {40}


# prdc 0.2 (all four) and torch-fidelity 0.4.0 (the first two)
@pytest.mark.parametrize(
    ("fake", "real", "neighbour", "values"),
    [
        (FAKE, REAL, 3, (0.86, 32 / 60, 1.2733333333, 0.85)),
        (FAKE, REAL, 5, (0.92, 41 / 60, 1.188, 58 / 60)),
        (MANY_FAKE, MANY_REAL, 3, (260 / 300, 172 / 300, 1.36, 0.87)),
        (MANY_FAKE, MANY_REAL, 5, (283 / 300, 214 / 300, 1.3166666667, 283 / 300)),
    ],
)
def test_manifold(fake, real, neighbour, values, monkeypatch):
    found = manifold(fake, real, neighbour=neighbour, density_neighbour=neighbour)
    assert tuple(vars(found).values()) == pytest.approx(values, abs=1e-9)
    far = manifold(fake.double() + 1e5, real.double() + 1e5, neighbour=neighbour, density_neighbour=neighbour)
    assert far == found, "far from nought, too"
    monkeypatch.setattr(neighbours, "_CELLS", 600)
    monkeypatch.setattr(neighbours, "ROWS", 7)
    assert manifold(fake, real, neighbour=neighbour, density_neighbour=neighbour) == found


def test_manifold_holds_exact_copies_even_where_an_image_stands_often():
    """prdc leaves borders out: copies of real images that stand six times have a precision of 0 there."""
    often, copies = REAL[:10].repeat_interleave(6, 0), REAL[:10].repeat_interleave(2, 0)
    found = manifold(copies, often)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert manifold(REAL, REAL).density == 6 / 5, "the five neighbours and the image itself"


# scikit-learn 1.9.1's NearestNeighbors, brute
def test_nearest():
    found = nearest(FAKE[:4], REAL, 3)
    assert found.indices.tolist() == [[19, 23, 7], [42, 54, 20], [54, 50, 52], [55, 10, 7]]
    expected = [3.13041603, 3.52938665, 3.04980864, 3.33586873]
    assert found.distances[:, 0].tolist() == pytest.approx(expected, rel=1e-6)
    assert found.distances[0].tolist() == pytest.approx([3.13041603, 3.19243856, 3.23294241], rel=1e-6)
    assert found.ratios.tolist() == pytest.approx([1.01868604, 1.09685387, 1.11640297, 1.16625557], rel=1e-6)
    assert not found.copies.any()


def test_nearest_tells_copies():
    """Exact ones and near ones; that a training image stands twice makes no gap of 0."""
    training = torch.cat((REAL, REAL[:1]))
    images = torch.cat((REAL[:2], REAL[2:4] + 0.02 * FAKE[2:4], FAKE[:4]))
    found = nearest(images, training)
    assert found.copies.tolist() == [True] * 4 + [False] * 4
    assert found.distances[:2].eq(0).all()
    assert found.indices[1:4, 0].tolist() == [1, 2, 3]


def test_nearest_in_parts(monkeypatch):
    whole = nearest(FAKE, REAL, 2)
    monkeypatch.setattr(neighbours, "_CELLS", 200)
    monkeypatch.setattr(neighbours, "ROWS", 7)
    found = nearest(FAKE, REAL, 2)
    assert torch.equal(found.indices, whole.indices)
    torch.testing.assert_close(found.ratios, whole.ratios)


def test_diversity():  # scipy 1.17.1's pdist
    classes = torch.arange(50) % 3
    found = diversity(FAKE, classes)
    assert found == pytest.approx({0: 4.86186448434, 1: 5.04603918100, 2: 4.90334971201}, rel=1e-9)
    assert diversity(FAKE, classes.clamp(max=1).index_fill(0, torch.tensor([7]), 9)).keys() == {0, 1}


def test_inception_score():  # torch-fidelity 0.4.0, of one split, and of ten that are not shuffled
    assert inception_score(LOGITS, splits=1).value == pytest.approx(2.24581275296, rel=1e-9)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    found = inception_score(LOGITS[order.argsort()])
    assert found.value == pytest.approx(2.18915169349, rel=1e-9)
    assert found.spread == pytest.approx(0.13946793926, rel=1e-9)
    assert inception_score(torch.eye(10).repeat(30, 1) * 1e3, splits=1).value == pytest.approx(10)


# scikit-learn 1.9.1's top_k_accuracy_score and torchmetrics 1.9.0's retrieval_hit_rate, among all 40
def test_retrieval():
    found = retrieval(*PAIRS, candidates=40)
    assert (found.image_to_text, found.text_to_image) == pytest.approx((0.625, 0.625))
    among_four = retrieval(*PAIRS, candidates=4)
    near = retrieval(*PAIRS, candidates=4, near=True)
    assert among_four.image_to_text > near.image_to_text > 0.625 - 1e-9, "near ones are harder"
    assert retrieval(*PAIRS, candidates=4, seed=1) != among_four


def test_retrieval_of_nothing_in_common_is_chance_and_equal_texts_are_no_rivals():
    texts = torch.eye(6).repeat(20, 1)  # twenty times six texts
    assert retrieval(texts, texts, candidates=6).image_to_text == 1
    blind = retrieval(torch.ones(120, 6), texts, candidates=6)
    assert blind.image_to_text == pytest.approx(1 / 6), "all are ties"
    assert blind.text_to_image == pytest.approx(1 / 6)
    with pytest.raises(UserError, match="expected 2 to 101 candidates of these texts, got 102"):
        retrieval(texts, texts, candidates=102)


CLASSES = torch.zeros(60, dtype=torch.int64)
OF_TWO = {"frechet": frechet, "kid": kid, "manifold": manifold, "nearest": nearest}
ALL = OF_TWO | {
    "inception_score": lambda fake, real: inception_score(fake),
    "diversity": lambda fake, real: diversity(fake, CLASSES[: len(fake)]),
    "retrieval": lambda fake, real: retrieval(fake, real[: len(fake)]),
}


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_named(metric, value):
    broken = FAKE.clone()
    broken[7, 3] = broken[9, 0] = value
    with pytest.raises(UserError, match="NaN or infinity in 2 of 50, the first is number 7"):
        ALL[metric](broken, REAL)


@pytest.mark.parametrize("metric", OF_TWO)
def test_features_of_two_networks_are_refused(metric):
    with pytest.raises(UserError, match="16 numbers a generated image and 15 a real one"):
        OF_TWO[metric](FAKE, REAL[:, :15])


@pytest.mark.parametrize(
    ("metric", "least"),
    [("frechet", 2), ("kid", 4), ("manifold", 6), ("nearest", 1), ("inception_score", 20), ("diversity", 2)],
)
def test_too_few_images_are_refused(metric, least):
    ALL[metric](FAKE[:least], REAL)
    for count in {0, least - 1}:
        number = count or "no"
        with pytest.raises(UserError, match=f"at least {least} generated images?, got {number}; give more"):
            ALL[metric](FAKE[:count], REAL)


@pytest.mark.parametrize("metric", ["frechet", "kid", "manifold"])
def test_too_few_real_images_are_refused(metric):
    with pytest.raises(UserError, match=r"at least \d real images, got 1"):
        ALL[metric](FAKE, REAL[:1])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: kid(FAKE, REAL, size=51), "subsets of 2 to 50 images, got 51"),
        (lambda: nearest(FAKE, REAL, 60), "1 to 59 nearest training images, got 60"),
        (lambda: nearest(FAKE, REAL[:1].repeat(5, 1)), "training images that differ, got one and the same"),
        (lambda: diversity(FAKE, torch.arange(50)), "two images or more of some class"),
        (lambda: retrieval(FAKE, REAL), r"row by row, in one space, got \(50, 16\) and \(60, 16\)"),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_line(call, told):
    with pytest.raises(UserError, match=told) as problem:
        call()
    assert "\n" not in str(problem.value)
