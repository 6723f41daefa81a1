"""The node pack for ComfyUI, run as ComfyUI would: by a stand-in that keeps to its V3 API."""

import tomllib
from pathlib import Path

import comfyui
import pytest
import torch
from PIL import Image
from tiny import generator, of_images

import smalti
from smalti import shipped
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.computed.edges import EdgesSettings
from smalti.conditions.computed.low_resolution import LowResolutionSettings
from smalti.conditions.computed.silhouette import SilhouetteSettings

PACK = Path(__file__).parents[2] / "integrations" / "comfyui"
DRAWN = {"seed": 5, "num": 2, "guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


@pytest.fixture(scope="module")
def ui(tmp_path_factory):
    """A ComfyUI with models that are told labels, edges, small images and boxes, a tokenizer and a trap."""
    models = tmp_path_factory.mktemp("models")
    smalti.save(generator(), models / "smalti" / "labels")
    smalti.save(generator().tokenizer, models / "smalti" / "tokenizer")
    smalti.save(of_images(EdgesSettings(sigma=1.0)), models / "smalti" / "edges")
    smalti.save(of_images(LowResolutionSettings(factor=4)), models / "smalti" / "small")
    smalti.save(
        generator(condition=BoxesSettings(classes=2, names=("cat", "dog"), dropout=0.1)),
        models / "smalti" / "boxes",
    )
    smalti.save(of_images(SilhouetteSettings()), models / "smalti" / "shapes")
    (models / "smalti" / "no model").mkdir()
    with comfyui.started(PACK, models) as found:
        yield found


def loaded(name: str) -> tuple[str, dict]:
    return "SmaltiLoad", {"name": name, "precision": "fp32"}


def noise(height: int, width: int, count: int = 1) -> torch.Tensor:
    source = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, height, width, 3), generator=source)
    return pixels / 255


def eight_bit(images: torch.Tensor) -> torch.Tensor:
    """What ComfyUI's own nodes write into files: it cuts, and does not round."""
    return (255.0 * images).clamp(0, 255).to(torch.uint8)


def test_models_are_those_that_ship_and_those_in_its_folder(ui):
    names = ui.nodes["SmaltiLoad"].GET_SCHEMA().inputs[0].given["options"]
    assert names == sorted([*shipped.models(), "boxes", "edges", "labels", "shapes", "small", "tokenizer"])
    told = ui.run({"model": loaded("labels")})["model"][1]
    assert "brick, grass, moon" in told
    print = ui.nodes["SmaltiLoad"].fingerprint_inputs(name="labels", precision="fp32")
    assert print == smalti.load(ui.models / "smalti" / "labels").fingerprint


def test_drawn_images_have_the_pixels_that_smalti_saves(ui):
    asked = {"text": "moon", "width": 12, "height": 8, **DRAWN, "top_k": 5, "guidance": 1.5}
    asked["more"] = "micro_batch=1"
    done = ui.run({"model": loaded("labels"), "drawn": ("SmaltiSample", {"model": ["model", 0], **asked})})
    images, codes = done["drawn"]
    model = smalti.load(ui.models / "smalti" / "labels")
    ours = model.sample(2, (8, 12), 5, label="moon", top_k=5, guidance_scale=1.5, micro_batch=1)
    assert images.shape == (2, 8, 12, 3)
    assert codes["codes"].equal(ours.codes)
    for image, one in zip(images, ours, strict=True):
        assert eight_bit(image).numpy().tobytes() == one.tobytes()


def test_progress_is_told_and_batches_are_shown(ui):
    ui.told.clear()
    asked = {"text": '["moon", "brick"]', "width": 0, "height": 0, **DRAWN, "more": "micro_batch=1"}
    ui.run({"model": loaded("labels"), "drawn": ("SmaltiSample", {"model": ["model", 0], **asked})})
    assert {total for _, total, _ in ui.told} == {2 * 16}
    assert ui.told[-1][0] == 32
    shown = [preview for _, _, preview in ui.told if preview]
    assert [(kind, image.size) for kind, image, _ in shown] == [("JPEG", (8, 8))] * 2


def test_its_user_can_stop(ui):
    cells = iter(range(8))
    ui.interrupt = lambda: next(cells, None) is None
    asked = {"text": "moon", "width": 0, "height": 0, **DRAWN}
    workflow = {"model": loaded("labels"), "drawn": ("SmaltiSample", {"model": ["model", 0], **asked})}
    try:
        with pytest.raises(comfyui.Interrupted):
            ui.run(workflow)
    finally:
        ui.interrupt = lambda: False
    assert len(ui.run(workflow)["drawn"][0]) == 2


