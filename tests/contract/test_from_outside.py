"""A member that somebody else wrote needs its class and a place in the shelf's dict, and nothing else."""

import itertools
import json
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import pytest
import torch
from jaxtyping import Float, Int64
from safetensors.torch import load_file, save_file
from tiny import NETWORK, TOKENIZER_TRAINING, TRAINING
from torch import Tensor, nn

import smalti
from smalti import config, library
from smalti.config import Few, settings
from smalti.data import READERS
from smalti.data.buckets import Buckets
from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Loader, collate
from smalti.data.transforms import CropSettings
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.loop import Decoder
from smalti.drawing.request import Request
from smalti.errors import UserError
from smalti.formats import FORMATS, WRITERS, exporting, importing
from smalti.formats.protocol import Imported
from smalti.losses import OBJECTIVES
from smalti.losses.objectives import Objective
from smalti.orders import ORDERS, row
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors import PRIORS
from smalti.priors.protocol import Forced, Scope
from smalti.quantizers import QUANTIZERS
from smalti.quantizers.protocol import CommonSettings, Quantized, Quantizer
from smalti.tokenizer import Tokenizer, TokenizerSettings
from smalti.tokens.layout import Layout
from smalti.training.settings import TrainingSettings

PRIOR = {"kind": "gpt", "layers": 1, "heads": 2, "width": 16}
DISCRIMINATOR = {"start": 1, "discriminator_start": 0, "patchgan": {"width": 8, "layers": 1}}


@settings
class SignSettings(CommonSettings):
    """Bits of a code, one a channel."""

    kind: Literal["sign"] = "sign"
    bits: Few = 4

    @property
    def code_dim(self) -> int:
        return self.bits


class SignQuantizer(Quantizer):
    """The sign of each channel, times a length that is learned."""

    def __init__(self, settings: SignSettings, *, dim: int) -> None:
        super().__init__()
        self.settings, self.codebook_size = settings, 2**dim
        self.length = nn.Parameter(torch.ones(dim, 1, 1))

    def forward(self, latents: Float[Tensor, "b d h w"], step: int = 0) -> Quantized:
        z = latents.float()
        bits = (z > 0).movedim(1, -1)
        codes = (bits << torch.arange(bits.shape[-1])).sum(-1)
        entries = self.lookup(codes)
        loss = (entries - z).square().mean()
        return Quantized(latents=entries + (z - z.detach()), codes=codes, loss=loss)

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        bits = codes[:, None] >> torch.arange(len(self.length))[:, None, None] & 1
        return (2.0 * bits - 1) * self.length


@pytest.fixture
def sign(monkeypatch):
    monkeypatch.setitem(QUANTIZERS, "sign", (SignSettings, SignQuantizer))


def small(**more) -> dict:
    """A recipe for a tokenizer of signs, with three bits a code."""
    network = {key: value for key, value in TOKENIZER_TRAINING["network"].items() if key != "code_dim"}
    return {
        **TOKENIZER_TRAINING,
        "steps": 3,
        "network": network,
        "quantizer": {"kind": "sign", "bits": 3},
        **more,
    }


def trained(recipe: dict, folder: Path, photos: Path) -> Path:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(config.yaml.safe_dump(recipe))
    return smalti.train(folder / "recipe.yaml", data=photos, out=folder / "run")


def test_a_quantizer(sign, photos, tmp_path):
    """It trains, is saved, loaded, told, refused by formats; a prior learns on it and draws."""
    folder = trained(small(), tmp_path / "tokenizer", photos)
    tokenizer = smalti.load(folder)
    assert (tokenizer.codebook_size, tokenizer.settings.network.code_dim) == (8, 3)
    assert (tokenizer.quantizer.length != 1).any(), "it has not learned"
    images = torch.rand(2, 3, 12, 20) * 2 - 1
    codes = tokenizer.encode(images)
    assert codes.shape == (2, 6, 10)
    assert tokenizer.reconstruct(images).shape == images.shape
    library.save(tokenizer, tmp_path / "again")
    assert torch.equal(smalti.load(tmp_path / "again").encode(images), codes)
    assert "8 codes, 3 channels" in library.outline(folder).words
    for name in ("compvis", "diffusers"):  # formats with a word for each quantizer; a graph needs none
        with pytest.raises(UserError, match=r"got (quantizer\.)?kind.sign; keep the model folder"):
            exporting.convert(folder, tmp_path / "out", name)
    recipe = {**TRAINING, "kind": "prior", "tokenizer": str(folder), "prior": PRIOR, "steps": 2}
    model = smalti.load(trained(recipe, tmp_path / "prior", photos))
    (drawn,) = model.sample(num=1, seed=0)
    assert drawn.size == (16, 16)


