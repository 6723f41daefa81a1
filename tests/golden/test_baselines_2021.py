"""The benchmarks' algorithms of 2021 give the codes that the 2021 code gave."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
CANVASES = {
    "class_3": "transformer_class",
    "unconditional": "transformer_unconditional",
    "depth": "transformer_depth",
}


@pytest.fixture(scope="module")
def baseline():
    path = ROOT / "benchmarks" / "baselines" / "gpt_2021.py"
    spec = importlib.util.spec_from_file_location("gpt_2021", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def network(baseline, case):
    """The network of a golden checkpoint, under the original's own names."""
    said = case.config["transformer_config"]["params"]
    model = baseline.GPT(
        vocabulary=said["vocab_size"],
        block=said["block_size"],
        layers=said["n_layer"],
        heads=said["n_head"],
        width=said["n_embd"],
    )
    model.load_state_dict(case.state_dict("transformer."))
    return model.eval()


@pytest.fixture(params=["transformer_class", "transformer_unconditional"])
def case(request, golden):
    return golden(request.param)


@pytest.mark.parametrize("way", ["growing_cache", "recomputed"])
def test_greedy_codes(baseline, case, way):
    model, prompt = network(baseline, case), case.tensors["c_indices"]
    codes = getattr(baseline, way)(model, prompt, 64, baseline.greedy)
    assert codes.equal(case.tensors["greedy_codes"])


def test_scores(baseline, case):
    tokens = torch.cat((case.tensors["c_indices"], case.tensors["z_indices"]), 1)[:, :-1]
    first = case.tensors["c_indices"].shape[1] - 1
    case.close(network(baseline, case)(tokens)[:, first:], "logits")


@pytest.mark.parametrize("name", CANVASES)
def test_sliding_window(baseline, golden, name):
    case, source = golden("sliding_window"), golden(CANVASES[name])
    size = tuple(case.tensors[f"{name}.codes"].shape[1:])
    if name == "depth":
        stage = source.imported().model.condition.own
        told = stage.encode(case.tensors["depth.depth"])

        def prefix(top, left):
            return told[:, top : top + 8, left : left + 8].flatten(1)

    else:
        token = torch.tensor([[case.case["variants"][name]["const"]]])

        def prefix(top, left):
            return token

    codes = baseline.sliding_window(network(baseline, source), prefix, size, baseline.greedy, side=8)
    assert codes.equal(case.tensors[f"{name}.codes"])


def test_weights_of_ours(baseline, golden):
    case = golden("transformer_class")
    given = baseline.weights_of(case.imported().model.prior.state_dict())
    masks = {key for key in case.state_dict("transformer.") if key.endswith("attn.mask")}
    expected = {key: value for key, value in case.state_dict("transformer.").items() if key not in masks}
    assert given.keys() == expected.keys()
    assert all(given[key].equal(value) for key, value in expected.items())


def test_draws_are_what_is_said(baseline):
    """Frequencies follow softmax over the k best, of which ties at the k-th stay."""
    scores = torch.tensor([[2.0, 1.0, 1.0, 0.0]])
    draw = baseline.multinomial(top_k=2)
    found = torch.cat([draw(scores, number) for number in range(3000)])
    shares = torch.bincount(found, minlength=4) / 3000
    torch.testing.assert_close(shares[:3], scores[0, :3].softmax(-1), atol=0.04, rtol=0)
    assert shares[3] == 0
