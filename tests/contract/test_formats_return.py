"""What is exported runs in the code that it is for, and comes back by import as the model that it was."""

import json
import logging.handlers

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file

import smalti
from smalti import library
from smalti.cli.main import group
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings
from smalti.errors import UserError
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.quantizers.ema import EmaSettings
from smalti.quantizers.gaussian import GaussianSettings
from smalti.quantizers.gumbel import GumbelSettings, TemperatureSettings
from smalti.quantizers.remap import RemappedSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.reading.labels import LabelReading
from smalti.reading.pixels import PixelReading
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

GRID = (2, 3)  # cells of a training crop
VQ = VectorQuantizerSettings(codebook_size=8)
REMAPPED = RemappedSettings(inner=VQ, used=5)
GUMBEL = GumbelSettings(
    codebook_size=8, kl=1e-3, straight_through=False, temperature=TemperatureSettings(high=0.9, until=7)
)
# none as its format would give it
QUANTIZERS = {
    "vq": VQ,
    "weights of the loss": VectorQuantizerSettings(codebook_size=8, commitment=0.7, codebook=0.6),
    "k-means and revival": VectorQuantizerSettings(
        codebook_size=8, kmeans_start=True, revive_below=0.3, usage_decay=0.9
    ),
    "gumbel": GUMBEL,
    "ema": EmaSettings(codebook_size=8, decay=0.9, epsilon=1e-4, commitment=0.5, revive_below=0.1),
    "remapped": RemappedSettings(
        inner=VectorQuantizerSettings(codebook_size=8, commitment=0.7, revive_below=0.2), used=5
    ),
    "gaussian": GaussianSettings(kl=1e-4),
}
HELD = {
    "compvis": list(QUANTIZERS),
    "diffusers": ["vq", "weights of the loss", "k-means and revival", "gaussian"],
}
TAKES = {  # more arguments of the 2021 code's constructors; the first one's has a first argument of its own
    "VQSegmentationModel": {"n_labels", "remap", "sane_index_shape"},
    "VQModel": {"remap", "sane_index_shape"},
    "GumbelVQ": {"remap", "temperature_scheduler_config", "kl_weight"},
}
TAKES_ALL = {"ddconfig", "lossconfig", "n_embed", "embed_dim", "image_key", "colorize_nlabels", "monitor"}


def tokenizer(quantizer=VQ, channels: int = 3, seed: int = 0, **more) -> Tokenizer:
    torch.manual_seed(seed)
    network = NetworkSettings(
        in_channels=channels, out_channels=channels, width=32, multipliers=(1, 1), blocks=1,
        attention_levels=(), latent_channels=4, code_dim=4, dropout=0.1,
    )  # fmt: skip
    made = Tokenizer(TokenizerSettings(network=network, quantizer=quantizer, **more)).eval()
    for name, buffer in made.named_buffers():
        if name.endswith("usage"):
            buffer.copy_(torch.rand(buffer.shape))
        if name.endswith("quantizer.used"):
            buffer.copy_(torch.randperm(8)[: len(buffer)])
    return made


def generator(condition, tokens=None, maps=None) -> Pipeline:
    prior = GPTSettings(layers=1, heads=2, width=8, unmasked=1)  # sizes of tables left to the model
    how = PipelineSettings(prior=prior, condition=condition, grid=GRID)
    return Pipeline(how, tokens or tokenizer(), maps).eval()


