"""Number types: what "auto" means, models whose parts have different ones, and what their work says of it."""

import json

import pytest
import tiny
import torch

import smalti
from smalti import imaging, library, precision
from smalti.conditions.map import MapSettings
from smalti.drawing.guidance import Guided, Weighted
from smalti.errors import UserError
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

CPU = torch.device("cpu")
FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16
SMALL = {"layers": 1, "heads": 2, "width": 16}


@pytest.fixture
def model(tmp_path):
    smalti.save(tiny.generator(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def of_maps(tmp_path):
    """A model that is told a map of four classes, through a tokenizer of its own."""
    torch.manual_seed(0)
    images, maps = (
        Tokenizer(
            TokenizerSettings(
                network=NetworkSettings(
                    **tiny.NETWORK, multipliers=(1, 2), in_channels=channels, out_channels=channels
                ),
                content=content,
            )
        )
        for channels, content in ((3, "image"), (4, "segmentation"))
    )
    settings = PipelineSettings(prior=GPTSettings(**SMALL), condition=MapSettings(), grid=(4, 4))
    smalti.save(Pipeline(settings, images, maps), tmp_path / "of_maps")
    return tmp_path / "of_maps"


@pytest.fixture
def in_bf16(monkeypatch):
    """Every device computes in bf16."""
    monkeypatch.setattr(precision, "computes_bf16", lambda device: True)


def kept(model: Pipeline) -> tuple[torch.dtype, ...]:
    return model.dtype, model.tokenizer.dtype, model.tokenizer.quantizer.codebook.weight.dtype


def metadata(image) -> dict:
    return json.loads(image.info[imaging.METADATA])


@pytest.mark.parametrize("computes", [True, False])
@pytest.mark.parametrize("is_large", [True, False])
def test_auto_is_what_each_network_is_quickest_in(model, monkeypatch, computes, is_large):
    monkeypatch.setattr(precision, "computes_bf16", lambda device: computes)
    weights = sum(weight.numel() for weight in tiny.generator().prior.parameters())
    monkeypatch.setattr(precision, "LARGE", weights if is_large else weights + 1)
    prior, tokenizer = (BF16 if computes and is_large else FP32), (BF16 if computes else FP32)
    assert kept(smalti.load(model, dtype="auto")) == (prior, tokenizer, FP32)
    assert smalti.load(model / "tokenizer", dtype="auto").dtype == tokenizer
    assert kept(smalti.load(model)) == (FP32, FP32, FP32)


def test_small_priors_are_kept_in_fp32_on_a_cpu_only(in_bf16):
    assert precision.quickest_for_prior(CPU, 15_000_000) == FP32
    assert precision.quickest_for_prior(CPU, 39_000_000) == BF16
    assert precision.quickest_for_prior(torch.device("cuda"), 1) == BF16


def test_prior_and_tokenizer_of_different_types(model, in_bf16):
    mixed, whole = smalti.load(model, dtype="auto"), smalti.load(model)
    assert kept(mixed)[:2] == (FP32, BF16)
    for said in ({}, {"size": (8, 14)}, {"guidance_scale": 2.0}, {"micro_batch": 2}, {"speculative": 3}):
        drawn, wanted = (one.sample(num=3, label=1, **said).codes for one in (mixed, whole))
        assert drawn.equal(wanted), said  # codes are the prior's alone
        assert mixed.sample(num=3, label=1, **said).tensors.dtype == FP32
    image = mixed.sample(label=1, size=(8, 14))[0]
    assert mixed.complete(image, label=1)[0].size == (14, 8)
    pixels = mixed.sample(num=2, label=1).tensors.clamp(-1, 1)
    assert 0 < mixed.nats_per_token(pixels, label=1) < 20
    assert mixed.logits(mixed.tokenizer.encode(pixels), label=1).dtype == FP32
    assert "prior fp32, tokenizer bf16" in metadata(image)["precision"]


@pytest.mark.parametrize("dtype", ["auto", BF16, FP16])
def test_maps_pass_through_tokenizers_in_half_precision(of_maps, in_bf16, dtype):
    model = smalti.load(of_maps, dtype=dtype)
    assert {model.tokenizer.dtype, model.condition.own.dtype} == {BF16 if dtype == "auto" else dtype}
    labels = torch.arange(128).view(8, 16) // 5 % 4
    (image,) = model.sample(map=labels, size=(8, 16))
    assert image.size == (16, 8)
    assert model.complete(image, map=labels)[0].size == (16, 8)


@pytest.mark.parametrize("kind", ["gpt", "neighbourhood"])
def test_fp16_works_on_a_cpu(tmp_path, kind):
    smalti.save(tiny.generator(kind), tmp_path / "model")
    model = smalti.load(tmp_path / "model", dtype=FP16)
    (image,) = model.sample(label=0, size=(8, 14), guidance_scale=2.0)
    assert metadata(model.complete(image, label=0)[0])["precision"] == "fp16"
    pixels = model.sample(label=0).tensors
    assert pixels.isfinite().all()
    assert 0 < model.nats_per_token(pixels.clamp(-1, 1), label=0) < 20


@pytest.mark.parametrize("dtype", [FP32, "auto", BF16, FP16])
def test_the_fingerprint_is_that_of_the_weights_loaded(model, of_maps, in_bf16, dtype):
    for folder in (model, of_maps):
        loaded, written = smalti.load(folder, dtype=dtype), library.read_config(folder)["fingerprint"]
        assert library.fingerprint(loaded) == loaded.fingerprint == written


def test_a_image_says_its_precision_unless_it_is_fp32(model):
    assert metadata(smalti.load(model, dtype=BF16).sample(label=0)[0])["precision"] == "bf16"
    assert "precision" not in metadata(smalti.load(model).sample(label=0)[0])
    assert precision.recorded(tokenizer=torch.float64) == {"precision": "torch.float64"}


@pytest.mark.parametrize("dtype", ["auto", BF16])
def test_half_precision_is_not_saved(model, in_bf16, tmp_path, dtype):
    for part in (model, model / "tokenizer"):
        loaded = smalti.load(part, dtype=dtype)
        with pytest.raises(UserError, match="weights as trained, in fp32, got one kept in bf16"):
            smalti.save(loaded, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_overflow_in_fp16_is_told(model):
    tokenizer = smalti.load(model / "tokenizer", dtype=FP16)
    pixels = torch.zeros(1, 3, 8, 8)
    assert tokenizer.encode(pixels).shape == (1, 4, 4)
    tokenizer.decoder.conv_out.bias.data.fill_(torch.inf)
    with pytest.raises(UserError, match="range of fp16"):
        tokenizer.decode(tokenizer.encode(pixels))
    tokenizer.quant_conv.bias.data.fill_(torch.inf)
    with pytest.raises(UserError, match="range of fp16"):
        tokenizer.encode(pixels)


@pytest.mark.parametrize(
    "options", [{}, {"size": (8, 14)}, {"speculative": 2}, {"guidance_scale": 2.0}], ids=str
)
def test_overflow_of_a_prior_in_fp16_is_told(model, options):
    loaded = smalti.load(model, dtype=FP16)
    loaded.sample(label=0, **options)
    loaded.prior.head.weight.data.fill_(torch.inf)
    with pytest.raises(UserError, match="a prior within the range of fp16"):
        loaded.sample(label=0, **options)


@pytest.mark.parametrize("dtype", ["half", "", torch.int64])
def test_types_that_no_network_has(model, dtype):
    with pytest.raises(UserError, match="fp32, bf16, fp16, auto"):
        smalti.load(model, dtype=dtype)


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_types_by_name(model, name):
    assert smalti.load(model, dtype=name).dtype == precision.DTYPES[name]


def test_precision_is_settled_by_the_device(monkeypatch):
    assert precision.choose("fp16", CPU) == "fp16"
    for features, chosen in (({"amx_bf16": True}, "bf16"), ({"avx512_bf16": False}, "fp32"), ({}, "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=features: found, raising=False)
        assert precision.choose("auto", CPU) == chosen
    assert precision.choose("auto", torch.device("meta")) == "fp32"


def test_precision_where_torch_has_no_public_question(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not precision.computes_bf16(CPU)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert precision.computes_bf16(CPU)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not precision.computes_bf16(CPU)


@pytest.mark.parametrize("amx", [True, False])
def test_keys_and_values_of_bf16_are_held_in_what_attention_is_quick_in(amx, monkeypatch):
    monkeypatch.setattr(precision, "has_amx", lambda: amx)
    held = torch.bfloat16 if amx else torch.float32
    assert precision.of_cache(torch.bfloat16, CPU) == held
    assert precision.of_cache(torch.bfloat16, torch.device("cuda")) == torch.bfloat16
    assert precision.of_cache(torch.float32, CPU) == torch.float32
    assert precision.of_cache(torch.float16, CPU) == torch.float16


@pytest.mark.parametrize("when", [0, 1, 2])
def test_one_overflow_among_many_calls_is_told(when):
    scores = [torch.zeros(1, 4, dtype=torch.float16) for _ in range(3)]
    scores[when][0, 1] = torch.inf
    drawing = tiny.generator()
    prompt = drawing.condition.context(0, num=1, grid=(4, 4), device=CPU)
    guided = Guided([Weighted(prompt)], limit=4)
    for each in scores:
        guided(each[:, None], torch.tensor([[0]]))
    with pytest.raises(UserError, match="a prior within the range of fp16"):
        guided.check()
