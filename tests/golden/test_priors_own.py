"""The numbers of our own small priors stay what they are: scores, and the codes of every way of drawing.

own/make.py says how they were made. They are what there is where the tensors of the 2021 code are absent, and
for the modern prior, guidance and the noise, of which the 2021 code knows nothing.
"""

import json
from pathlib import Path

import pytest
import torch
from golden.own.make import DRAWS, PRIORS, numbers, untrained
from safetensors import safe_open

from smalti import config
from smalti.pipeline import PipelineSettings

OWN = Path(__file__).parent / "own" / "priors_tiny.safetensors"


@pytest.mark.parametrize("kind", PRIORS)
def test_own_numbers_stay(kind):
    with safe_open(OWN, "pt") as file:
        metadata = file.metadata()
        names = [name for name in file.keys() if name.startswith(f"{kind}/")]  # noqa: SIM118, no mapping
        stored = {name.removeprefix(f"{kind}/"): file.get_tensor(name) for name in names}
    assert json.loads(metadata["draws"]) == DRAWS
    settings = config.parse(json.loads(metadata["settings"])[kind], PipelineSettings)
    model = untrained(settings, int(metadata["codebook_size"]))
    weights = {name: tensor.float() for name, tensor in stored.items() if name.startswith("weights.")}
    model.prior.load_state_dict(
        {name.removeprefix("weights."): w for name, w in weights.items()}, strict=True
    )
    codes = stored["codes"].long()
    found = numbers(model, codes)
    assert found.keys() | {"codes"} | weights.keys() == stored.keys()
    for name, tensor in found.items():
        expected = stored[name] if tensor.is_floating_point() else stored[name].long()
        # scores up to 10: fp32 rounds them by 1e-6, another order of sums by some times as much
        torch.testing.assert_close(
            tensor, expected, atol=2e-5, rtol=0, msg=lambda text, n=name: f"{n}: {text}"
        )
