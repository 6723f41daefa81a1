"""The priors' layers are torch's whatever the rows, and keep their gradients."""

import pytest
import torch
import torch.nn.functional as F

from smalti.priors.layers import (
    ALONE,
    CUT_FROM,
    CUT_TO,
    GELU,
    PIECE,
    PIECES,
    SMALL_TO,
    TURNED_TO,
    LayerNorm,
    Linear,
)


@pytest.mark.parametrize("rows", [0, 1, 2, 7, TURNED_TO, TURNED_TO + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_linear(rows, dtype, bias, monkeypatch):
    torch.manual_seed(rows)
    taken, multiply = [], torch.mv
    monkeypatch.setattr(torch, "mv", lambda a, b: taken.append(1) or multiply(a, b))
    layer = Linear(24, 40, bias=bias).to(dtype)
    x = torch.randn(1, 24, rows).to(dtype).permute(2, 0, 1)
    expected = F.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    with torch.no_grad():
        found = layer(x)
    assert found.dtype == dtype
    assert len(taken) == (rows == 1)
    assert found.is_contiguous(), "fused attention and all that follows are quick for this layout alone"
    atol = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0.01)


@pytest.mark.parametrize("rows", [CUT_FROM - 1, CUT_FROM, SMALL_TO, SMALL_TO + 1, CUT_TO, CUT_TO + 1])
@pytest.mark.parametrize(("out", "pieces"), [(1024, 32), (528, 16), (264, 8), (1030, 1), (248, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_large_weights(rows, out, pieces, bias, monkeypatch):
    torch.manual_seed(rows)
    taken, multiply = [], torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b: taken.append(len(b)) or multiply(a, b))
    layer = Linear(32 * PIECE // 1024, out, bias=bias)  # of 1024 outputs 32 pieces
    x = torch.randn(1, rows, layer.in_features)
    with torch.no_grad():
        found = layer(x)
    assert found.is_contiguous()
    torch.testing.assert_close(found, F.linear(x, layer.weight, layer.bias), atol=1e-5, rtol=1e-5)
    is_cut = CUT_FROM <= rows <= CUT_TO and pieces > 1
    assert taken == ([pieces if rows <= SMALL_TO else PIECES] if is_cut else [])


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


@pytest.mark.parametrize("count", [1, ALONE, ALONE + 1])
@pytest.mark.parametrize("gradient", [True, False])
def test_gelu(count, gradient, monkeypatch):
    taken, erf = [], torch.erf
    monkeypatch.setattr(torch, "erf", lambda x: taken.append(1) or erf(x))
    x = torch.linspace(-12, 12, count).requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        found = GELU()(x)
    torch.testing.assert_close(found, F.gelu(x), atol=1e-6, rtol=1e-6)
    assert found.requires_grad == gradient
    assert len(taken) == (count <= ALONE and not gradient)
