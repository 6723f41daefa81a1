"""Weights are found where people keep them, and what holds none is named for what it is."""

import json
import pickle
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from test_formats_dalle_mini import put as put_flax
from test_formats_dalle_mini import shapes as flax_shapes
from test_formats_dalle_mini import tree
from test_formats_llamagen import tokenizer_shapes
from test_formats_maskgit import shapes as maskgit_shapes

import smalti
from smalti import library
from smalti.cli.main import group
from smalti.errors import UserError
from smalti.formats import diffusers, states
from smalti.formats.compvis import tokenizer as compvis
from smalti.quantizers.gaussian import GaussianSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

SPLIT = "diffusion_pytorch_model-{:05}-of-{:05}"


def build(quantizer=None, channels: int = 3, seed: int = 0) -> Tokenizer:
    """Attention at the coarser level; no two sides of a weight are equal by chance."""
    torch.manual_seed(seed)
    network = NetworkSettings(
        in_channels=channels, out_channels=channels, width=32, multipliers=(1, 2), blocks=1,
        attention_levels=(1,), latent_channels=4, code_dim=4,
    )  # fmt: skip
    quantizer = quantizer or VectorQuantizerSettings.legacy(codebook_size=9)
    made = Tokenizer(TokenizerSettings(network=network, quantizer=quantizer)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def model() -> Tokenizer:
    return build()


@pytest.fixture(scope="module")
def state(model) -> dict[str, torch.Tensor]:
    """Under the names of 2021."""
    return {name: tensor.clone() for name, tensor in compvis.theirs(model).items()}


@pytest.fixture
def folder(model, tmp_path) -> Path:
    """For diffusers, with the settings of 2021 alone."""
    return written(model, tmp_path / "diffusers")


def written(model, folder):
    folder.mkdir(parents=True)
    diffusers.write(model, folder, {})
    metadata = json.loads((folder / "config.json").read_text())
    del metadata["_smalti"]
    (folder / "config.json").write_text(json.dumps(metadata))
    return folder


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words])


def check(path, model, tmp_path, told=""):
    """Info tells it in a line, and import gives the model."""
    info = run("info", path)
    assert info.exit_code == 0, info.exception
    assert len(info.output.splitlines()) == 1
    done = run("import", path, tmp_path / "found")
    assert done.exit_code == 0, done.exception
    assert told in done.output
    assert library.fingerprint(smalti.load(tmp_path / "found")) == library.fingerprint(model)
    return info.output


def refused(path, *words):
    """Info and import refuse it, in a line with these words."""
    for command in (["info", path], ["import", path, path.with_name("never")]):
        mistake = run(*command).exception
        assert isinstance(mistake, UserError), mistake
        assert "\n" not in str(mistake)
        for word in words:
            assert word in str(mistake), str(mistake)
    assert not path.with_name("never").exists()


def split(folder: Path, count: int, name: str = SPLIT, suffix: str = ".safetensors") -> dict[str, str]:
    """The folder's weights in parts; the map from names to parts."""
    file = folder / diffusers.WEIGHTS
    tensors = list(load_file(file).items())
    file.unlink()
    found = {}
    for number in range(count):
        part, path = dict(tensors[number::count]), folder / (name.format(number + 1, count) + suffix)
        save_file(part, path) if suffix == ".safetensors" else torch.save(part, path)
        found |= dict.fromkeys(part, path.name)
    return found


