"""The priors' layers are torch's whatever the rows, and keep their gradients."""

import pytest
import torch
import torch.nn.functional as F

from smalti.priors.layers import FEW, GELU, LARGE, MANY, SHORT, SOME, LayerNorm, Linear


@pytest.mark.parametrize("rows", [0, 1, 2, 7, FEW, FEW + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_linear(rows, dtype, bias):
    torch.manual_seed(rows)
    layer = Linear(24, 40, bias=bias).to(dtype)
    x = torch.randn(rows, 1, 24).to(dtype)
    expected = F.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    with torch.no_grad():
        found = layer(x)
    assert found.dtype == dtype
    assert found.is_contiguous(), "fused attention and all that follows are quick for this layout alone"
    atol = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0.01)


@pytest.mark.parametrize("rows", [SOME - 1, SOME, 13, MANY, MANY + 1])
@pytest.mark.parametrize("out", [1024, 1030], ids=["in pieces", "not in pieces"])
@pytest.mark.parametrize("bias", [True, False])
def test_large_weights(rows, out, bias, monkeypatch):
    torch.manual_seed(rows)
    taken, in_pieces = [], Linear._in_pieces
    monkeypatch.setattr(Linear, "_in_pieces", lambda layer, x: taken.append(1) or in_pieces(layer, x))
    layer = Linear(LARGE // 1024, out, bias=bias)
    x = torch.randn(1, rows, layer.in_features)
    with torch.no_grad():
        found = layer(x)
    assert found.is_contiguous()
    torch.testing.assert_close(found, F.linear(x, layer.weight, layer.bias), atol=1e-5, rtol=1e-5)
    assert bool(taken) == (SOME <= rows <= MANY and out == 1024)


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


@pytest.mark.parametrize("count", [1, SHORT, SHORT + 1])
@pytest.mark.parametrize("gradient", [True, False])
def test_gelu(count, gradient):
    x = torch.linspace(-12, 12, count).requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        found = GELU()(x)
    torch.testing.assert_close(found, F.gelu(x), atol=1e-6, rtol=1e-6)
    assert found.requires_grad == gradient