class PairsQuantizer(SignQuantizer):
    """The same bits as two codes a cell."""

    def layout(self, grid: tuple[int, int]) -> Layout:
        return Layout(grids=(grid,), vocabulary=4, depth=2)


class ScalesQuantizer(SignQuantizer):
    """The same bits on two grids."""

    def layout(self, grid: tuple[int, int]) -> Layout:
        return Layout(grids=((1, 1), grid), vocabulary=8)


@pytest.mark.parametrize(
    ("member", "count", "words"),
    [
        (PairsQuantizer, 24, r"24 tokens \(4 x 6\), 2 of 4 codes each"),
        (ScalesQuantizer, 25, r"25 tokens \(1 x 1 \+ 4 x 6\), 1 of 8 codes each"),
    ],
)
@pytest.mark.parametrize("kind", PRIORS)
def test_tokens_that_a_prior_does_not_know(sign, monkeypatch, member, count, words, kind):
    """A quantizer whose tokens are other than one code a cell is refused by every prior in one line."""
    monkeypatch.setitem(QUANTIZERS, "sign", (SignSettings, member))
    network = {key: value for key, value in NETWORK.items() if key != "code_dim"}
    tokenizer = Tokenizer(
        config.parse({"network": network, "quantizer": {"kind": "sign", "bits": 3}}, TokenizerSettings)
    )
    assert tokenizer.layout((4, 6)).count == count
    how = {"prior": {"kind": kind}, "condition": {"kind": "none"}, "grid": [4, 6]}
    with pytest.raises(UserError, match=f"one code a cell for this prior, got {words}; use another"):
        Pipeline(config.parse(how, PipelineSettings), tokenizer)


@settings
class BagSettings:
    """How far apart the first logits lie."""

    kind: Literal["bag"] = "bag"
    spread: float = 1.0


class Bag(Forced):
    """Every code is as likely anywhere: all unknown cells are drawn in one pass."""

    def __init__(self, settings: BagSettings, scope: Scope) -> None:
        super().__init__(scope)
        self.settings, self.codebook_size = settings, scope.codebook_size
        self.logits = nn.Parameter(torch.linspace(0, settings.spread, scope.codebook_size))

    def forward(self, codes: Int64[Tensor, "b n"], prefix: Int64[Tensor, "b m"]) -> Float[Tensor, "b n v"]:
        return self.logits.expand(*codes.shape, -1)

    def decoder(self, guided: Guided, canvas: Canvas) -> Decoder:
        return AtOnce(self, canvas)

    def rows(self, canvas: Canvas) -> int:
        return 1

    def check(self, asked: Request, grid: tuple[int, int], factor: int) -> None:
        self.check_size(grid, factor)


class AtOnce(Decoder):
    def __init__(self, prior: Bag, canvas: Canvas) -> None:
        unknown = (~canvas.known).flatten().nonzero().T  # 1 p
        self.prior, self.passes = prior, iter([unknown.expand(len(canvas.codes), -1)])

    def next(self) -> Int64[Tensor, "b p"] | None:
        return next(self.passes, None)

    def predict(
        self, tokens: Int64[Tensor, "b n"], positions: Int64[Tensor, "b p"]
    ) -> Float[Tensor, "b p v"]:
        return self.prior.logits.expand(*positions.shape, -1)


def test_a_prior(monkeypatch, photos, tmp_path):
    """It trains, is saved, loaded, draws any canvas, completes, knows its likelihood; formats refuse it."""
    monkeypatch.setitem(PRIORS, "bag", (BagSettings, Bag))
    folder = trained({**TOKENIZER_TRAINING, "steps": 1}, tmp_path / "tokenizer", photos)
    recipe = {**TRAINING, "kind": "prior", "tokenizer": str(folder), "prior": {"kind": "bag", "spread": 2.0}}
    run = trained({**recipe, "steps": 2}, tmp_path / "prior", photos)
    model = smalti.load(run)
    assert not model.prior.logits.equal(torch.linspace(0, 2, 32)), "it has not learned"
    wide = model.sample(num=3, seed=4, size=(16, 24))
    assert wide.codes.shape == (3, 8, 12)
    assert model.sample(seed=5, size=(16, 24)).codes[0].equal(wide.codes[1])
    kept = model.complete(wide[0], keep="left:0.5").codes
    assert kept[:, :, :6].equal(model.tokenizer.encode(wide[0])[:, :, :6])
    shares = model.prior.logits.log_softmax(0)
    expected = -shares[wide.codes[:, :8, :8]].mean().item()
    assert model.nats_per_token(wide.codes[:, :8, :8]) == pytest.approx(expected, abs=1e-5)
    for name in WRITERS:
        with pytest.raises(UserError) as told:
            exporting.convert(run, tmp_path / "out", name)
        assert len(str(told.value).splitlines()) == 1


