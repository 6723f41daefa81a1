"""`smalti import` of every checkpoint of the 2021 code: model folders with its numbers, and the way back.

What the models then give is compared in the other files of this folder, which read them in the same way.
"""

import pytest
import torch

import smalti
from smalti.errors import UserError
from smalti.formats import exporting, importing, unpickle
from smalti.formats.compvis import member as compvis
from smalti.formats.protocol import Wanted
from smalti.formats.source import open_source
from smalti.pipeline import Pipeline

TOKENIZERS = [
    "vqgan",
    "vqgan_attn_each_level",
    "vqgan_remap",
    "gumbel",
    "ema",
    "vq_segmentation",
    "ldm_vq_f4",
    "ldm_vq_noattn",
    "ldm_kl",
]
PRIORS = ["unconditional", "class", "depth", "shared_stage", "coord", "boxes"]
MODELS = [*TOKENIZERS, *(f"transformer_{name}" for name in PRIORS)]
CODES = {"gumbel": "codes_argmax_of_logits"}
VARIANTS = [
    "bare_state_dict.pth",
    "callback_instance.ckpt",
    "half_precision.ckpt",
    "legacy_not_zip.ckpt",
    "lightning_1_0_8.ckpt",
    "must_be_refused_or_left_uncalled.ckpt",
    "numpy_scalars.ckpt",
    "omegaconf_hyper_parameters.ckpt",
    "saved_on_gpu.ckpt",
    "state_dict_only.ckpt",
    "torch_1_7_layout.ckpt",
]


@pytest.fixture
def folder(request, golden, tmp_path):
    """A case and the model folder that was made of it."""
    case = golden(request.param)
    importing.convert(case.folder, tmp_path / "model")
    return case, tmp_path / "model"


def same(a, b) -> None:
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("folder", MODELS, indirect=True)
def test_there_and_back(folder, tmp_path):
    case, path = folder
    model = smalti.load(path)
    same(model, case.imported().model)
    exporting.convert(path, tmp_path / "back", "compvis")
    again = compvis.read(open_source(tmp_path / "back"), Wanted())
    assert again.model.settings == model.settings
    same(again.model, model)
    theirs = {name: t for name, t in case.state_dict().items() if not name.startswith("loss.perceptual")}
    ours = open_source(tmp_path / "back").tensors
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name != "colorize")


@pytest.mark.parametrize("folder", [name for name in TOKENIZERS if "kl" not in name], indirect=True)
@pytest.mark.parametrize("suffix", ["", "_rect"], ids=["square", "not_square"])
def test_codes(folder, suffix):
    case, path = folder
    model, name = smalti.load(path), CODES.get(case.folder.name, "codes") + suffix
    if case.folder.name == "vqgan_remap":  # their numbers for codes that are not used are random
        known = case.tensors["unknown" + suffix] == 0
        codes = model.encode(case.tensors["image" + suffix])
        assert torch.equal(codes[known], case.tensors["codes_random" + suffix][known])
        return
    assert torch.equal(model.encode(case.tensors["image" + suffix]), case.tensors[name])


@pytest.mark.parametrize("name", ["ldm_vq_f4", "ldm_vq_noattn"])
def test_latent_diffusion(golden, name):
    """VQModelInterface: latents before quantisation; its decoder quantizes first."""
    case = golden(name)
    model = case.imported().model
    with torch.no_grad():
        latents = model.latents(case.tensors["image"])
        case.close(latents, "interface.encode")
        case.close(model.decode_latents(model.quantize(latents).latents), "interface.decode")


def test_a_model_without_discriminator_class(golden):
    """VQNoDiscModel has no checkpoint of its own: it uses that of another case."""
    case, other = golden("vq_nodisc"), golden("vqgan_attn_each_level")
    (project,) = (case.folder / "configs").glob("*")
    model = compvis.read(open_source(other.folder, project), Wanted()).model
    assert torch.equal(model.encode(case.tensors["image"]), case.tensors["codes"])
    case.close(model.reconstruct(case.tensors["image"]), "reconstruction_from_codes")


@pytest.mark.parametrize("name", MODELS)
def test_without_yaml(golden, name, tmp_path):
    case = golden(name)
    path = tmp_path / "alone.ckpt"
    path.symlink_to(case.folder / "checkpoints" / "last.ckpt")
    expected = case.imported().model
    if not isinstance(expected, Pipeline):
        found = compvis.read(open_source(path), Wanted()).model
        assert found.settings.network == expected.settings.network
        assert found.settings.content == expected.settings.content
        same(found, expected)
        return
    with pytest.raises(UserError, match="--num-heads"):
        compvis.read(open_source(path), Wanted())
    if name == "transformer_boxes":  # what stands before the codes no shape tells
        with pytest.raises(UserError, match="--config"):
            compvis.read(open_source(path), Wanted(num_heads=4))
        return
    found = compvis.read(open_source(path), Wanted(num_heads=4)).model
    assert found.settings.grid == expected.settings.grid
    assert found.order.equal(expected.order)
    same(found, expected)


@pytest.mark.parametrize("part", ["first_stage", "cond_stage"])
def test_parts(golden, part):
    case = golden("transformer_depth")
    whole = case.imported().model
    same(
        case.imported(part=part).model,
        whole.tokenizer if part == "first_stage" else whole.condition.own,
    )


@pytest.mark.parametrize("name", MODELS)
def test_told_in_a_line(golden, name):
    line = importing.describe(golden(name).folder)
    assert "\n" not in line
    assert "CompVis" in line
    assert name == "ldm_kl" or "codes" in line


@pytest.mark.parametrize("name", VARIANTS)
def test_file_variants(golden, name):
    case = golden("checkpoint_formats")
    found = unpickle.read(case.folder / name)
    found = found.get("state_dict", found)
    assert found.keys() == case.tensors.keys()
    for key, tensor in found.items():
        expected = case.tensors[key]
        assert torch.equal(tensor, expected.half() if tensor.dtype == torch.float16 else expected)
        assert tensor.dtype == expected.dtype or name == "half_precision.ckpt"
        assert tensor.device.type == "cpu"


def test_every_case_is_read(golden):
    root = golden("vqgan").folder.parent
    assert {path.parent.name for path in root.glob("*/checkpoints")} == set(MODELS)
    files = {
        path.name for path in (root / "checkpoint_formats").iterdir() if path.suffix in (".ckpt", ".pth")
    }
    assert files == set(VARIANTS)
