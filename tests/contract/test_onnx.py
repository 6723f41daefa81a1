"""Graphs for runtimes without PyTorch: onnxruntime gives the codes that torch gives, alone in its process."""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec

import jaxtyping
import numpy as np
import pytest
import torch
from tiny import CODEBOOK, LABELS, NETWORK, generator

import smalti
from smalti.conditions.none import NoConditionSettings
from smalti.conditions.text import TextSettings
from smalti.conditions.vocabulary import Vocabulary
from smalti.errors import UserError
from smalti.formats import exporting
from smalti.formats.onnx import checking, describing, graphs
from smalti.formats.onnx.draw import Model
from smalti.pipeline import Pipeline
from smalti.priors.gpt import GPTSettings
from smalti.priors.modern import ModernSettings
from smalti.quantizers.ema import EmaSettings
from smalti.quantizers.fsq import FsqSettings
from smalti.quantizers.gaussian import GaussianSettings
from smalti.quantizers.gumbel import GumbelSettings
from smalti.quantizers.remap import RemappedSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.tokenizer.settings import MaskgitSettings

MISSING = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(MISSING), reason=f"without {', '.join(MISSING)}: pip install 'smalti[onnx]'"),
]

# a stranger's process: neither torch nor smalti can be imported there
ALONE = (
    "import sys; sys.modules['torch'] = sys.modules['smalti'] = None; "
    "from draw import Model; import numpy as np; "
)


@contextmanager
def traceable():
    """Within, calls do not check their types: while torch traces them sizes are symbols, which are no int."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def exported(model, folder):
    """What an export tells; the model is in folder/model, its graphs in folder/onnx."""
    smalti.save(model, folder / "model")
    with traceable():
        return exporting.convert(folder / "model", folder / "onnx", "onnx")


def alone(script: str, folder) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ALONE + script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def a_tokenizer(quantizer, **more) -> Tokenizer:
    """Factor 4, oblong where that is a word, weights of which each counts."""
    torch.manual_seed(1)
    dim = quantizer.code_dim or NETWORK["code_dim"]
    own = {"multipliers": (1, 1, 2), "code_dim": dim, "mid_attention": True, "attention_levels": (1,)}
    network = NetworkSettings(**{**NETWORK, **own})
    tokenizer = Tokenizer(TokenizerSettings(network=network, quantizer=quantizer, **more))
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with a class, oblong, whose cells do not come row by row; and what its export tells."""
    folder = tmp_path_factory.mktemp("onnx")
    model = generator("modern", order="alternate", grid=(3, 5))
    (folder / "told.json").write_text(json.dumps(exported(model, folder)))
    return folder


@pytest.fixture(scope="module")
def model(folder) -> Pipeline:
    return smalti.load(folder / "model")


def test_what_is_told(folder, model):
    told = json.loads((folder / "told.json").read_text())
    cells = 64 * 15 + 3 * 15 + 9 * 14
    assert told[0] == str(folder / "onnx")
    assert told[1] == f"codes: {cells} of {cells} equal to torch's; images: generated"
    assert told[2].startswith("decoded images: within ")
    assert [line.split(" equal")[0] for line in told[3:]] == [
        "images, greedy: 4 of 4",
        "images, drawn: 4 of 4",
    ]
    about = json.loads((folder / "onnx" / "model.json").read_text())
    assert about["model"] == model.fingerprint
    assert about["checked"]["codes"] == {"compared": cells, "equal": cells, "ties": 0, "ties_within": 1e-4}
    encoder, step = about["graphs"]["encoder"], about["graphs"]["step"]
    assert encoder["inputs"] == {"images": {"type": "float32", "shape": ["batch", 3, "height", "width"]}}
    assert step["inputs"]["codes"] == {"type": "int64", "shape": ["batch", "codes"]}
    assert step["outputs"]["logits"] == {"type": "float32", "shape": ["batch", "codes", 12]}
    assert step["outputs"]["new_keys_0"]["shape"] == step["inputs"]["keys_0"]["shape"] == ["batch", 2, 15, 8]
    assert about["prior"]["order"] == model.order.tolist() != list(range(15))
    assert about["prior"]["prefixes"] == {"brick": [0], "grass": [1], "moon": [2]}
    assert about["prior"]["null"] == {"prefix": [[3]]}
    assert "codes: " in (folder / "onnx" / "README.md").read_text()