def test_what_is_wrong_with_its_settings_is_told_as_of_any(sign):
    with pytest.raises(UserError, match=r"a valid quantizer\.bits, got 0; "):
        config.parse({"quantizer": {"kind": "sign", "bits": 0}}, TokenizerSettings)
    with pytest.raises(UserError, match=r"a key that quantizer has, got quantizer\.bit; .*quantizer\.bits"):
        config.parse({"quantizer": {"kind": "sign", "bit": 3}}, TokenizerSettings)
    with pytest.raises(
        UserError, match=r"one of vq, .*, sign, got sine; did you mean quantizer\.kind=sign\?"
    ):
        config.parse({"quantizer": {"kind": "sine"}}, TokenizerSettings)


def test_a_member_is_gone_with_its_place():
    with pytest.raises(UserError, match=r"expected quantizer\.kind as one of vq, .*, got sign"):
        config.parse({"quantizer": {"kind": "sign"}}, TokenizerSettings)


@settings
class MirroredSettings(FolderSettings):
    """A folder of images that are seen in a mirror."""

    kind: Literal["mirrored"] = "mirrored"


class Mirrored(Folder):
    """Every image from right to left."""

    def __getitem__(self, index: int):
        sample = super().__getitem__(index)
        return replace(sample, image=sample.image.flip(-1))


@settings
class EndlessSettings(FolderSettings):
    """A folder of images that comes as a stream."""

    kind: Literal["endless"] = "endless"


def test_a_reader(monkeypatch, photos, tmp_path):
    monkeypatch.setitem(READERS, "mirrored", (MirroredSettings, Mirrored))
    recipe = {**TOKENIZER_TRAINING, "steps": 1, "data": {"kind": "mirrored", "val_share": 0.2}}
    folder = trained(recipe, tmp_path / "tokenizer", photos)
    assert config.load_yaml(folder / "settings.yaml")["data"]["kind"] == "mirrored"
    known = smalti.load(folder)
    plain = trained({**recipe, "data": {**recipe["data"], "kind": "folder"}}, tmp_path / "plain", photos)
    assert not torch.equal(known.decoder.conv_in.weight, smalti.load(plain).decoder.conv_in.weight)


class Endless(Mirrored):
    """The same as a stream that is read from the front: its third image is damaged."""

    def __getitem__(self, index: int):
        raise AssertionError("a stream has no numbers")

    def samples(self, seed: int, start: int):
        for number in itertools.count(start):
            index = (seed + 3 * number) % len(self)
            wrong = UserError("an image", f"number {index}", "make it anew")
            yield wrong if index == 2 else super().__getitem__(index)


