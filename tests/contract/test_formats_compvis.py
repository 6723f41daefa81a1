"""Files of the 2021 code: what is read, what is dropped, what is asked for, what is refused."""

import shutil

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import save_file

import smalti
from smalti import library
from smalti.cli.main import group
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings
from smalti.errors import UserError
from smalti.formats import importing
from smalti.formats.compvis import member as compvis
from smalti.formats.protocol import Wanted
from smalti.formats.source import open_source
from smalti.losses.patchgan import PatchGAN, PatchGANSettings
from smalti.orders import ORDERS
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.quantizers.ema import EmaSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

VQ = VectorQuantizerSettings.legacy(codebook_size=8)


def tokenizer(seed: int = 0, quantizer=VQ, **more) -> Tokenizer:
    torch.manual_seed(seed)
    network = {"width": 32, "multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), **more}
    network = NetworkSettings(**network, latent_channels=4, code_dim=4)
    return Tokenizer(TokenizerSettings(network=network, quantizer=quantizer)).eval()


def generator(condition=None, order: str = "row", maps: Tokenizer | None = None, **prior) -> Pipeline:
    condition = condition or LabelSettings(classes=3)
    prior = GPTSettings(layers=1, heads=2, width=8, **{"positions": 4, "vocabulary": 8, **prior})
    settings = PipelineSettings(prior=prior, condition=condition, order=order, grid=(2, 2))
    return Pipeline(settings, tokenizer(), maps).eval()


def discriminator() -> dict[str, torch.Tensor]:
    return PatchGAN(PatchGANSettings(width=4, layers=2)).state_dict()


@pytest.fixture
def written(tmp_path):
    """written(model) -> a run folder of the 2021 code, its yaml or tensors changed by the functions given."""

    def write(model, *, yaml_change=None, change=None, with_discriminator=False):
        folder = tmp_path / "run"
        compvis.write(model, folder, discriminator() if with_discriminator else {})
        (project,) = (folder / "configs").glob("*")
        checkpoint = folder / "checkpoints" / "last.ckpt"
        config = yaml.safe_load(project.read_text())
        config["smalti"].pop("settings")  # which theirs has not
        if yaml_change is not None:
            yaml_change(config)
        project.write_text(yaml.safe_dump(config))
        if change is not None:
            contents = torch.load(checkpoint, weights_only=True)
            contents["state_dict"] = change(contents["state_dict"])
            torch.save(contents, checkpoint)
        return folder

    return write


def alone(folder):
    """The checkpoint without its yaml."""
    target = folder.parent / "model.ckpt"
    (folder / "checkpoints" / "last.ckpt").rename(target)
    return target


def read(path, config=None, **wanted):
    return compvis.read(open_source(path, config), Wanted(**wanted))


def same(a, b) -> None:
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("prefix", ["module.", "model.", "model.module."])
def test_something_before_all_names(written, prefix):
    for model in (tokenizer(), generator()):
        folder = written(model, change=lambda state: {prefix + k: v for k, v in state.items()})
        same(read(folder).model, model)
        shutil.rmtree(folder)


def test_half_precision_becomes_full(written):
    model = tokenizer()
    found = read(written(model, change=lambda state: {k: v.half() for k, v in state.items()})).model
    for mine, given in zip(found.parameters(), model.parameters(), strict=True):
        assert mine.dtype == torch.float32
        assert mine.equal(given.half().float())


def test_what_is_dropped_is_named(written):
    more = {
        "loss.perceptual_loss.net.slice1.0.weight": torch.ones(1),
        "loss.perceptual_loss.lin0.model.1.weight": torch.ones(1),
        "loss.logvar": torch.ones(()),
        "colorize": torch.ones(3, 3, 1, 1),
        "model_ema.decay": torch.ones(()),
        "model_ema.encoderconv_inweight": torch.ones(1),
    }
    model = tokenizer()
    found = read(written(model, change=lambda state: state | more))
    assert len(found.dropped) == 4
    text = " ".join(found.dropped)
    assert all(word in text for word in ("LPIPS", "variance", "colours", "averaged"))
    same(found.model, model)


def test_the_discriminator_is_kept(written, tmp_path):
    folder = written(tokenizer(), with_discriminator=True)
    importing.convert(folder, tmp_path / "model")
    kept = library.load_discriminator(tmp_path / "model")
    assert kept.keys() == discriminator().keys()
    PatchGAN(PatchGANSettings(width=4, layers=2)).load_state_dict(kept)
    result = CliRunner().invoke(
        group, ["export", str(tmp_path / "model"), str(tmp_path / "out"), "--format", "compvis"]
    )
    assert result.exit_code == 0
    again = read(tmp_path / "out").discriminator
    assert all(torch.equal(again[name], kept[name]) for name in kept)


@pytest.mark.parametrize(
    "model",
    [
        tokenizer(),
        tokenizer(attention_levels=(), mid_attention=False),
        tokenizer(attention_levels=(0, 1)),
        tokenizer(resample_with_conv=False),
        tokenizer(in_channels=1, out_channels=1),
        tokenizer(quantizer=EmaSettings(codebook_size=8, first_count=0.0)),
    ],
    ids=["plain", "no attention", "attention", "pooling", "gray", "ema"],
)
def test_a_tokenizer_without_yaml(written, model):
    path = alone(written(model))
    found = read(path)
    assert found.model.settings == model.settings
    assert found.metadata["settings_from"] == "shapes alone"
    same(found.model, model)


def test_earlier_names_of_running_means(written):
    model = tokenizer(quantizer=EmaSettings(codebook_size=8, first_count=0.0))
    names = {f"quantize.embedding.{name}": f"quantize.{name}" for name in ("cluster_size", "embed_avg")}
    found = read(written(model, change=lambda state: {names.get(k, k): v for k, v in state.items()}))
    same(found.model, model)


def test_heads_are_asked_for_by_name(written, tmp_path):
    path = alone(written(generator()))
    result = CliRunner().invoke(group, ["import", str(path), str(tmp_path / "out")])
    assert isinstance(result.exception, UserError)
    assert "--num-heads" in result.exception.remedy
    assert not (tmp_path / "out").exists()
    assert "--num-heads" in importing.describe(path)
    model = generator()
    found = read(path, num_heads=2)
    assert found.model.settings.prior.heads == 2
    with pytest.raises(UserError, match="multiple"):
        read(path, num_heads=3)
    same(found.model.prior, model.prior)


@pytest.mark.parametrize("order", [order for order in ORDERS if order != "row"])
def test_the_order_without_yaml(written, order):
    """On 2 x 2 cells some orders are one."""
    model = generator(order=order)
    found = read(alone(written(model)), num_heads=2).model
    assert found.order.equal(model.order)


@pytest.mark.parametrize(
    ("condition", "positions", "kind"),
    [
        (CoordinatesSettings(tokens=8), 8, "coordinates"),
        (CoordinatesSettings(tokens=8), 7, "coordinates"),
        (LabelSettings(classes=8), 4, "label"),
        (LabelSettings(classes=8), 5, "label"),
        (MapSettings(shared=True), 7, "map"),
        (MapSettings(), 8, "map"),
    ],
)
def test_the_condition_without_yaml(written, condition, positions, kind):
    maps = (
        tokenizer(seed=5, in_channels=1, out_channels=1) if kind == "map" and not condition.shared else None
    )
    model = generator(condition, maps=maps, positions=positions)
    found = read(alone(written(model)), num_heads=2).model
    assert found.settings.condition == condition
    assert found.settings.grid == (2, 2)


def test_masks_tell_what_is_unmasked(written):
    model = generator(CoordinatesSettings(tokens=8), positions=8, unmasked=3)
    folder = written(model)
    assert read(folder).model.settings.prior.unmasked == 3
    assert read(alone(folder), num_heads=2).model.settings.prior.unmasked == 3


def test_another_mask_is_refused(written):
    def change(state):
        state["transformer.blocks.0.attn.mask"][0, 0, 2, 0] = 0
        return state

    with pytest.raises(UserError, match="causal"):
        read(written(generator(), change=change))


@pytest.mark.parametrize("part", ["first_stage", "cond_stage"])
def test_one_stage(written, part):
    maps = tokenizer(seed=5, in_channels=1, out_channels=1)
    model = generator(MapSettings(), maps=maps, positions=8)
    found = read(written(model), part=part)
    same(found.model, model.tokenizer if part == "first_stage" else maps)
    assert "not asked for" in found.dropped[-1]


def test_a_first_stage_inside_another_model(written):
    model = tokenizer()

    def change(state):
        return {"first_stage_model." + k: v for k, v in state.items()} | {
            "model.diffusion_model.w": torch.ones(1)
        }

    path = alone(written(model, change=change))
    with pytest.raises(UserError, match="--part first_stage"):
        read(path)
    assert "f2" in importing.describe(path)
    same(read(path, part="first_stage").model, model)


def test_safetensors_and_given_yaml(written, tmp_path):
    folder = written(generator())
    (project,) = (folder / "configs").glob("*")
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    save_file(state, tmp_path / "weights.safetensors")
    same(read(tmp_path / "weights.safetensors", project).model, generator())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ch", 64),
        ("ch_mult", [1, 4]),
        ("num_res_blocks", 2),
        ("z_channels", 8),
        ("attn_resolutions", []),
        ("out_ch", 1),
    ],
)
def test_a_yaml_of_another_model(written, key, value):
    def change(config):
        config["model"]["params"]["ddconfig"][key] = value

    with pytest.raises(UserError, match="--config") as mistake:
        read(written(tokenizer(), yaml_change=change))
    assert len(str(mistake.value)) < 400


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("ch_mult", 3, "a list of numbers for ch_mult"),
        ("attn_resolutions", "none", "a list of numbers for attn_resolutions"),
        ("resolution", "${size}", "a number for resolution"),
        ("dropout", None, "a number for dropout"),
    ],
)
def test_a_yaml_with_other_things_than_numbers(written, key, value, told):
    def change(config):
        config["model"]["params"]["ddconfig"][key] = value

    with pytest.raises(UserError, match=told):
        read(written(tokenizer(), yaml_change=change))