def test_any_batch_and_size(folder, model):
    ours = Model(folder / "onnx")
    for shape in ((1, 3, 2, 2), (5, 3, 6, 10), (2, 3, 74, 66)):
        images = torch.rand(*shape, generator=torch.Generator().manual_seed(shape[0])) * 2 - 1
        codes = model.tokenizer.encode(images)
        assert np.array_equal(ours.encode(images.numpy()), codes.numpy())
        apart = np.abs(ours.decode(codes.numpy()) - model.tokenizer.decode(codes).numpy()).max()
        assert apart < 1e-4, apart  # 74 x 66: torch doubles and convolves in one there


def test_drawn_images_are_the_pipeline_s(folder, model):
    """Greedily, by chance, filtered and guided: the same codes, without torch."""
    ways = [{"top_k": 1}, {}, {"top_k": 5, "temperature": 0.8}, {"top_p": 0.7, "min_p": 0.02}]
    script = (
        "model = Model('.'); told = model.about['prior']['prefixes']; "
        "found = [model.draw([told['moon']] * 6, range(7, 13), guidance=s, **way)"
        f" for way in {ways} for s in (1.0, 2.5)]; np.save('drawn.npy', np.stack(found))"
    )
    alone(script, folder / "onnx")
    drawn = iter(np.load(folder / "onnx" / "drawn.npy"))
    for way in ways:
        for scale in (1.0, 2.5):
            wanted = model.sample(num=6, seed=7, label="moon", guidance_scale=scale, **way).codes
            assert np.array_equal(next(drawn), wanted.numpy()), (way, scale)
    assert len(np.unique(np.load(folder / "onnx" / "drawn.npy"))) > 4


def test_likelihoods(folder, model):
    """All codes in one step: the logits of a whole image."""
    codes = model.sample(num=2, seed=3, label=["brick", "moon"]).codes
    wanted = model.logits(codes, label=["brick", "moon"]).numpy()
    found = Model(folder / "onnx").logits(codes.numpy(), np.array([[0], [2]]))
    assert np.abs(found - wanted).max() < 1e-4


def test_anyone_can_check_again(folder):
    done = subprocess.run(
        [sys.executable, "draw.py", "CPUExecutionProvider"],
        cwd=folder / "onnx",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "codes: 960 of 960 equal to torch",
        "greedy: 4 of 4 equal to torch",
        "drawn: 4 of 4 equal to torch",
    ]


def test_graphs_name_nothing_of_this_machine(folder):
    here = str(smalti.__path__[0]).encode()
    for file in (folder / "onnx").glob("*.onnx"):
        assert here not in file.read_bytes(), file


def test_weights_of_a_prior_lie_in_the_folder_once(folder, model):
    weights = sum(one.numel() for one in model.prior.parameters())
    size = (folder / "onnx" / "prior.data").stat().st_size
    assert size < 1.2 * 4 * weights


QUANTIZERS = {
    "cosine": VectorQuantizerSettings(codebook_size=12, cosine=True),
    "ema": EmaSettings(codebook_size=12),
    "gumbel": GumbelSettings(codebook_size=12),
    "fsq": FsqSettings(levels=(4, 3, 2)),
    "remapped": RemappedSettings(inner=CODEBOOK, used=5),
    "remapped_gumbel": RemappedSettings(inner=GumbelSettings(codebook_size=12), used=5, unknown="extra"),
}


