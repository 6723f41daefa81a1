"""What is read, parsed or allocated is so once: counted, not timed."""

import pytest
import torch
from tiny import generator

import smalti
from smalti import library
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.none import NoConditionSettings
from smalti.sampling.guidance import MEMORY, Scorer


@pytest.mark.parametrize("kind", ["gpt", "modern", "llamagen", "neighbourhood"])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_23_room_for_caches_is_computed_not_allocated(kind, scale, monkeypatch):
    model = generator(kind, grid=(4, 6))
    prompt = model.condition.encode("brick", num=3, grid=(4, 6), device=torch.device("cpu"))
    scorer = Scorer(model.prior, prompt, null=prompt, scale=scale, limit=12)
    expected = MEMORY // scorer.new_cache(3).nbytes
    places = []
    real = torch.Tensor.new_empty

    def counted(self, *sizes, **options):
        made = real(self, *sizes, **options)
        places.append(made.device.type)
        return made

    monkeypatch.setattr(torch.Tensor, "new_empty", counted)
    assert scorer.room(3) == expected
    assert places == ["meta"]


@pytest.mark.parametrize("kind", ["gpt", "modern", "llamagen", "neighbourhood"])
def test_23_info_reads_headers_only(kind, tmp_path, monkeypatch):
    model = generator(kind, grid=(4, 6), order="row")
    smalti.save(model, tmp_path / "model", {"steps": 7})
    parameters = sum(parameter.numel() for parameter in model.prior.parameters()) / 1e6
    own = sum(parameter.numel() for parameter in model.tokenizer.parameters()) / 1e6
    monkeypatch.setattr(library, "load_file", None)  # what would be called
    for file in tmp_path.rglob("model.safetensors"):  # the numbers go, headers and lengths stay
        data = file.read_bytes()
        begin = 8 + int.from_bytes(data[:8], "little")
        file.write_bytes(data[:begin] + b"\xff" * (len(data) - begin))
    told = library.describe(tmp_path / "model").splitlines()
    made_by = library.read_config(tmp_path / "model")["fingerprint"]
    assert told == [
        f"{tmp_path / 'model'}: generator {made_by}",
        f"tokenizer: factor 2, 12 codes, 3 channels, {own:.2f} M parameters",
        f"prior: {kind}, {parameters:.2f} M parameters, crop 8 x 12 pixels",
        "condition: label: brick, grass, moon",
        "steps: 7",
    ]


@pytest.mark.parametrize(
    "condition",
    [
        NoConditionSettings(),
        CoordinatesSettings(),
        MapSettings(shared=True),
        BoxesSettings(classes=3, names=("sun", "sea", "sky")),
    ],
    ids=lambda condition: condition.kind,
)
def test_23_info_knows_models_of_every_condition(condition, tmp_path):
    smalti.save(generator(condition=condition, grid=(4, 6), order="row"), tmp_path / "model")
    assert f"condition: {condition.kind}" in library.describe(tmp_path / "model")


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer/model.safetensors"])
def test_23_info_still_says_what_is_not_whole(missing, tmp_path):
    smalti.save(generator(), tmp_path / "model")
    smalti.save(generator("modern"), tmp_path / "other")
    file = tmp_path / "model" / missing
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(smalti.UserError, match="copy it again"):
        library.describe(tmp_path / "model")
    file.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(smalti.UserError, match="not of one model"):
        library.describe(tmp_path / "model")