def test_a_masked_part_is_drawn_anew(ui):
    mask = torch.zeros(1, 16, 24)
    mask[:, 3:9, 4:13] = 1
    image = noise(8, 12, count=2)
    ui.nodes["Given"] = given(image=image, mask=mask)
    done = ui.run(
        {
            "model": loaded("labels"),
            "given": ("Given", {}),
            "codes": ("SmaltiEncode", {"model": ["model", 0], "image": ["given", 0]}),
            "done": (
                "SmaltiComplete",
                {"model": ["model", 0], "image": ["given", 0], "mask": ["given", 1], "text": "moon", **DRAWN},
            ),
        }
    )
    images, found = done["done"]
    before, after = done["codes"][0]["codes"], found["codes"]
    assert images.shape == (4, 8, 12, 3)
    anew = torch.zeros(4, 6, dtype=torch.bool)
    anew[0:3, 1:4] = True  # the mask is of twice the size: pixels 1.5 to 4.5 and 2 to 6.5
    changed = (after != before.repeat_interleave(2, 0)).any(0)
    assert not changed[~anew].any()
    assert changed[anew].any()
    model = smalti.load(ui.models / "smalti" / "labels")
    ours = model.complete(image[1].mul(2).sub(1).permute(2, 0, 1), anew, num=2, seed=7, label="moon")
    assert after[2:].equal(ours.codes)


def given(**values: torch.Tensor) -> type:
    """A node without inputs that gives these: LoadImage, say."""

    class Given(comfyui.ComfyNode):
        @classmethod
        def define_schema(cls):
            kinds = {"image": "IMAGE", "mask": "MASK", "codes": "SMALTI_CODES"}
            outputs = [comfyui._type(kinds[name.rstrip("2")], None).Output() for name in values]
            return comfyui.Schema(node_id="Given", outputs=outputs)

        @classmethod
        def execute(cls):
            return comfyui.NodeOutput(*values.values())

    return Given


def test_codes_are_mixed_and_decoded(ui):
    mask = torch.zeros(1, 64, 64)  # as LoadImage gives it beside an image without transparency
    mask[:, :, 32:] = 1
    ui.nodes["Given"] = given(image=noise(8, 12), image2=1 - noise(8, 12, count=3), mask=mask)
    model = ["model", 0]
    done = ui.run(
        {
            "model": loaded("tokenizer"),
            "given": ("Given", {}),
            "one": ("SmaltiEncode", {"model": model, "image": ["given", 0]}),
            "two": ("SmaltiEncode", {"model": model, "image": ["given", 1]}),
            "mixed": ("SmaltiMix", {"first": ["one", 0], "second": ["two", 0], "mask": ["given", 2]}),
            "images": ("SmaltiDecode", {"model": model, "codes": ["mixed", 0]}),
            "rebuilt": ("SmaltiReconstruct", {"model": model, "image": ["given", 0]}),
            "again": ("SmaltiDecode", {"model": model, "codes": ["one", 0]}),
        }
    )
    one, two, mixed = (done[name][0]["codes"] for name in ("one", "two", "mixed"))
    assert mixed[..., :3].equal(one[..., :3].expand(3, -1, -1))
    assert mixed[..., 3:].equal(two[..., 3:])
    assert not one.equal(two[:1])
    assert done["images"][0].shape == (3, 8, 12, 3)
    assert done["rebuilt"][0].equal(done["again"][0])


def test_a_map_is_told(ui):
    ui.nodes["Given"] = given(image=noise(8, 12))
    found = {}
    for keyword in ("map", "from_image"):
        told = {"keyword": keyword, "value": "", "image": ["given", 0]}
        asked = {"text": "", "width": 12, "height": 8, **DRAWN, "condition": ["told", 0]}
        done = ui.run(
            {
                "model": loaded("edges"),
                "given": ("Given", {}),
                "told": ("SmaltiCondition", told),
                "drawn": ("SmaltiSample", {"model": ["model", 0], **asked}),
            }
        )
        found[keyword] = done["drawn"][1]["codes"]
    model, image = smalti.load(ui.models / "smalti" / "edges"), noise(8, 12)[0].permute(2, 0, 1) * 2 - 1
    ours = model.sample(2, (8, 12), 5, from_image=image).codes
    assert found["from_image"].equal(ours)
    assert not found["map"].equal(ours)