class Both(torch.nn.Module):
    """What of a tokenizer's graphs hangs on its quantizer, both ways in one, as tracing takes its time."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(self, latents, codes):
        return self.quantizer(latents).codes, self.quantizer.lookup(codes)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_quantizer(name, tmp_path):
    quantizer = a_tokenizer(QUANTIZERS[name]).quantizer.eval()
    if name.startswith("remapped"):
        quantizer.used.copy_(torch.tensor([7, 2, 11, 4, 0]))
    rng, size, dim = (
        torch.Generator().manual_seed(3),
        quantizer.codebook_size,
        quantizer.settings.code_dim or 4,
    )
    free = {0: "batch", 2: "rows", 3: "columns"}
    graph = graphs.Graph(
        module=Both(quantizer),
        example={"latents": torch.zeros(2, dim, 3, 4), "codes": torch.zeros(2, 3, 4, dtype=torch.int64)},
        axes={"latents": free, "codes": {0: "batch", 1: "rows", 2: "columns"}},
        outputs=("found", "entries"),
    )
    with traceable():
        session = onnxruntime().InferenceSession(graphs.traced(graph).SerializeToString())
    for shape in ((1, 5, 7), (6, 2, 1)):
        latents = torch.randn(shape[0], dim, *shape[1:], generator=rng)
        codes = torch.randint(size, shape, generator=rng)
        found, entries = session.run(None, {"latents": latents.numpy(), "codes": codes.numpy()})
        wanted = quantizer(latents).codes
        assert np.array_equal(found, wanted.numpy())
        assert np.abs(entries - quantizer.lookup(codes).detach().numpy()).max() < 1e-6
        assert len(wanted.unique()) > 1


def onnxruntime():
    import onnxruntime

    return onnxruntime


WORDS = TextSettings(vocabulary=300, max_tokens=6)
PRIORS = {  # gpt and llamagen by themselves; and what each can be made of
    "gpt": lambda: generator("gpt", grid=(2, 3)),
    "llamagen": lambda: generator("llamagen", grid=(2, 3)),
    "gpt_of_2021": lambda: varied(GPTSettings(layers=2, heads=2, width=16, unmasked=1, vocabulary=20)),
    "shift": lambda: varied(ModernSettings(layers=2, heads=2, width=16, conditioning="shift")),
    "nothing": lambda: varied(ModernSettings(layers=2, heads=2, width=16), NoConditionSettings()),
    "text": lambda: varied(ModernSettings(layers=2, heads=2, width=16), WORDS),
}


def varied(prior, condition=LABELS) -> Pipeline:
    plain = generator("gpt", grid=(2, 3))
    model = Pipeline(replace(plain.settings, prior=prior, condition=condition), plain.tokenizer)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    if condition is WORDS:
        pytest.importorskip("tokenizers", reason="pip install 'smalti[text]'")
        model.condition._words = Vocabulary.learn(["a red house", "a blue house"], 300, lower=True)
    return model


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in ("gpt", "llamagen") else pytest.mark.slow) for name in PRIORS],
)
def test_a_prior(name, tmp_path):
    torch.manual_seed(2)
    model = PRIORS[name]().eval()
    parts = graphs.of_prior(model.prior, model.tokenizer.codebook_size)
    about = {"graphs": {part: {"file": f"{part}.onnx"} for part in parts}, "prior": describing._prior(model)}
    (tmp_path / "model.json").write_text(json.dumps(about))
    with traceable():
        for part, graph in parts.items():
            (tmp_path / f"{part}.onnx").write_bytes(graphs.traced(graph).SerializeToString())
    ours = Model(tmp_path)
    _, record = checking._prior(model, ours)
    assert [record[way]["equal"] for way in ("greedy", "drawn")] == [4, 4]
    condition = {"nothing": {}, "text": {"text": ["a red house", "house"]}}.get(name, {"label": ["moon", 0]})
    context = model.condition.context(
        model.condition.asked(condition), num=2, grid=(2, 3), device=torch.device("cpu")
    )
    prefix = context.window(0, 0, 2, 3)
    given = (
        (prefix.values.numpy(), [5, 6], prefix.mask.numpy()) if name == "text" else (prefix.numpy(), [5, 6])
    )
    for way in ({"top_k": 1}, {"top_p": 0.9}):
        wanted = model.sample(num=2, seed=5, **condition, **way).codes
        found = ours.draw(*given, **way)
        assert np.array_equal(found, wanted.numpy())


class Torch(Model):
    """Stands for onnxruntime: gives what torch gives, but for what a test changes."""

    def __init__(self, tokenizer, change) -> None:
        self.tokenizer, self.change = tokenizer, change

    def encode(self, images):
        return self.change(self.tokenizer.encode(torch.from_numpy(images))).numpy()

    def decode(self, codes):
        return self.tokenizer.decode(torch.from_numpy(codes)).numpy()


def test_a_code_that_is_another_one_ends_the_export():
    tokenizer = a_tokenizer(CODEBOOK)
    wrong = Torch(
        tokenizer, lambda codes: torch.where(torch.arange(codes.shape[2]) == 1, (codes + 1) % 12, codes)
    )
    with pytest.raises(
        UserError, match=r"codes as torch gives them, got \d+ of 1195 others, though nothing ties"
    ):
        checking._tokenizer(tokenizer, wrong, (2, 8))


def test_codes_that_tie_are_told():
    """Two entries equally far from every latent: either may come out, and it is said how often."""
    tokenizer = a_tokenizer(CODEBOOK)
    with torch.no_grad():
        tokenizer.quant_conv.weight.zero_()
        middle, entries = tokenizer.quant_conv.bias, tokenizer.quantizer.codebook.weight
        entries[:] = middle + 9
        entries[3], entries[8] = middle + 0.5, middle - 0.500001
    other = Torch(tokenizer, lambda codes: torch.full_like(codes, 8))
    _, record = checking._tokenizer(tokenizer, other, (2, 8))
    assert record["codes"] == {"compared": 1195, "equal": 0, "ties": 1195, "ties_within": 1e-4}
    shown = checking.told({"images": "generated", **record})
    told = "0 of 1195 equal to torch's, 1195 others tie within rounding"
    assert shown[0] == f"codes: {told}; images: generated"


def test_what_has_no_graph_is_refused(tmp_path):
    smalti.save(a_tokenizer(GaussianSettings()), tmp_path / "kl")
    smalti.save(generator("masked"), tmp_path / "masked")
    smalti.save(generator("pixelsnail"), tmp_path / "pixelsnail")
    for name, said in (
        ("kl", r"got quantizer\.kind=gaussian; keep the model folder"),
        ("masked", r"\(gpt, modern, llamagen\), got prior\.kind=masked; smalti export MODEL/tokenizer OUT"),
        ("pixelsnail", r"got prior\.kind=pixelsnail; smalti export MODEL/tokenizer OUT"),
    ):
        with pytest.raises(UserError, match=said):
            exporting.convert(tmp_path / name, tmp_path / "out", "onnx")
        assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    smalti.save(a_tokenizer(CODEBOOK), tmp_path / "model")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"the package onnxruntime, got none; pip install 'smalti\[onnx\]'"):
        exporting.convert(tmp_path / "model", tmp_path / "out", "onnx")


@pytest.mark.slow
def test_networks_of_maskgit_and_segmentations(tmp_path):
    torch.manual_seed(0)
    network = MaskgitSettings(width=8, multipliers=(1, 2), blocks=1, code_dim=4, groups=4)
    told = exported(Tokenizer(TokenizerSettings(network=network, quantizer=CODEBOOK)), tmp_path / "maskgit")
    assert "16555 of 16555 equal" in told[1]
    network = NetworkSettings(**{**NETWORK, "multipliers": (1, 2), "in_channels": 5, "out_channels": 5})
    settings = TokenizerSettings(network=network, quantizer=CODEBOOK, content="segmentation")
    told = exported(Tokenizer(settings), tmp_path / "classes")
    assert "16555 of 16555 equal" in told[1]


@pytest.mark.slow
def test_the_model_that_ships_on_photographs(tmp_path):
    """64 real crops, all of whose codes are equal; texts by its vocabulary, drawn by onnxruntime alone."""
    pytest.importorskip("skimage", reason="pip install 'smalti[edges]'")
    from skimage import data

    from smalti.shipped import models

    pipe = smalti.load(models()["emoji"])
    with traceable():
        exporting.convert(models()["emoji"], tmp_path / "onnx", "onnx")
    ours = Model(tmp_path / "onnx")
    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    crops = [
        one[y : y + 64, x : x + 64]
        for one in photographs
        for y in range(0, 256, 64)
        for x in range(0, 256, 64)
    ]
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert images.shape == (64, 3, 64, 64)
    codes = pipe.tokenizer.encode(images)
    assert (ours.encode(images.numpy()) == codes.numpy()).sum() == 4096
    assert codes.unique().numel() > 300
    texts = ["a red apple", "grinning face", "snow leopard", "umbrella"]
    pieces = pytest.importorskip("tokenizers", reason="pip install 'smalti[text]'").Tokenizer
    pieces = pieces.from_file(str(tmp_path / "onnx" / "condition" / "vocabulary.json"))
    ids = [pieces.encode(text).ids for text in texts]
    context = pipe.condition.context(texts, num=4, grid=(8, 8), device=torch.device("cpu"))
    prefix = context.window(0, 0, 8, 8)
    assert prefix.values.numpy()[prefix.mask.numpy()].tolist() == [one for row in ids for one in row]
    for way in ({"top_k": 1}, {"top_p": 0.95}):
        for scale in (1.0, 2.0):
            found = ours.draw(prefix.values.numpy(), range(4), prefix.mask.numpy(), guidance=scale, **way)
            assert np.array_equal(found, pipe.sample(text=texts, guidance_scale=scale, **way).codes.numpy())