@pytest.mark.parametrize(
    ("suffix", "index", "named"),
    [
        (".safetensors", "diffusion_pytorch_model.safetensors.index.json", "folder"),
        (".safetensors", "diffusion_pytorch_model.safetensors.index.json", "part"),
        (".fp16.safetensors", "diffusion_pytorch_model.safetensors.index.fp16.json", "folder"),
        (".bin", "pytorch_model.bin.index.json", "index"),
        (".safetensors", None, "folder"),
        (".safetensors", None, "part"),
    ],
)
def test_weights_in_parts(model, folder, suffix, index, named, tmp_path):
    """17: with an index, or by their numbers alone; by the folder, the index or one of them."""
    end = ".bin" if suffix == ".bin" else ".safetensors"
    weights = split(folder, 3, SPLIT + suffix.removesuffix(end), end)
    if index:
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    path = {
        "folder": folder,
        "index": folder / (index or "none"),
        "part": folder / sorted(weights.values())[1],
    }
    check(path[named], model, tmp_path)
    found = smalti.load(tmp_path / "found").state_dict()
    assert found.keys() == model.state_dict().keys()
    assert all(found[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_one_part_alone_is_refused_with_its_folder(folder, tmp_path):
    split(folder, 2)
    (tmp_path / "alone").mkdir()
    part = tmp_path / "alone" / f"{SPLIT.format(1, 2)}.safetensors"
    part.write_bytes((folder / part.name).read_bytes())
    refused(part, f"2 files of weights in {part.parent}", "00002-of-00002", "into the same folder")


def test_parts_under_keys_are_put_together(model, state, tmp_path):
    """Each a checkpoint with its own state_dict; a tensor in two of them must be the same."""
    (tmp_path / "parts").mkdir()
    names = [tmp_path / "parts" / f"model-{number:05}-of-00002.ckpt" for number in (1, 2)]
    items = list(state.items())
    for number, name in enumerate(names):
        torch.save({"state_dict": dict(items[number::2]), "step": 3}, name)
    check(tmp_path / "parts", model, tmp_path)
    torch.save({"state_dict": dict(items[1::2]) | {items[0][0]: items[0][1] + 1}}, names[1])
    refused(tmp_path / "parts", f"two of {items[0][0]}, which differ")


@pytest.mark.parametrize("with_index", [True, False])
def test_a_part_that_is_missing(folder, with_index):
    weights = split(folder, 3)
    if with_index:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    (folder / (SPLIT.format(2, 3) + ".safetensors")).unlink()
    refused(folder, "3 files of weights", "00002-of-00003")


def test_parts_beside_another_file_are_not_chosen(folder):
    split(folder, 2)
    (folder / "averaged.bin").touch()  # sorted before them
    refused(folder, "one file of weights", "3 of them", "name the file itself")


def test_an_index_does_not_lead_elsewhere(folder, tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    weights = dict.fromkeys(split(folder, 1), "../other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    refused(folder / "model.safetensors.index.json", "other folders")


@pytest.mark.parametrize(("stage", "listed"), [("vae", True), ("vqvae", False), ("movq", True)])
def test_a_pipeline(model, stage, listed, tmp_path):
    """17: its tokenizer lies in a folder below."""
    written(model, tmp_path / "pipe" / stage)
    (tmp_path / "pipe" / "unet").mkdir()
    if listed:
        (tmp_path / "pipe" / "model_index.json").write_text(json.dumps({"_class_name": "Some"}))
    assert f"pipe/{stage}/" in check(tmp_path / "pipe", model, tmp_path)


def test_a_pipeline_with_two_tokenizers_or_none(model, tmp_path):
    written(model, tmp_path / "pipe" / "vae")
    written(model, tmp_path / "pipe" / "movq")
    refused(tmp_path / "pipe", "vae and movq", f"{tmp_path}/pipe/vae")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "model_index.json").write_text("{}")
    refused(tmp_path / "none", "none of vae")


def test_folders_further_down_are_named(model, tmp_path):
    """A pipeline, its parts not one by one; a run's folder, not its checkpoints."""
    pipe = tmp_path / "two" / "models" / "pipe"
    written(model, pipe / "vae")
    (pipe / "model_index.json").write_text("{}")
    told = str(run("import", tmp_path / "two", tmp_path / "never").exception)
    assert f"none in it, but in 1 below; give {pipe}" in told
    check(pipe, model, tmp_path)
    (tmp_path / "two" / "logs" / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "two" / "logs" / "run" / "checkpoints" / "last.ckpt").touch()
    told = str(run("import", tmp_path / "two", tmp_path / "never").exception)
    assert f"in 2 below; give {tmp_path}/two/logs/run, or {pipe}" in told
    (tmp_path / "empty" / "below").mkdir(parents=True)
    assert "got none; give the .ckpt" in str(run("import", tmp_path / "empty", tmp_path / "never").exception)


def nested(state):
    """Layouts of other programs' checkpoints, each with what the command says of the rest."""
    half = {"encoder": {}, "decoder": {}, "quantize": {}, "quant_conv": {}, "post_quant_conv": {}}
    for name, tensor in state.items():
        first, _, rest = name.partition(".")
        half[first][rest] = tensor
    other = {name: tensor + 1 for name, tensor in state.items()}
    behind = {f"vae.model.{name}": tensor for name, tensor in state.items()}
    return {
        "weights": ({"hparams": {"dim": 8}, "weights": state, "opt_state": {"state": {0: {}}}}, ""),
        "deep": ({"trainer": {"networks": {"vq": state}, "step": 3}}, ""),
        "behind a name": (
            {"weights": {**behind, "text_emb.weight": torch.ones(2, 3)}},
            "outside weights.vae.model: text_emb.weight",
        ),
        "by parts": (half, ""),
        "by parts below": ({"epoch": 1, "model": half}, ""),
        "averaged": ({"generator": other, "generator_ema": state}, "of generator: "),
        "averaged names": ({f"ema.{n}": t for n, t in state.items()} | other, "outside ema: "),
        "usual first": ({"ema": other, "state_dict": state}, ""),
        "optimizer by name": (
            {"model": state, "optim": {"state": {f"{n}.exp_avg": t for n, t in other.items()}}}, "",
        ),
        "compiled": ({"state_dict": {f"_orig_mod.{n}": t for n, t in state.items()}}, ""),
        "compiled parts": (
            {"model": {n.replace("coder.", "coder._orig_mod."): t for n, t in state.items()}}, "",
        ),
        "compiled below": (
            {f"module._orig_mod.{n.replace('.mid.', '._orig_mod.mid.')}": t for n, t in state.items()}, "",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", nested({}))
def test_weights_under_any_keys(name, state):
    """17"""
    contents, told = nested(state)[name]
    found = states.find(contents, "other.pt")
    assert found.tensors.keys() == state.keys()
    assert all(found.tensors[key].equal(tensor) for key, tensor in state.items())
    left = " ".join(f"{where}: {names[0]}" for where, names in found.outside.items())
    assert told in left if told else not left


def test_weights_under_any_keys_by_command(model, state, tmp_path):
    torch.save(nested(state)["behind a name"][0], tmp_path / "other.pt")
    check(tmp_path / "other.pt", model, tmp_path, "left out: outside weights.vae.model: text_emb.weight")


def test_odd_tensors_are_answered_in_one_line(tmp_path, model):
    """Mappings that hold themselves, and tensors of other axes than their names promise."""
    flat, conv = torch.zeros(8), torch.zeros(8, 8, 3, 3)
    itself = {"encoder.conv_in.weight": conv}
    itself["again"] = itself
    ends = {"encoder.conv_out.weight": flat, "decoder.conv_in.weight": flat}
    ours = {"encoder.conv_in.weight": conv, "encoder.down.0.block.0.conv1.weight": conv, **ends}
    kernels = {"encoder.down_blocks_0.resnets_0.conv1.kernel": flat, "encoder.conv_in.kernel": flat}
    for number, contents in enumerate((itself, ours, kernels)):
        torch.save(contents, tmp_path / f"{number}.ckpt")
        refused(tmp_path / f"{number}.ckpt")
    folder = written(model, tmp_path / "folder")
    metadata = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(metadata | {"block_out_channels": []}))
    refused(folder, "block_out_channels")


def test_several_models_are_listed_with_their_counts(state, tmp_path):
    torch.save({"student": state, "teacher": {"net": state}}, tmp_path / "two.pt")
    refused(tmp_path / "two.pt", f"student ({len(state)} tensors)", f"teacher.net ({len(state)} tensors)")


def test_nothing_that_is_known_is_listed_with_its_counts(tmp_path):
    contents = {"a": {"b": {f"w{n}": torch.ones(1) for n in range(5)}}, "c": {"x": torch.ones(1)}, "d": 1}
    torch.save(contents, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", "known format", "a.b: 5 tensors, c: 1 tensors")


@pytest.mark.parametrize("kind", ["diffusers", "llamagen", "maskgit", "dalle_mini"])
def test_every_format_knows_names_behind_others(kind, model, tmp_path):
    """17: not the files of 2021 alone."""
    words, tensors = [], None
    if kind == "llamagen":
        tensors = tokenizer_shapes().draw()
    elif kind == "maskgit":
        tensors = maskgit_shapes().draw()
    elif kind == "dalle_mini":
        tensors = put_flax(tmp_path, tree(flax_shapes().draw())).tensors
        words = ["--config", tmp_path / "config.json"]
    else:
        tensors = load_file(written(model, tmp_path / "there") / diffusers.WEIGHTS)
    for name, start in (("plain", ""), ("behind", "module._orig_mod.vq.")):
        save_file(
            {start + key: t.contiguous() for key, t in tensors.items()}, tmp_path / f"{name}.safetensors"
        )
        done = run("import", tmp_path / f"{name}.safetensors", tmp_path / name, *words)
        assert done.exit_code == 0, done.exception
    first, second = (library.read_config(tmp_path / name) for name in ("plain", "behind"))
    assert first["provenance"]["format"] == second["provenance"]["format"] == kind
    assert first["fingerprint"] == second["fingerprint"]


def test_llamagens_averages_compiled(tmp_path):
    tensors = tokenizer_shapes().draw()
    compiled = {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    torch.save({"model": other, "ema": compiled}, tmp_path / "a.pt")
    torch.save({"model": tensors}, tmp_path / "b.pt")
    prints = []
    for name in "ab":
        assert run("import", tmp_path / f"{name}.pt", tmp_path / name).exit_code == 0
        prints.append(library.read_config(tmp_path / name)["fingerprint"])
    assert prints[0] == prints[1]


TURNS = {"out y x in": (0, 2, 3, 1), "y x in out": (2, 3, 1, 0)}


@pytest.mark.parametrize(("layout", "channels"), [("out y x in", 3), ("out y x in", 1), ("y x in out", 3)])
def test_convolutions_that_lie_otherwise(layout, channels, tmp_path):
    """17: MLX's and flax's ways, known by shapes; a first convolution of 3 channels fits both."""
    model = build(channels=channels)
    state = {
        name: t.permute(TURNS[layout]).contiguous() if t.dim() == 4 else t.clone()
        for name, t in compvis.theirs(model).items()
    }
    save_file(state, tmp_path / "mlx.safetensors", metadata={"format": "mlx"})
    assert layout in check(tmp_path / "mlx.safetensors", model, tmp_path)


def test_matrices_that_lie_one_way_or_the_other_are_not_guessed(folder):
    weights = load_file(folder / diffusers.WEIGHTS)
    turned = {name: t.permute(TURNS["out y x in"]) if t.dim() == 4 else t for name, t in weights.items()}
    save_file({name: t.contiguous() for name, t in turned.items()}, folder / diffusers.WEIGHTS)
    assert run("info", folder).exit_code == 0  # MLX's matrices lie as torch's
    turned = {name: t.permute(TURNS["y x in out"]) if t.dim() == 4 else t for name, t in weights.items()}
    save_file({name: t.contiguous() for name, t in turned.items()}, folder / diffusers.WEIGHTS)
    refused(folder, "matrices of attention")


def test_flaxs_names_of_diffusers_networks(tmp_path):
    """As diffusers' FlaxAutoencoderKL kept them."""
    model = build(GaussianSettings())
    folder, found = written(model, tmp_path / "flax"), {}
    words = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for name, tensor in load_file(folder / diffusers.WEIGHTS).items():
        for new, old in words.items():
            name = name.replace(f".{new}.", f".{old}.")
        for word in ("down_blocks", "up_blocks", "resnets", "attentions", "downsamplers", "upsamplers"):
            name = name.replace(f"{word}.", f"{word}_")
        start, _, last = name.rpartition(".")
        if last == "weight":
            last = "kernel" if tensor.dim() > 1 else "scale"
            tensor = tensor.permute(*{4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[tensor.dim()])
        found[f"{start}.{last}"] = tensor.contiguous()
    save_file(found, folder / diffusers.WEIGHTS)
    metadata = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(metadata | {"_class_name": "FlaxAutoencoderKL"}))
    check(folder, model, tmp_path)


@pytest.mark.parametrize("quantizer", [None, GaussianSettings()], ids=["VQModel", "AutoencoderKL"])
@pytest.mark.parametrize("named", ["file", "folder"])
def test_diffusers_weights_without_their_config(quantizer, named, tmp_path):
    """17: sizes come from the shapes."""
    model = build(quantizer)
    folder = written(model, tmp_path / "there")
    (folder / "config.json").unlink()
    path = folder if named == "folder" else folder / diffusers.WEIGHTS
    assert ("VQModel" if quantizer is None else "AutoencoderKL") in check(path, model, tmp_path)


def test_a_kl_model_of_2021s_names_without_small_convolutions(tmp_path):
    """17: as Flux's authors publish theirs; the same numbers as with ones that change nothing."""
    model = build(GaussianSettings())
    with torch.no_grad():
        for part in (model.quant_conv, model.post_quant_conv):
            part.weight.copy_(torch.eye(len(part.weight))[..., None, None])
            part.bias.zero_()
    state = {name: t.clone() for name, t in compvis.theirs(model).items() if "quant_conv" not in name}
    save_file(state, tmp_path / "ae.safetensors")
    assert "KL autoencoder" in check(tmp_path / "ae.safetensors", model, tmp_path)


def test_classes_of_diffusers_that_are_not_read_are_named(folder):
    metadata = json.loads((folder / "config.json").read_text())
    for name in ("AsymmetricAutoencoderKL", "AutoencoderTiny", "AutoencoderKLTemporalDecoder"):
        (folder / "config.json").write_text(json.dumps(metadata | {"_class_name": name}))
        refused(folder, name, "VQModel or AutoencoderKL")
        refused(folder / "config.json", f"settings of {name}")
    weights = load_file(folder / diffusers.WEIGHTS)
    weights["decoder.condition_encoder.layers.0.weight"] = torch.ones(1)
    save_file(weights, folder / diffusers.WEIGHTS)
    (folder / "config.json").unlink()
    refused(folder, "AsymmetricAutoencoderKL")


def archive(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"x" * 20)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 335304388\n"
PAGE = b"\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
FILES = {  # name -> contents, words of the refusal
    "a.ckpt": (b"", "an empty file"),
    "a.safetensors": (b"", "an empty file"),
    "flax_model.msgpack": (b"", "an empty file"),
    "b.ckpt": (LFS, "git LFS"),
    "b.safetensors": (LFS, "git lfs pull"),
    "b.msgpack": (LFS, "git LFS"),
    "c.ckpt": (PAGE, "a web page"),
    "c.safetensors": (PAGE, "/resolve/"),
    "d.gguf": (b"GGUF\x03\0\0\0", "GGUF"),
    "d.bin": (b"GGUF\x03\0\0\0", "GGUF"),
    "e.onnx": (b"\x08\x07\x12\x07pytorch", "ONNX"),
    "f.h5": (b"\x89HDF\r\n\x1a\n" + bytes(8), "HDF5"),
    "f.npy": (b"\x93NUMPY\x01\0", "numpy"),
    "g.tar": (bytes(257) + b"ustar" + bytes(250), "tar archive"),
    "g.ckpt.gz": (b"\x1f\x8b\x08\0", "gzip"),
    "h.pb": (b"\x0a\x05", "TensorFlow"),
    "model.ckpt.index": (b"\0\0\0", "TensorFlow checkpoint"),
    "model.ckpt.data-00000-of-00001": (b"\0\0\0", "TensorFlow checkpoint"),
    "__0_0.distcp": (b"PK", "DCP"),
    "k.ckpt": (b"PK\x03\x04" + bytes(40), "without its end"),
    "k.safetensors": (b"\x40\0\0\0\0\0\0\0{\"a\":", "a whole safetensors file"),
    "l.yaml": (b"model:\n", "--config"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_no_weights_are_named(name, tmp_path):
    """17"""
    contents, word = FILES[name]
    (tmp_path / name).write_bytes(contents)
    refused(tmp_path / name, word)


@pytest.mark.parametrize(
    ("name", "entries", "word"),
    [
        ("a.npz", ["w.npy", "b.npy"], "2 arrays of numpy's (.npz)"),
        ("a.pt", ["net/data.pkl", "net/constants.pkl", "net/code/x.py", "net/version"], "torch.jit.load"),
        ("a.pt2", ["net/archive_format", "net/models/model.json"], "torch.export"),
        ("a.keras", ["config.json", "metadata.json", "model.weights.h5"], "a Keras model"),
        ("a.zip", ["readme.txt", "model.ckpt"], "a zip archive of 2 files"),
    ],
)
def test_zip_files_of_others_are_named(name, entries, word, tmp_path):
    archive(tmp_path / name, *entries)
    refused(tmp_path / name, word)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_archive_and_what_to_do(tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Linear(1, 1)

        def forward(self, x):
            return self.encoder(x)

    torch.jit.save(torch.jit.trace(Net(), torch.ones(1)), tmp_path / "net.pt")
    refused(tmp_path / "net.pt", "a TorchScript archive", f"torch.jit.load('{tmp_path}/net.pt')")


def tensors(arrays):
    return {name: torch.as_tensor(one) for name, one in list(arrays.items())[:2]}


SAVED = {  # how arrays were kept -> where they are said to lie
    "by name": (lambda arrays, path: torch.save(arrays, path), ""),
    "below keys": (lambda arrays, path: torch.save({"params": {"net": arrays}}, path), " under params.net"),
    "of old": (lambda arrays, path: torch.save(arrays, path, _use_new_zipfile_serialization=False), ""),
    "a few are tensors": (lambda arrays, path: torch.save(arrays | tensors(arrays), path), ""),
    "by pickle": (lambda arrays, path: path.write_bytes(pickle.dumps(arrays)), ""),
}


@pytest.mark.parametrize("how", SAVED)
def test_arrays_in_a_checkpoint_are_counted_and_what_to_do_works(how, model, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keep, where = SAVED[how]
    path = tmp_path / "it's.pth"
    keep({name: tensor.numpy() for name, tensor in state.items()} | {"epoch": 3}, path)
    count = len(state) - 2 * (how == "a few are tensors")
    refused(path, f"{count} arrays of numpy's in {path}{where};", "then import weights.pt")
    said = str(run("info", path).exception)
    flag, script = shlex.split(said.partition("; python ")[2].partition(", which runs")[0])
    assert flag == "-c"
    exec(script, {})
    assert torch.load("weights.pt").keys() == state.keys()
    check(Path("weights.pt"), model, tmp_path)


def test_arrays_of_numpy(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.ones(3))
    refused(tmp_path / "a.npz", ".npz", "safetensors")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([".metadata", "__0_0.distcp"], ["torch.distributed's (DCP)", "dcp_to_torch", "weights.pt"]),
        (["_CHECKPOINT_METADATA", "manifest.ocdbt"], ["Orbax", "flax_model.msgpack"]),
        (["default/manifest.ocdbt", "default/d/0"], ["Orbax"]),
        (["params.kernel/.zarray"], ["TensorStore"]),
        (["saved_model.pb", "variables/variables.index"], ["TensorFlow"]),
        (["checkpoint", "model.index", "model.data-00000-of-00001"], ["TensorFlow"]),
        (["zero_to_fp32.py", "global_step1/mp_rank_00_model_states.pt"], ["DeepSpeed", "zero_to_fp32.py"]),
        (["model.gguf", "config.json"], ["an empty file"]),
    ],
    ids=["dcp", "orbax", "orbax step", "zarr", "saved model", "tf", "deepspeed", "gguf"],
)
def test_folders_of_others_are_named(entries, words, tmp_path):
    """17"""
    for entry in entries:
        (tmp_path / "there" / entry).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "there" / entry).write_bytes(b"{}" if entry == "config.json" else b"")
    refused(tmp_path / "there", *words)
    mistake = run("sample", tmp_path / "there", tmp_path / "out").exception
    assert "smalti import" in str(mistake)


def test_by_what_a_file_is_and_not_by_its_name(model, state, tmp_path):
    save_file(state, tmp_path / "safe.ckpt")
    check(tmp_path / "safe.ckpt", model, tmp_path)
    torch.save(state, tmp_path / "pickle.safetensors")
    check(tmp_path / "pickle.safetensors", model, tmp_path / "second")


def test_a_model_folder_of_ours_without_its_config(model, tmp_path):
    smalti.save(model, tmp_path / "ours")
    (tmp_path / "ours" / "config.json").unlink()
    refused(tmp_path / "ours", "config.json", "copy the folder again")