def run(*words):
    result = CliRunner().invoke(group, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def exported(model, folder, name="compvis"):
    smalti.save(model, folder / "model")
    run("export", folder / "model", folder / "there", "--format", name)
    return folder / "there"


def fingerprint(folder):
    return library.read_config(folder)["fingerprint"]


def indices_of_2021(stage, batch, height, width):
    """A stage's indices as the 2021 code shapes them; TypeError for an argument that its class lacks."""
    kind, said = stage["target"].rsplit(".", 1)[-1], stage["params"]
    unknown = said.keys() - TAKES_ALL - TAKES[kind]
    if unknown:
        raise TypeError(f"{kind} got an unexpected argument {unknown}")
    indices = torch.zeros(batch * height * width, dtype=torch.int64)
    if kind == "GumbelVQ" or said.get("sane_index_shape"):
        return indices.view(batch, height, width)
    return indices[:, None] if "remap" in said else indices


def sequence_of_2021(params, batch=2):
    """Condition and codes of a batch side by side, as encode_to_c, encode_to_z and forward lay them."""
    first, stage = params["first_stage_config"], params["cond_stage_config"]
    condition = indices_of_2021(first if stage == "__is_first_stage__" else stage, batch, *GRID)
    if condition.dim() > 2:
        condition = condition.view(batch, -1)
    codes = indices_of_2021(first, batch, *GRID).view(batch, -1)
    return torch.cat((condition, codes), dim=1)


@pytest.mark.parametrize("quantizer", [VQ, REMAPPED, GUMBEL], ids=["vq", "remapped", "gumbel"])
@pytest.mark.parametrize("maps", ["depth", "segmentation", "shared"])
def test_a_prior_of_maps_runs_in_the_2021_code(maps, quantizer, tmp_path):
    """7: codes of maps as a grid, which their code can lay before the image's."""
    if maps == "shared":
        model = generator(MapSettings(shared=True), tokenizer(quantizer))
    else:
        content = "segmentation" if maps == "segmentation" else "image"
        stage = tokenizer(quantizer, 7 if maps == "segmentation" else 1, seed=1, content=content)
        model = generator(MapSettings(), maps=stage)
    there = exported(model, tmp_path)
    (project,) = (there / "configs").glob("*")
    params = yaml.safe_load(project.read_text())["model"]["params"]
    assert sequence_of_2021(params).shape == (2, 2 * GRID[0] * GRID[1])
    if (maps, quantizer) != ("depth", VQ):
        return
    run("import", there, tmp_path / "again")
    run("export", tmp_path / "again", tmp_path / "there_again", "--format", "compvis")
    (again,) = (tmp_path / "there_again" / "configs").glob("*")
    assert again.read_text() == project.read_text()


def test_the_reference_fails_as_the_2021_code_does():
    stage = {"target": "taming.models.vqgan.VQModel", "params": {}}
    with pytest.raises(IndexError):
        sequence_of_2021({"first_stage_config": stage, "cond_stage_config": stage})


@pytest.mark.parametrize("quantizer", [VQ, GUMBEL], ids=["VQSegmentationModel", "GumbelVQ"])
def test_the_colours_of_segmentations_are_written(quantizer, tmp_path):
    """7: their classes have a buffer (3, labels, 1, 1), and their scripts load strictly."""
    maps = tokenizer(quantizer, 7, seed=1, content="segmentation")
    alone, within = tmp_path / "alone", tmp_path / "within"
    state = torch.load(exported(maps, alone) / "checkpoints" / "last.ckpt")["state_dict"]
    assert state["colorize"].shape == (3, 7, 1, 1)
    there = exported(generator(MapSettings(), maps=maps), within)
    state = torch.load(there / "checkpoints" / "last.ckpt")["state_dict"]
    assert state["cond_stage_model.colorize"].std() > 0.5
    assert "first_stage_model.colorize" not in state
    indices_of_2021(
        yaml.safe_load(next((alone / "there" / "configs").glob("*")).read_text())["model"], 1, 1, 1
    )


def test_each_remapped_stage_finds_its_own_table(tmp_path):
    tokens = tokenizer(REMAPPED)
    maps = tokenizer(RemappedSettings(inner=VQ, used=3), 1, seed=1)
    there = exported(generator(MapSettings(), tokens, maps), tmp_path)
    (project,) = (there / "configs").glob("*")
    params = yaml.safe_load(project.read_text())["model"]["params"]
    for stage, part in (("first_stage", tokens), ("cond_stage", maps)):
        table = np.load(there / params[f"{stage}_config"]["params"]["remap"])
        assert table.tolist() == part.quantizer.used.tolist()


@pytest.mark.parametrize(
    ("name", "quantizer"), [(name, kind) for name, kinds in HELD.items() for kind in kinds]
)
def test_a_tokenizer_comes_back_with_its_fingerprint(name, quantizer, tmp_path):
    """7: whatever the format has no word for, by the user's commands."""
    pixels = PixelReading(range=(-1024.0, 3071.0), bands=(2, 0, 1))
    model = tokenizer(QUANTIZERS[quantizer], pixels=pixels)
    there = exported(model, tmp_path, name)
    run("import", there, tmp_path / "back")
    assert fingerprint(tmp_path / "back") == fingerprint(tmp_path / "model")
    assert smalti.load(tmp_path / "back").settings == model.settings


@pytest.mark.parametrize(
    "condition",
    [
        LabelSettings(classes=2, names=("brick", "moon")),
        BoxesSettings(no_tokens=64, classes=3, names=("a", "b", "c"), max_objects=2, flags=("occluded",)),
        MapSettings(),
    ],
    ids=lambda condition: condition.kind,
)
def test_a_generator_comes_back_with_its_fingerprint(condition, tmp_path):
    labels = LabelReading(merge={255: 0, 7: 3}, shift=True)
    maps = None
    if condition.kind == "map":
        maps = tokenizer(QUANTIZERS["k-means and revival"], 7, 1, content="segmentation", labels=labels)
    model = generator(condition, tokenizer(QUANTIZERS["k-means and revival"]), maps)
    there = exported(model, tmp_path)
    run("import", there, tmp_path / "back")
    assert fingerprint(tmp_path / "back") == fingerprint(tmp_path / "model")
    part = "cond_stage" if maps else "first_stage"
    run("import", there, tmp_path / "part", "--part", part)
    own = tmp_path / "model" / ("condition" if maps else "tokenizer")
    assert fingerprint(tmp_path / "part") == fingerprint(own)
    if not maps:  # its weights by themselves, with the yaml of the whole
        contents, start = torch.load(there / "checkpoints" / "last.ckpt"), "first_stage_model."
        state = {n.removeprefix(start): t for n, t in contents["state_dict"].items() if n.startswith(start)}
        torch.save(contents | {"state_dict": state}, there / "checkpoints" / "last.ckpt")
        run("import", there, tmp_path / "alone")
        assert fingerprint(tmp_path / "alone") == fingerprint(own)


def test_a_map_of_things_is_refused(tmp_path):
    how = {"classes": 3, "layout": "map", "encode_crop": False}
    smalti.save(generator(BoxesSettings(**how), tokenizer()), tmp_path / "model")
    words = ["export", str(tmp_path / "model"), str(tmp_path / "out"), "--format", "compvis"]
    result = CliRunner().invoke(group, words)
    assert isinstance(result.exception, UserError)
    assert "things in a list, got layout=map; keep the model folder" in str(result.exception)


def test_diffusers_loads_what_carries_more_than_it_knows(tmp_path):
    import diffusers

    there = exported(tokenizer(QUANTIZERS["k-means and revival"]), tmp_path, "diffusers")
    said = logging.handlers.BufferingHandler(1000)
    diffusers.utils.logging.add_handler(said)
    _, report = diffusers.VQModel.from_pretrained(there, output_loading_info=True)
    diffusers.utils.logging.remove_handler(said)
    assert not any(report.values()), report
    assert not [line for line in said.buffer if "accelerate" not in line.getMessage()]
    assert load_file(there / "smalti.safetensors").keys() == {"quantizer.usage"}


def test_what_was_lost_on_the_way_counts_as_new(tmp_path):
    """Whoever saves the weights anew, as diffusers does, keeps the config and not our file."""
    there = exported(tokenizer(QUANTIZERS["k-means and revival"]), tmp_path, "diffusers")
    (there / "smalti.safetensors").unlink()
    run("import", there, tmp_path / "back")
    assert smalti.load(tmp_path / "back").quantizer.usage.tolist() == [1.0] * 8


@pytest.mark.parametrize("name", HELD)
def test_two_models_in_one_file(name, tmp_path):
    there = exported(tokenizer(), tmp_path, name)
    if name == "diffusers":
        metadata = json.loads((there / "config.json").read_text())
        metadata["_smalti"]["settings"]["network"]["blocks"] = 2
        (there / "config.json").write_text(json.dumps(metadata))
    else:
        (project,) = (there / "configs").glob("*")
        metadata = yaml.safe_load(project.read_text())
        metadata["smalti"]["settings"][""]["network"]["blocks"] = 2
        project.write_text(yaml.safe_dump(metadata))
    with pytest.raises(UserError, match="section smalti"):
        run("import", there, tmp_path / "back")
