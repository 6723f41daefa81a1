"""Conditions tell a prior what those of the 2021 code told it: tokens, scores, codes, sliding windows."""

import random
import zlib
from dataclasses import dataclass, replace

import pytest
import torch
from reference import cell_by_cell, draw, drawing, locate

from smalti.conditions.box_tokens import WHOLE, Object, Scene
from smalti.conditions.boxes import BoxesCondition, BoxesSettings
from smalti.conditions.coordinates import CoordinatesSettings, Part
from smalti.conditions.map import MapSettings
from smalti.conditions.points import PointsCondition, PointsSettings
from smalti.data.protocol import Batch
from smalti.drawing.canvas import Canvas
from smalti.formats.compvis.transformer import ours
from smalti.orders import inverse
from smalti.pipeline import Pipeline
from smalti.tokens.choice import Choice

CPU = torch.device("cpu")
GREEDY = {"top_k": 1}
SCENE = {"no_tokens": 64, "classes": 12, "max_objects": 5, "flags": ("group",), "clip_both_ends": False}
KINDS = {"objects_bbox": "boxes", "objects_center_points": "points"}
CONDITIONS = {
    "transformer_depth": MapSettings(),
    "transformer_shared_stage": MapSettings(shared=True, size=4),
    "transformer_coord": CoordinatesSettings(tokens=64),
    "boxes": BoxesSettings(**SCENE),
    "points": PointsSettings(**SCENE),
}
OTHER_ORDERS = {"transformer_shared_stage"}  # than row by row


def generator_of(case, condition, *, side: int = 8, state=None) -> Pipeline:
    """The case's model, told otherwise or for another window; state: a transformer of one layer for it."""
    found = case.imported().model
    if found.settings.condition == condition and state is None:
        return found
    how = replace(found.settings, condition=condition, grid=(side, side))
    if state is not None:
        sizes = {"layers": 1, "positions": state["pos_emb"].shape[1]}
        how = replace(how, prior=replace(how.prior, **sizes))
    model = Pipeline(how, found.tokenizer, found.condition.own)
    model.prior.load_state_dict(found.prior.state_dict() if state is None else ours(state))
    return model


def boxed(annotation: dict, classes: int) -> Object:
    x, y, w, h = annotation["bbox"]
    number = annotation["category_no"] + classes * (annotation["is_group_of"] is True)
    return Object(number, x, y, x + w, y + h)


def scene_of(annotations: list[dict], crop=None, flip=False, classes: int = 12) -> Scene:
    """x0, y0, width, height of the crop, as in the 2021 code."""
    box = WHOLE if crop is None else (crop[0], crop[1], crop[0] + crop[2], crop[1] + crop[3])
    scene = Scene(tuple(boxed(one, classes) for one in annotations), crop=box)
    return scene.flipped() if flip else scene


@pytest.fixture(params=CONDITIONS)
def model(request, golden):
    """A generator, its case, what it is told, and the end of the tensors' names."""
    if request.param in ("boxes", "points"):
        case, kind = golden("transformer_boxes"), "bbox" if request.param == "boxes" else "center"
        rows = [row for row in case.case["rows"] if row["kind"].startswith(kind)]
        scenes = []
        for row in rows:
            annotations = [row["annotations"][index] for index in row["order_after_shuffle"]]
            scenes.append(scene_of(annotations, row["crop"], row["flip"]))
        return generator_of(case, CONDITIONS[request.param]), case, {request.param: scenes}, f"_{kind}"
    case = golden(request.param)
    name = "coordinates" if request.param == "transformer_coord" else "map"
    return generator_of(case, CONDITIONS[request.param]), case, {name: case.tensors["cond"]}, ""


def in_rows(generator: Pipeline, codes: torch.Tensor) -> torch.Tensor:
    """Codes in the prior's order -> (b h w)."""
    return codes[:, inverse(generator.order)].view(-1, 8, 8)


def test_tokens(model):
    generator, case, told, end = model
    (value,) = told.values()
    expected = case.tensors[f"c_indices{end}"]
    prompt = generator.condition.context(value, num=len(expected), grid=(8, 8), device=CPU)
    assert prompt.window(0, 0, 8, 8).equal(expected)


def test_scores(model):
    generator, case, told, end = model
    codes = in_rows(generator, case.tensors[f"z_indices{end}"])
    assert generator.tokenizer.encode(case.tensors["image"]).equal(codes)
    case.close(generator.logits(codes, **told), f"logits{end}")
    case.close(torch.tensor(generator.nats_per_token(case.tensors["image"], **told)), f"loss{end}")


def test_greedy(model):
    generator, case, told, end = model
    codes = generator.sample(num=len(case.tensors["image"]), **GREEDY, **told).codes
    assert codes.flatten(1)[:, generator.order].equal(case.tensors[f"greedy_codes{end}"])
    case.close(generator.tokenizer.decode(codes), f"greedy_image{end}")


