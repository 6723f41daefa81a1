"""A prior for crops of several sizes is at each of them the prior of that size alone, drawn in one window."""

import json
from dataclasses import replace

import pytest
import torch
from tiny import LABELS, generator

import smalti
from smalti import library
from smalti.cli.pace import faster
from smalti.conditions.computed.low_resolution import LowResolutionSettings
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.joint import JointSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.none import NoConditionSettings
from smalti.drawing import plan
from smalti.errors import UserError
from smalti.priors import PRIORS

GRIDS = ((4, 4), (3, 5), (5, 3))  # the last two have as many cells
CONDITIONS = {"label": LABELS, "coordinates": CoordinatesSettings(tokens=32)}
TOLD = {"label": {"label": [0, 2]}, "coordinates": {}}


def several(kind="modern", condition=LABELS, order="row", grids=GRIDS, **more):
    return generator(kind, condition, order, grid=grids, **more)


def codes_of(grid, num=2):
    return torch.randint(12, (num, *grid), generator=torch.Generator().manual_seed(grid[0]))


def alone(model, grid):
    """The same model for one size: what tells the sizes apart goes into the positions of its prefix."""
    kind, settings = model.settings.prior.kind, replace(model.settings, grid=grid)
    found = smalti.Pipeline(settings, model.tokenizer)
    state = model.prior.state_dict()
    if kind == "modern":
        positions, number = state.pop("prefix_positions"), GRIDS.index(grid)
        if len(positions) > 1:  # those of a grid of 5 x 5, which holds all
            positions = positions.view(5, 5, -1)[: grid[0], : grid[1]].flatten(0, 1)
        state["prefix_positions"] = positions + state.pop("grids")[number]
    found.prior.load_state_dict(state)
    return found


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("kind", ["modern", "neighbourhood"])
@pytest.mark.parametrize("grid", GRIDS)
def test_at_each_size_it_scores_as_one_for_that_size(kind, condition, grid):
    model, codes = several(kind, CONDITIONS[condition]), codes_of(grid)
    one = alone(model, grid)
    logits = model.logits(codes, **TOLD[condition])
    assert torch.equal(logits, one.logits(codes, **TOLD[condition]))
    assert model.nats(codes, **TOLD[condition]) == one.nats(codes, **TOLD[condition])


def test_the_prefix_tells_which_size_it_is():
    """So that the first row too knows where it will end."""
    model, codes = several(), codes_of((5, 3))
    before = model.logits(codes, label=0)
    with torch.no_grad():
        model.prior.grids[1] += 1
        assert torch.equal(model.logits(codes, label=0), before)
        model.prior.grids[2] += 1
    assert not torch.equal(model.logits(codes, label=0)[:, 0], before[:, 0])


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize(
    ("kind", "order"), [("modern", "row"), ("modern", "random"), ("neighbourhood", "row")]
)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_trained_size_is_drawn_through_one_window(kind, order, condition, grid):
    model = several(kind, CONDITIONS[condition], order)
    size = tuple(2 * side for side in grid)
    out = model.sample(2, size=size, top_k=1, **TOLD[condition])
    logits = model.logits(out.codes, **TOLD[condition])
    assert torch.equal(logits.argmax(-1), model.sequence(out.codes))
    assert out[0].size == size[::-1]
    kept = model.complete(out[0], keep="top:0.4", top_k=1, **{n: v[:1] for n, v in TOLD[condition].items()})
    assert kept.codes.shape[1:] == grid


def test_the_first_size_is_drawn_unless_another_is_asked_for():
    model = several()
    assert (model.crop_size, model.crop_sizes) == ((8, 8), ((8, 8), (6, 10), (10, 6)))
    assert model.sample(label=0).codes.shape == (1, 4, 4)


def test_a_larger_canvas_is_seen_through_the_fitting_window_of_the_nearest_shape(monkeypatch):
    model, seen, real = several(), [], plan.plan

    def planned(canvas):
        seen.append(canvas.window)
        return real(canvas)

    monkeypatch.setattr("smalti.drawing.windows.plan", planned)
    for size, window in (
        ((8, 10), (4, 4)),
        ((6, 16), (3, 5)),
        ((16, 6), (5, 3)),
        ((10, 10), (4, 4)),
        ((10, 8), (4, 4)),
    ):
        model.sample(size=size, label=0)
        assert seen.pop() == window, size
    with pytest.raises(UserError, match=r"a size from 8 x 8 or 6 x 10 or 10 x 6 pixels up, .*, got 6 x 8"):
        model.sample(size=(6, 8), label=0)
    assert several("neighbourhood").sample(size=(4, 6), label=0).codes.shape == (1, 2, 3)


def test_images_and_codes_of_other_sizes_are_refused():
    with pytest.raises(UserError, match=r"codes of 4 x 4, 3 x 5 and 5 x 3 cells, a training crop, got 4 x 5"):
        several().nats_per_token(codes_of((4, 5)), label=0)
    images = torch.zeros(1, 3, 6, 10)
    model = several()
    assert model.nats_per_token(images, label=0) == model.nats_per_token(
        model.tokenizer.encode(images), label=0
    )