def test_yamls_of_another_kind_of_model(written, tmp_path):
    run = written(tokenizer())
    of_tokenizer = shutil.copy(next((run / "configs").glob("*")), tmp_path / "tokenizer.yaml")
    tokens = shutil.copytree(run, tmp_path / "tokens")
    shutil.rmtree(run)
    run = written(generator(), yaml_change=lambda config: smaller(config["model"]["params"]))
    (of_prior,) = (run / "configs").glob("*")
    with pytest.raises(UserError, match="yaml of a model with a prior"):
        read(run, of_tokenizer)
    with pytest.raises(UserError, match="ch_mult"):  # of the first stage, which a file alone could be
        read(tokens, of_prior)


def smaller(params: dict) -> None:
    params["first_stage_config"]["params"]["ddconfig"]["ch_mult"] = [1]


def test_maps_that_were_reduced_need_a_yaml(written):
    model = generator(MapSettings(size=2), maps=tokenizer(1), positions=12)  # two grids of 6 are no squares
    with pytest.raises(UserError, match="how many codes"):
        read(alone(written(model)), num_heads=2)


@pytest.mark.parametrize("key", ["n_embed", "embed_dim"])
def test_another_codebook(written, key):
    def change(config):
        config["model"]["params"][key] = 99

    with pytest.raises(UserError, match=f"{key} 99"):
        read(written(tokenizer(), yaml_change=change))