def test_transparency_is_told(ui):
    image = torch.ones(1, 8, 12, 4)
    image[:, :, 6:, 3] = 0
    ui.nodes["Given"] = given(image=image)
    told = {"keyword": "from_image", "value": "", "image": ["given", 0]}
    asked = {"text": "", "width": 12, "height": 8, **DRAWN, "condition": ["told", 0]}
    done = ui.run(
        {
            "model": loaded("shapes"),
            "given": ("Given", {}),
            "told": ("SmaltiCondition", told),
            "drawn": ("SmaltiSample", {"model": ["model", 0], **asked}),
        }
    )
    picture = Image.fromarray(eight_bit(image)[0].numpy())
    ours = smalti.load(ui.models / "smalti" / "shapes").sample(2, (8, 12), 5, from_image=picture)
    assert done["drawn"][1]["codes"].equal(ours.codes)


def test_boxes_are_told_as_json(ui):
    told = {"keyword": "boxes", "value": '[["dog", 0.1, 0.2, 0.5, 0.9]]'}
    asked = {"text": "", "width": 0, "height": 0, **DRAWN, "condition": ["told", 0]}
    done = ui.run(
        {
            "model": loaded("boxes"),
            "told": ("SmaltiCondition", told),
            "drawn": ("SmaltiSample", {"model": ["model", 0], **asked}),
        }
    )
    ours = smalti.load(ui.models / "smalti" / "boxes").sample(2, seed=5, boxes=[["dog", 0.1, 0.2, 0.5, 0.9]])
    assert done["drawn"][1]["codes"].equal(ours.codes)


def test_images_grow(ui):
    ui.nodes["Given"] = given(image=noise(3, 5, count=2))
    asked = {"text": "", **DRAWN}
    done = ui.run(
        {
            "model": loaded("small"),
            "given": ("Given", {}),
            "large": ("SmaltiUpscale", {"model": ["model", 0], "image": ["given", 0], **asked}),
        }
    )
    assert done["large"][0].shape == (4, 12, 20, 3)


@pytest.mark.parametrize(
    ("model", "keyword", "value", "more", "expected"),
    [
        ("edges", "map", "/etc/hostname", "", "an image for map, got '/etc/hostname'"),
        ("edges", "from_image", "/etc/hostname", "", "an image for from_image"),
        ("labels", "image", "/etc/hostname", "", "a condition of this model, which is told label, got image"),
        ("labels", "label", "[moon", "", "JSON, as it begins with a bracket"),
        ("labels", "label", "sun", "", "brick"),
        ("labels", "label", "", "", "a value or an image, got none"),
        ("labels", "label", "moon", "image=/etc/hostname", "got image="),
        ("labels", "label", "moon", "num=3", "got num="),
        ("labels", "label", "moon", "mix='left", "key=value words, got No closing quotation"),
        ("tokenizer", "label", "moon", "", "a model with a prior, got a tokenizer alone"),
    ],
)
def test_mistakes_are_one_line(ui, model, keyword, value, more, expected):
    asked = {"text": "", "width": 0, "height": 0, **DRAWN, "more": more, "condition": ["told", 0]}
    workflow = {
        "model": loaded(model),
        "told": ("SmaltiCondition", {"keyword": keyword, "value": value}),
        "drawn": ("SmaltiSample", {"model": ["model", 0], **asked}),
    }
    with pytest.raises(smalti.UserError) as caught:
        ui.run(workflow)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_thing_is_told_once(ui):
    told = ("SmaltiCondition", {"keyword": "label", "value": "moon"})
    asked = {"text": "brick", "width": 0, "height": 0, **DRAWN, "condition": ["told", 0]}
    workflow = {"model": loaded("labels"), "told": told}
    workflow["drawn"] = "SmaltiSample", {"model": ["model", 0], **asked}
    with pytest.raises(smalti.UserError, match="told: label, got a text beside label"):
        ui.run(workflow)
    twice = {"keyword": "label", "value": "brick", "condition": ["told", 0]}
    with pytest.raises(smalti.UserError, match="label twice"):
        ui.run({"told": told, "again": ("SmaltiCondition", twice)})


def test_codes_of_another_tokenizer_are_refused(ui):
    foreign = {"codes": torch.zeros(1, 4, 4, dtype=torch.int64), "tokenizer": "0" * 16}
    ui.nodes["Given"] = given(codes=foreign)
    workflow = {
        "model": loaded("labels"),
        "given": ("Given", {}),
        "images": ("SmaltiDecode", {"model": ["model", 0], "codes": ["given", 0]}),
    }
    with pytest.raises(smalti.UserError, match="codes of the tokenizer"):
        ui.run(workflow)


def test_what_its_registry_asks_for_is_there():
    """By https://docs.comfy.org/registry/specifications."""
    told = tomllib.loads((PACK / "pyproject.toml").read_text())
    assert told["project"]["name"] == "smalti-nodes"
    assert told["project"]["version"] == smalti.__version__
    assert "Repository" in told["project"]["urls"]
    assert {"PublisherId", "DisplayName"} <= told["tool"]["comfy"].keys()