def test_greedy_without_cache(model):
    """Everything fed anew for every code."""
    generator, case, told, end = model
    (value,) = told.values()
    prompt = generator.condition.context(value, num=len(case.tensors["image"]), grid=(8, 8), device=CPU)
    prefix = prompt.window(0, 0, 8, 8)
    prior = generator.prior.eval()
    codes = prefix[:, :0]
    with torch.no_grad():
        for _ in range(64):
            codes = torch.cat((codes, prior.prefill(codes, prefix).argmax(-1, keepdim=True)), 1)
    assert codes.equal(case.tensors[f"greedy_codes{end}"])


def test_greedy_completion(model):
    """The first half in the prior's order is known, wherever on the canvas it lies."""
    generator, case, told, end = model
    (value,) = told.values()
    codes = in_rows(generator, case.tensors[f"z_indices{end}"])
    canvas = canvas_of(generator.eval(), codes)
    canvas.known.view(-1)[generator.order[:32]] = True
    canvas.codes[:, canvas.known] = codes[:, canvas.known]
    prompt = generator.condition.context(value, num=len(codes), grid=(8, 8), device=CPU)
    with torch.no_grad():
        drawn = draw(drawing(generator.prior, prompt, limit=64), canvas)
    assert drawn.flatten(1)[:, generator.order].equal(case.tensors[f"greedy_codes_from_half{end}"])


@pytest.mark.parametrize("model", [name for name in CONDITIONS if name not in OTHER_ORDERS], indirect=True)
def test_greedy_completion_of_images(model):
    """Row by row the first half is the upper one."""
    generator, case, told, end = model
    ((name, value),) = told.items()
    for row, image in enumerate(case.tensors["image"]):
        one = value[row : row + 1]
        codes = generator.complete(image, keep=0.5, **GREEDY, **{name: one}).codes
        assert codes.flatten().equal(case.tensors[f"greedy_codes_from_half{end}"][row])


def test_coordinates_are_decoded(golden):
    case = golden("transformer_coord")
    generator = generator_of(case, CONDITIONS["transformer_coord"])
    decoded = generator.condition.decode(case.tensors["c_indices"].view(2, 8, 8))
    case.close(decoded, "coord_decoded")


def test_coordinates_follow_from_size_and_part(golden):
    """Row 0 is a whole image of 16 x 16, row 1 the part at (12, 20) of one of 32 x 40."""
    case = golden("transformer_coord")
    condition = generator_of(case, CONDITIONS["transformer_coord"]).condition
    batch = Batch(images=case.tensors["image"], parts=(Part(0, 0, 16, 16), Part(12, 20, 32, 40)))
    prompt = condition.encode(condition.from_batch(batch), num=2, grid=(8, 8), device=CPU)
    assert prompt.window(0, 0, 8, 8).equal(case.tensors["c_indices"])
    whole = condition.context(None, num=1, grid=(8, 8), device=CPU)
    assert whole.window(0, 0, 8, 8).equal(case.tensors["c_indices"][:1])


def canvas_of(generator: Pipeline, codes: torch.Tensor) -> Canvas:
    grid = tuple(codes.shape[1:])
    return Canvas(
        codes=torch.zeros_like(codes),
        known=torch.zeros(grid, dtype=torch.bool),
        seeds=torch.zeros(len(codes), dtype=torch.int64),
        window=generator.settings.grid,
        order=generator.order,
        shift=generator.condition.shift,
        choice=Choice(top_k=1),
    )


def published_size(case) -> Pipeline:
    """The transformer whose weights a recipe gives: windows of 16 x 16 cells."""
    shapes = {f"ln_f.{end}": (64,) for end in ("weight", "bias")}
    shapes |= {"tok_emb.weight": (64, 64), "pos_emb": (1, 512, 64), "head.weight": (64, 64)}
    parts = {f"attn.{part}": (64, 64) for part in ("key", "query", "value", "proj")}
    parts |= {"ln1": (64,), "ln2": (64,), "mlp.0": (256, 64), "mlp.2": (64, 256)}
    for name, size in parts.items():
        shapes |= {f"blocks.0.{name}.weight": size, f"blocks.0.{name}.bias": size[:1]}
    state = {name: drawn(name, shape) for name, shape in shapes.items()}
    return generator_of(case, CONDITIONS["transformer_coord"], side=16, state=state)


def drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    seed = zlib.crc32(f"3016:{name}".encode())
    r = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if name in ("tok_emb.weight", "pos_emb"):
        return 0.03 * r
    if "ln" in name:
        return 1 + 0.3 * r if name.endswith("weight") else 0.2 * r
    if name.endswith("bias"):
        return 0.15 * r
    gain = 1.6 if "query" in name or "key" in name else 4.0 if "head" in name else 1.2
    return r * gain / shape[1] ** 0.5


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("depth", "transformer_depth"),
        ("depth_exact_window", "transformer_depth"),
        ("coord", "transformer_coord"),
        ("coord_window16", "transformer_coord"),
    ],
)
def test_larger_canvases_with_a_map(golden, name, source):
    case = golden("sliding_window")
    given = case.tensors.get(f"{name}.depth")
    if name == "coord_window16":
        generator = published_size(golden(source))
    else:
        generator = generator_of(golden(source), CONDITIONS[source])
    codes = case.tensors[f"{name}.codes"]
    _, height, width = codes.shape
    factor, side = generator.tokenizer.factor, generator.settings.grid[0]
    told = {} if given is None else {"map": given}
    assert generator.sample(size=(height * factor, width * factor), **GREEDY, **told).codes.equal(codes)
    case.close(generator.tokenizer.decode(codes), f"{name}.image")
    for row, column, top, left, inner_row, inner_column in case.tensors[f"{name}.trace"].tolist():
        cell = locate(row, column, (height, width), (side, side))
        assert (cell.top, cell.left, cell.place) == (top, left, inner_row * side + inner_column)
    canvas, value = canvas_of(generator.eval(), codes), next(iter(told.values()), None)
    prompt = generator.condition.context(value, num=1, grid=(height, width), device=CPU)
    if name != "coord_window16":  # cell by cell: minutes
        with torch.no_grad():
            scorer = drawing(generator.prior, prompt, limit=64)
            assert cell_by_cell(scorer, canvas).equal(codes)


def test_given_coordinates_are_those_of_the_size(golden):
    case = golden("sliding_window")
    generator = generator_of(golden("transformer_coord"), CONDITIONS["transformer_coord"])
    prompts = [
        generator.condition.context(value, num=1, grid=(14, 13), device=CPU)
        for value in (None, case.tensors["coord.coord"])
    ]
    assert prompts[0].tokens.equal(prompts[1].tokens)


@dataclass
class Shuffled:
    """The 2021 sampler of scenes: things are shuffled anew, by Python's random, for every cell."""

    condition: BoxesCondition | PointsCondition
    annotations: list[dict]
    grid: tuple[int, int]
    chance: random.Random
    seen: list

    def window(self, top: int, left: int, height: int, width: int) -> torch.Tensor:
        self.chance.shuffle(self.annotations)
        scene = scene_of(self.annotations)
        prompt = self.condition.context(scene, num=1, grid=self.grid, device=CPU)
        self.seen.append(prompt.window(top, left, height, width))
        return self.seen[-1]

    def take(self, rows: torch.Tensor) -> "Shuffled":
        """Not asked for: there is one canvas, whose windows hang on those before."""
        raise AssertionError("one canvas was asked for")


@pytest.mark.parametrize("name", ["scene_bbox", "scene_center"])
def test_larger_canvases_with_scenes(golden, name):
    case = golden("sliding_window")
    metadata, codes = case.case["variants"][name], case.tensors[f"{name}.codes"]
    generator = generator_of(golden("transformer_boxes"), CONDITIONS[KINDS[metadata["kind"]]]).eval()
    chance = random.Random(metadata["python_random_seed"])
    grid = tuple(metadata["canvas_cells"])
    prompt = Shuffled(generator.condition, list(metadata["annotations"]), grid, chance, [])
    with torch.no_grad():
        drawn = cell_by_cell(drawing(generator.prior, prompt, limit=64), canvas_of(generator, codes))
    assert torch.cat(prompt.seen).equal(case.tensors[f"{name}.conditioning_tokens"])
    assert drawn.equal(codes)
    case.close(generator.tokenizer.decode(codes), f"{name}.image")


def test_a_scene_as_large_as_the_window(golden):
    case = golden("sliding_window")
    metadata = case.case["variants"]["scene_bbox_no_window"]
    annotations = list(metadata["annotations"])
    random.Random(metadata["python_random_seed"]).shuffle(annotations)
    told = [(*thing,) for thing in scene_of(annotations).objects]
    generator = generator_of(golden("transformer_boxes"), CONDITIONS["boxes"])
    codes = generator.sample(**GREEDY, boxes=told).codes
    assert codes.equal(case.tensors["scene_bbox_no_window.codes"])
    prefix = generator.condition.context(told, num=1, grid=(8, 8), device=CPU).window(0, 0, 8, 8)
    assert prefix.equal(case.tensors["scene_bbox_no_window.conditioning_tokens"])


@pytest.mark.parametrize("name", ["scene_bbox", "scene_center"])
def test_scenes_cell_by_cell_and_in_wavefronts(golden, name):
    """With things in one order, which the 2021 code does not have."""
    case = golden("sliding_window")
    metadata = case.case["variants"][name]
    argument = KINDS[metadata["kind"]]
    generator = generator_of(golden("transformer_boxes"), CONDITIONS[argument]).eval()
    grid = tuple(metadata["canvas_cells"])
    told = scene_of(metadata["annotations"])
    drawn = generator.sample(size=grid, **GREEDY, **{argument: told}).codes
    prompt = generator.condition.context(told, num=1, grid=grid, device=CPU)
    scorer = drawing(generator.prior, prompt, limit=64)
    canvas = canvas_of(generator, case.tensors[f"{name}.codes"])
    with torch.no_grad():
        assert draw(scorer, canvas).equal(drawn)
        assert cell_by_cell(scorer, canvas).equal(drawn)
