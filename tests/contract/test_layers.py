"""The priors' layers are torch's, while drawing up to rounding, whatever the rows; gradients are kept."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from smalti import precision
from smalti.priors import layers
from smalti.priors.layers import LayerNorm, Linear, drawing


@pytest.fixture(params=[True, False], ids=["amx", "no amx"])
def amx(request, monkeypatch):
    monkeypatch.setattr(layers, "has_amx", lambda: request.param)
    return request.param


def plain(layer, x):
    found = F.linear(x, layer.weight, layer.bias)
    return F.gelu(found) if layer.then_gelu else found


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 64, 65])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "how", [{}, {"bias": False}, {"then_gelu": True}, {"bias": False, "then_gelu": True}]
)
def test_it_is_linear_while_drawing(rows, dtype, how, amx, monkeypatch):
    if dtype == torch.bfloat16 and not precision.computes_bf16(torch.device("cpu")):
        pytest.skip("this CPU does not compute in bf16")
    torch.manual_seed(rows)
    taken, multiply = [], torch.mv
    monkeypatch.setattr(torch, "mv", lambda a, b: taken.append(1) or multiply(a, b))
    layer = Linear(24, 40, **how).to(dtype)
    x = torch.randn(1, 24, rows).to(dtype).permute(2, 0, 1)
    with torch.inference_mode(), drawing(nn.Sequential(layer)):
        found = layer(x)
        assert (layer.packed is None) == (len(taken) == 1)
    assert len(taken) == (rows == 1 and amx and dtype == torch.float32)
    assert found.dtype == dtype
    assert found.is_contiguous(), "fused attention and all that follows are quick for this layout alone"
    expected = plain(layer.double(), x.double())
    atol = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0.01)
    assert (layer.packed, layer.is_drawing) == (None, False), "no second copy is left"


@pytest.mark.parametrize("then_gelu", [True, False])
def test_else_it_is_torchs(then_gelu):
    layer, x = Linear(24, 40, then_gelu=then_gelu), torch.randn(3, 24)
    assert layer(x).equal(plain(layer, x))


def test_weights_may_change_between_drawings(amx):
    layer, x = Linear(24, 40), torch.randn(3, 24)
    with torch.no_grad():
        for _ in range(2):
            with drawing(layer):
                torch.testing.assert_close(layer(x), plain(layer, x), atol=1e-5, rtol=1e-5)
            layer.weight.data += 1  # no version counter sees this


def test_an_error_ends_a_drawing():
    layer = Linear(24, 40)

    def draw():
        with torch.no_grad(), drawing(layer):
            layer(torch.randn(3, 24))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw()
    assert (layer.packed, layer.is_drawing) == (None, False)


@pytest.mark.parametrize("found", [False, True])
def test_where_onednn_is_not(found, monkeypatch):
    monkeypatch.setattr(layers, "is_x86", lambda: found)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: not found)
    layer, x = Linear(24, 40), torch.randn(3, 24)
    with torch.no_grad(), drawing(layer):
        assert layer(x).equal(plain(layer, x))
        assert layer.packed is None


def test_what_has_no_layers_can_draw():
    with drawing(object()):
        pass


def test_gradients():
    layer = Linear(8, 5).to(torch.bfloat16)
    layer(torch.randn(2, 8).bfloat16()).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gradient", [True, False])
def test_layer_norm(dtype, gradient):
    torch.manual_seed(0)
    layer, x = LayerNorm(24).to(dtype), torch.randn(3, 1, 24, dtype=dtype)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    with torch.set_grad_enabled(gradient):
        assert layer(x).equal(F.layer_norm(x, (24,), layer.weight, layer.bias, layer.eps))
