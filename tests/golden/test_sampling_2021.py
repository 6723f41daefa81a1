"""Greedy sampling lays the codes and images of the 2021 code, on whole windows and on larger canvases."""

from dataclasses import replace

import pytest
import torch
from reference import cell_by_cell, draw, drawing, locate

from smalti.drawing.canvas import Canvas
from smalti.drawing.choice import Choice, keep
from smalti.formats.compvis.places import PERMUTERS
from smalti.orders import order
from smalti.pipeline import Pipeline

GREEDY = Choice(top_k=1)
MODELS = ["transformer_class", "transformer_unconditional"]
CANVASES = {"class_3": "transformer_class", "unconditional": "transformer_unconditional"}
ORDERS_2021 = {PERMUTERS[name]: name for name in ("subsample", "spiral_out", "alternate")}


def generator_of(case, laid: str = "row") -> Pipeline:
    found = case.imported().model
    model = Pipeline(replace(found.settings, order=laid), found.tokenizer)
    model.prior.load_state_dict(found.prior.state_dict())
    return model  # in training mode, with dropout: what is drawn must not depend on it


def condition(case, name: str) -> dict:
    return {"label": case.tensors["cond"]} if name == "transformer_class" else {}


@pytest.fixture(params=MODELS)
def model(request, golden):
    case = golden(request.param)
    return generator_of(case), case, condition(case, request.param)


def test_greedy_codes_and_images(model):
    generator, case, given = model
    codes = generator.sample(num=2, top_k=1, **given).codes
    assert codes.flatten(1).equal(case.tensors["greedy_codes"])
    assert codes.flatten(1).equal(case.tensors["top_k_1_codes"])
    case.close(generator.sample(num=2, top_k=1, **given).tensors, "greedy_image")


def test_greedy_completion(model):
    generator, case, given = model
    label = [{"label": int(label)} for label in given["label"]] if given else [{}, {}]
    for row, image in enumerate(case.tensors["image"]):
        codes = generator.complete(image, keep=0.5, top_k=1, **label[row]).codes
        assert codes.flatten().equal(case.tensors["greedy_codes_from_half"][row])
        shown = generator.complete(image, keep=0.5, top_k=1, **label[row]).tensors
        case.close(shown[0], "half_image", rows=row)


def test_scores_and_likelihood(model):
    generator, case, given = model
    codes = case.tensors["z_indices"].view(-1, 8, 8)
    case.close(generator.logits(codes, **given), "logits")
    for images in (codes, case.tensors["image"]):
        case.close(torch.tensor(generator.nats_per_token(images, **given)), "loss")


@pytest.mark.parametrize("name", CANVASES)
def test_larger_canvases(golden, name):
    case, source = golden("sliding_window"), CANVASES[name]
    generator = generator_of(golden(source))
    _, height, width = case.tensors[f"{name}.codes"].shape
    factor = generator.tokenizer.factor
    options = {"size": (height * factor, width * factor), "top_k": 1}
    options |= {"label": 3} if name == "class_3" else {}
    codes = generator.sample(**options).codes
    assert codes.equal(case.tensors[f"{name}.codes"])
    case.close(generator.tokenizer.decode(codes), f"{name}.image")


@pytest.mark.parametrize("sampler", [cell_by_cell, draw])
def test_each_sampler_on_a_larger_canvas(golden, sampler):
    case = golden("sliding_window")
    generator = generator_of(golden("transformer_class")).eval()
    grid = tuple(case.tensors["class_3.codes"].shape[1:])
    prompt = generator.condition.context(3, num=1, grid=grid, device=torch.device("cpu"))
    canvas = Canvas(
        codes=torch.zeros(1, *grid, dtype=torch.int64),
        known=torch.zeros(grid, dtype=torch.bool),
        seeds=torch.zeros(1, dtype=torch.int64),
        window=(8, 8),
        order=generator.order,
        choice=GREEDY,
    )
    codes = sampler(drawing(generator.prior, prompt, limit=64), canvas)
    assert codes.equal(case.tensors["class_3.codes"])


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("unconditional", 8),
        ("class_3", 8),
        ("depth", 8),
        ("coord", 8),
        ("depth_exact_window", 8),
        ("coord_window16", 16),
    ],
)
def test_windows(golden, name, side):
    case = golden("sliding_window")
    grid = tuple(case.tensors[f"{name}.codes"].shape[1:])
    for row, column, top, left, inner_row, inner_column in case.tensors[f"{name}.trace"].tolist():
        cell = locate(row, column, grid, (side, side))
        assert (cell.top, cell.left) == (top, left)
        assert cell.place == inner_row * side + inner_column


@pytest.mark.parametrize("name", ORDERS_2021)
def test_other_orders(golden, name):
    case, key = golden("sequence_orders"), f"trained_order.{name}."
    labels = case.tensors["trained_order.labels"]
    generator = generator_of(golden("transformer_class"), ORDERS_2021[name])
    codes = generator.sample(num=2, label=labels, top_k=1).codes
    assert codes.flatten(1).equal(case.tensors[f"{key}greedy_codes_row_major"])
    case.close(generator.tokenizer.decode(codes), f"{key}greedy_image")


@pytest.mark.parametrize("name", ORDERS_2021)
def test_first_half_of_another_order(golden, name):
    case, key = golden("sequence_orders"), f"trained_order.{name}."
    generator = generator_of(golden("transformer_class")).eval()
    laid = order(ORDERS_2021[name], 8, 8)
    known = torch.zeros(64, dtype=torch.bool)
    known[laid[:32]] = True
    labels = case.tensors["trained_order.labels"]
    prompt = generator.condition.context(labels, num=2, grid=(8, 8), device=torch.device("cpu"))
    canvas = Canvas(
        codes=case.tensors["trained_order.codes_row_major"].view(2, 8, 8),
        known=known.view(8, 8),
        seeds=torch.zeros(2, dtype=torch.int64),
        window=(8, 8),
        order=laid,
        choice=GREEDY,
    )
    codes = draw(drawing(generator.prior, prompt, limit=64), canvas)
    assert codes.flatten(1)[:, laid].equal(case.tensors[f"{key}half_codes"])


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.3), (10, 0.8), (1, 1.0), (200, 0.9), (50, 0.5), (5, 1.0)])
def test_filters(golden, top_k, top_p):
    """The codes that survive are those of the 2021 code (the stored rows have no ties at the k-th)."""
    case = golden("gpt")
    scores, expected = case.tensors["filter.logits"], case.tensors[f"filter.hf_top_k_{top_k}_top_p_{top_p}"]
    kept, codes = keep(scores, Choice(top_k=top_k or None, top_p=top_p))
    found = torch.full_like(scores, -1e30).scatter(1, codes, kept.clamp(min=-1e30))
    assert found.equal(expected)
