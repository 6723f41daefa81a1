"""Do the quantizers' numbers stay what they are? Made by own/make.py: also where 2021's are absent."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from smalti import config
from smalti.quantizers import QUANTIZERS, QuantizerSettings

OWN = Path(__file__).parent / "own"


@pytest.fixture(scope="module")
def make():
    sys.path.insert(0, str(OWN))
    import make

    sys.path.remove(str(OWN))
    return make


@pytest.fixture(scope="module")
def file():
    with safe_open(OWN / "quantizers_tiny.safetensors", "pt") as opened:
        settings = json.loads(opened.metadata()["settings"])
        return settings, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, no mapping


def test_every_kind_is_pinned(file):
    pinned = {settings["kind"] for settings in file[0].values()}
    # vq has the tokenizer's numbers, fsq has numbers by hand
    assert pinned == QUANTIZERS.keys() - {"vq", "fsq"}


@pytest.mark.parametrize("kind", ["gumbel", "ema", "gaussian", "remapped", "remapped_gumbel"])
def test_own_numbers_stay(file, make, kind):
    settings, tensors = file
    chosen = config.parse(settings[kind], QuantizerSettings)
    mine = {name.removeprefix(f"{kind}/"): t for name, t in tensors.items() if name.startswith(f"{kind}/")}
    quantizer = QUANTIZERS[chosen.kind][1](chosen, dim=4)
    weights = {name.removeprefix("weights."): t for name, t in mine.items() if name.startswith("weights.")}
    quantizer.load_state_dict(weights, strict=True)
    found = make.results(kind, quantizer, mine["given"])
    assert found.keys() == mine.keys() - {"given", *(f"weights.{name}" for name in weights)}
    assert len(found) >= 3
    for name, tensor in found.items():
        atol = 1e-5 if tensor.is_floating_point() else 0
        torch.testing.assert_close(tensor, mine[name], atol=atol, rtol=0.0, msg=lambda t, n=name: f"{n}: {t}")