@pytest.mark.parametrize("key", ["n_layer", "n_embd", "vocab_size", "block_size", "n_unmasked"])
def test_another_transformer(written, key):
    def change(config):
        config["model"]["params"]["transformer_config"]["params"][key] = 99

    with pytest.raises(UserError, match=f"{key} 99"):
        read(written(generator(), yaml_change=change))


def test_other_tables_of_a_permuter(written):
    def change(state):
        name = "permuter.forward_shuffle_idx"
        return state | {name: state[name].flip(0)}

    with pytest.raises(UserError, match="permuter"):
        read(written(generator(order="z_curve"), change=change))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state | {"stranger": torch.ones(3)}, r"stranger \(3,\)"),
        (
            lambda state: {k: v for k, v in state.items() if k != "quant_conv.bias"},
            "1 missing .quant_conv.bias",
        ),
        (lambda state: state | {"quant_conv.bias": torch.ones(9)}, r"quant_conv.bias \(9,\) for \(4,\)"),
        (lambda state: {k: v for k, v in state.items() if "quantize" not in k}, "a codebook"),
        (lambda state: {k: v for k, v in state.items() if "decoder." not in k}, "decoder"),
    ],
    ids=["extra", "missing", "shape", "no codebook", "no decoder"],
)
def test_tensors_that_do_not_fit(written, change, told):
    with pytest.raises(UserError, match=told) as mistake:
        read(written(tokenizer(), change=change))
    assert len(str(mistake.value)) < 500