@pytest.mark.parametrize("kind", [kind for kind in PRIORS if kind not in ("modern", "neighbourhood")])
def test_priors_that_learn_places_take_one_size(kind):
    with pytest.raises(UserError) as caught:
        several(kind)
    assert str(caught.value) == (
        "expected one size, for a prior that knows the cells of one grid, got crops of 4 x 4, 3 x 5 and 5 x "
        "3 cells; set prior.kind=modern or neighbourhood, or one size"
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"order": "z_curve"}, "for the order z_curve a grid .* got 3 x 5 cells"),
        (
            {"condition": JointSettings(of=CONDITIONS)},
            "as many tokens at every size, or of one a cell, .* got 16 and 17 tokens; give one size",
        ),
        (
            {"kind": "neighbourhood", "grids": ((4, 4), (2, 6))},
            "a training crop of 3 x 3 cells or more, got 2 x 6",
        ),
    ],
)
def test_what_several_sizes_cannot_be(changes, told):
    with pytest.raises(UserError, match=told):
        several(**changes)


def test_the_reach_is_below_half_of_each_crop():
    model = several("neighbourhood", grids=((9, 9), (5, 12)))
    assert model.prior.radius == 2


def test_a_small_image_is_upscaled_through_the_crop_of_its_shape():
    low = MapSettings(shared=True, compute=LowResolutionSettings(factor=2))
    model = several(condition=low)
    image = torch.rand(1, 3, 3, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert model.upscale(image).codes.shape == (1, 3, 5)
    assert model.upscale(image[..., :3]).codes.shape == (1, 4, 4), "mirrored up to a crop of 8 x 8"


def test_a_model_folder_keeps_its_sizes(tmp_path):
    model, codes = several(condition=NoConditionSettings()), codes_of((5, 3))
    library.save(model, tmp_path / "model", {"size": [[8, 8], [6, 10], [10, 6]]})
    found = smalti.load(tmp_path / "model")
    assert found.settings == model.settings
    assert torch.equal(found.logits(codes), model.logits(codes))
    assert library.trained_sizes(tmp_path / "model") == found.crop_sizes
    assert "crops 8 x 8, 6 x 10 and 10 x 6 pixels" in library.outline(tmp_path / "model").words
    assert "crops 8 x 8, 6 x 10 and 10 x 6 pixels" in (tmp_path / "model" / "README.md").read_text()
    library.save(generator("modern"), tmp_path / "one", {"size": [8, 8]})
    kept = json.loads((tmp_path / "one" / "config.json").read_text())
    assert kept["settings"].keys() == {"prior", "condition", "order", "grid"}
    assert kept["settings"]["grid"] == [4, 4], "as ever"
    assert library.trained_sizes(tmp_path / "one") == ((8, 8),)


def test_weights_are_shared_by_all_sizes():
    prior = several().prior
    twin = prior.at((5, 3))
    assert all(one is other for one, other in zip(prior.parameters(), twin.parameters(), strict=True))
    assert prior.at((4, 4)) is prior
    assert (prior.scope.grid, twin.scope.grid) == ((4, 4), (5, 3)), "the prior itself stays as it is"
    assert prior.cosines.shape[0] == 16 != twin.cosines.shape[0] == 15


def test_moved_with_its_weights():
    model = several().to(torch.bfloat16)
    assert {tensor.dtype for tensor in model.prior.buffers()} == {torch.bfloat16}
    assert model.sample(size=(10, 6), label=0).codes.shape == (1, 5, 3)


@pytest.mark.parametrize("grid", GRIDS)
def test_all_ways_of_drawing_know_the_size(grid):
    """Guidance, guesses, batches of one size each, mixtures; a map has as many tokens as the window."""
    model, size = several(), tuple(2 * side for side in grid)
    how = {"size": size, "guidance_scale": 3.0, "micro_batch": 2}
    drawn = model.sample(3, label=[0, 1, 2], **how).codes
    assert drawn.equal(model.sample(3, label=[0, 1, 2], speculative=4, **how).codes)
    assert drawn[2:].equal(model.sample(1, label=2, seed=2, **how).codes)
    assert not drawn.equal(model.sample(3, label=[0, 1, 2], **{**how, "guidance_scale": 1.0}).codes)
    assert model.sample(label=[0, 2], mix="left-right", size=size).codes.shape == (1, *grid)
    mapped = several(condition=MapSettings(shared=True, dropout=0.1))
    ramp = torch.linspace(-1, 1, 3 * size[0] * size[1]).view(3, *size)
    told, otherwise = (
        mapped.sample(map=one, size=size, guidance_scale=2.0, top_k=1) for one in (ramp, -ramp)
    )
    assert not told.codes.equal(otherwise.codes)


def test_a_faster_stride_is_that_of_the_window():
    model = several()
    assert faster(model, (16, 16), 1) == "; with --stride 2 the window moves in larger steps, which is faster"
    assert faster(model, (12, 20), 1) == "", "through a window of 3 x 5 cells"
    assert faster(model, (6, 10), 1) == "", "a crop"