def test_a_stream(monkeypatch, photos, tmp_path, capfd):
    """A tokenizer is trained from it; a run that was left goes on as if it had not been."""
    monkeypatch.setitem(READERS, "endless", (EndlessSettings, Endless))
    data = {"kind": "endless", "val_share": 0.2}
    recipe = {**TOKENIZER_TRAINING, "data": data, "checkpoint_every": 2, "validate_every": 2}
    whole = trained({**recipe, "steps": 4}, tmp_path / "whole", photos)
    left = trained({**recipe, "steps": 2}, tmp_path / "left", photos)
    smalti.train(out=left, resume=True, steps=4)
    one, other = (load_file(run / "model" / "model.safetensors") for run in (whole, left))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    assert "skipped: expected an image, got number 2" in capfd.readouterr().err
    lines = [
        [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (whole, left)
    ]
    losses = [[line["loss/autoencoder"] for line in found if line["kind"] == "train"] for found in lines]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_processes_share_a_stream(photos):
    """Each takes its part of every batch; in place of what cannot be used another one of its part stands."""
    reader = Endless(EndlessSettings(root=photos, val_share=0.2), "train")
    how = {"size": (16, 16), "crop": CropSettings(resize="none"), "batch": 4, "seed": 5}
    told: list[UserError] = []
    first, second = (
        islice(Loader(reader, **how, share=(rank, 2), skipped=told.append).batches(1), 3) for rank in (0, 1)
    )
    parts = [torch.cat([one.images, two.images]) for one, two in zip(first, second, strict=True)]
    skipped = [number for number in range(4, 16) if (5 + 3 * number) % len(reader) == 2]
    assert len(told) == len(skipped) >= 1
    whole = islice(Loader(reader, **how, skipped=told.append).batches(1), 3)
    for number, (part, batch) in enumerate(zip(parts, whole, strict=True), 1):
        same = (part == batch.images).flatten(1).all(1)
        assert all(same[at] for at in range(4) if 4 * number + at not in skipped)
        assert len(part.flatten(1).unique(dim=0)) == 4 - sum(
            4 * number <= at < 4 * number + 4 for at in skipped
        )
    with pytest.raises(UserError, match="an image, got number 2"):
        list(islice(Loader(reader, **how).batches(1), 3))
    with pytest.raises(UserError, match=r"do not say beforehand how large .*, got 2 sizes; size=16"):
        Buckets.of(reader, [(16, 16), (12, 20)])


def test_crops_of_a_stream_are_new_in_every_batch(photos, monkeypatch):
    reader = Endless(EndlessSettings(root=photos, val_share=0.2), "train")
    one = Mirrored.__getitem__(reader, 0)
    monkeypatch.setattr(reader, "samples", lambda seed, start: itertools.repeat(one))
    how = {"size": (8, 8), "crop": CropSettings(resize="none"), "batch": 1, "seed": 5}
    first = [batch.images for batch in islice(Loader(reader, **how).batches(0), 6)]
    later = [batch.images for batch in islice(Loader(reader, **how).batches(2), 4)]
    assert len(torch.cat(first).flatten(1).unique(dim=0)) > 3
    assert torch.cat(first[2:]).equal(torch.cat(later))
    third = map(collate, Loader(reader, **how).samples(1, step=2))
    assert [batch.images.equal(first[at]) for batch, at in zip(third, (1, 3, 5), strict=False)] == [True] * 3


def test_an_objective(monkeypatch, photos, tmp_path):
    """That of least squares (arXiv:1611.04076)."""
    least = Objective(
        discriminator=lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        generator=lambda fake: (fake - 1).square().mean() / 2,
    )
    monkeypatch.setitem(OBJECTIVES, "least_squares", least)
    losses = {"perceptual": {"kind": "none"}, "adversarial": {**DISCRIMINATOR, "objective": "least_squares"}}
    recipe = {**TOKENIZER_TRAINING, "steps": 2, "losses": losses}
    folder = trained(recipe, tmp_path / "tokenizer", photos)
    assert config.load_yaml(folder / "settings.yaml")["losses"]["adversarial"]["objective"] == "least_squares"
    found = config.parse(config.load_yaml(folder / "settings.yaml"), TrainingSettings)
    assert found.losses.adversarial.objective == "least_squares"


def test_an_order(monkeypatch, photos, tmp_path):
    """Of columns: a prior learns and draws in it; the format that has no such class says so."""
    monkeypatch.setitem(ORDERS, "column", lambda h, w: row(h, w).view(h, w).T.flatten())
    folder = trained({**TOKENIZER_TRAINING, "steps": 1}, tmp_path / "tokenizer", photos)
    recipe = {**TRAINING, "kind": "prior", "tokenizer": str(folder), "prior": PRIOR, "order": "column"}
    folder = trained({**recipe, "size": [16, 24], "steps": 1}, tmp_path / "prior", photos)
    model = smalti.load(folder)
    assert model.order[:9].tolist() == [0, 12, 24, 36, 48, 60, 72, 84, 1]
    (drawn,) = model.sample(num=1, seed=0)
    assert drawn.size == (24, 16)
    with pytest.raises(
        UserError, match=r"an order that is one of row, .*, got column; keep the model folder"
    ):
        exporting.convert(folder, tmp_path / "out", "compvis")


@dataclass(frozen=True)
class Flat:
    """A format: all tensors in one file, their names joined by a sign of its own."""

    sign: str = "/"

    def recognises(self, source) -> bool:
        return all(self.sign in name for name in source.tensors)

    def describe(self, source) -> str:
        return f"a flat model of {len(source.tensors)} tensors"

    def read(self, source, wanted) -> Imported:
        model = Tokenizer(
            config.parse({"network": NETWORK, "quantizer": {"codebook_size": 8}}, TokenizerSettings)
        )
        model.load_state_dict({name.replace(self.sign, "."): one for name, one in source.tensors.items()})
        return Imported(model=model)

    def write(self, model, out, discriminator) -> tuple[str, ...]:
        save_file(
            {name.replace(".", self.sign): one for name, one in model.state_dict().items()},
            out / "all.safetensors",
        )
        return ("flat as ever",)


def test_a_format(monkeypatch, tmp_path):
    flat = Flat()
    monkeypatch.setitem(FORMATS, "flat", flat)
    monkeypatch.setitem(WRITERS, "flat", flat.write)
    model = Tokenizer(
        config.parse({"network": NETWORK, "quantizer": {"codebook_size": 8}}, TokenizerSettings)
    )
    library.save(model, tmp_path / "model")
    told = exporting.convert(tmp_path / "model", tmp_path / "there", "flat")
    file = tmp_path / "there" / "all.safetensors"
    assert told == (str(tmp_path / "there"), "flat as ever")
    assert "encoder/conv_in/weight" in load_file(file)
    assert "a flat model of" in importing.describe(file)
    importing.convert(file, tmp_path / "back")
    assert smalti.load(tmp_path / "back").fingerprint == smalti.load(tmp_path / "model").fingerprint