def test_a_stranger_beside_a_prior(written):
    with pytest.raises(UserError, match=r"1 more: stranger \(3,\)"):
        read(written(generator(), change=lambda state: state | {"stranger": torch.ones(3)}))


def test_linear_attention_is_refused(written):
    more = {"encoder.mid.attn_1.to_qkv.weight": torch.ones(1)}
    with pytest.raises(UserError, match="attn_type"):
        read(written(tokenizer(), change=lambda state: state | more))


@pytest.mark.parametrize(
    "model",
    [
        Tokenizer(
            TokenizerSettings(
                network=NetworkSettings(width=8, multipliers=(1,), attention_levels=(), groups=4)
            )
        ),
        tokenizer(quantizer=VectorQuantizerSettings(codebook_size=8, cosine=True)),
        generator(LabelSettings(classes=3, dropout=0.1)),
        generator(shared_table=False, vocabulary=None),
    ],
    ids=["groups", "cosine", "dropout", "two tables"],
)
def test_what_their_code_cannot_hold(model, tmp_path):
    with pytest.raises(UserError):
        compvis.write(model, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_the_commands(written, tmp_path):
    folder, run = written(generator()), CliRunner().invoke
    assert "condition label" in run(group, ["info", str(folder)]).output
    result = run(group, ["import", str(folder), str(tmp_path / "model")])
    assert result.exit_code == 0, result.exception
    assert "left out: masks" in result.output
    model = smalti.load(tmp_path / "model")
    same(model, generator())
    metadata = library.read_config(tmp_path / "model")["provenance"]
    assert (metadata["format"], metadata["imported_from"]) == ("compvis", "last.ckpt")
    ours = run(group, ["import", str(tmp_path / "model"), str(tmp_path / "other")])
    assert "use it as it is" in str(ours.exception)
    again = run(group, ["import", str(folder), str(tmp_path / "model")])
    assert "new or empty" in str(again.exception)
    assert (
        run(
            group, ["export", str(tmp_path / "model"), str(tmp_path / "back"), "--format", "compvis"]
        ).exit_code
        == 0
    )
    first, second = (
        torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for path in (folder, tmp_path / "back")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_images_in_0_to_1(written, tmp_path):
    folder, plain = written(tokenizer()), tokenizer()
    words = ["import", str(folder), str(tmp_path / "model"), "--image-range", "0..1"]
    assert CliRunner().invoke(group, words).exit_code == 0
    found = smalti.load(tmp_path / "model")
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(found.latents(images), plain.latents(images / 2 + 0.5))
    rebuilt = plain.reconstruct(images / 2 + 0.5, is_checked=True) * 2 - 1
    torch.testing.assert_close(found.reconstruct(images), rebuilt)
    assert not torch.allclose(found.reconstruct(images), plain.reconstruct(images))


def test_loading_a_foreign_file_says_what_to_do(written):
    folder = written(tokenizer())
    for path in (folder, folder / "checkpoints" / "last.ckpt"):
        with pytest.raises(UserError) as mistake:
            smalti.load(path)
        assert mistake.value.remedy == f"smalti import {path} OUT"


def test_an_unknown_file(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="1 tensors"):
        importing.describe(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="does not exist"):
        importing.describe(tmp_path / "none")
    save_file({"a": torch.ones(1)}, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match="2 of them"):
        importing.describe(tmp_path)
