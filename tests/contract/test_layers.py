"""The priors' layers are torch's, within a drawing up to rounding, whatever the rows; gradients are kept."""

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import nn

from smalti import precision
from smalti.priors import PRIORS, layers
from smalti.priors.layers import LayerNorm, Linear, Packed, RMSNorm, pack

packs = pytest.mark.skipif(pack(Linear(1, 1)).__class__ is Linear, reason="oneDNN serves these on x86 alone")


def plain(layer, x):
    found = F.linear(x, layer.weight, layer.bias)
    return F.gelu(found) if layer.then_gelu else found


@packs
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 64, 65])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("few", [0, 24 * 40 * 2])
@pytest.mark.parametrize(
    "how", [{}, {"bias": False}, {"then_gelu": True}, {"bias": False, "then_gelu": True}]
)
def test_it_is_linear_within_a_drawing(rows, dtype, amx, few, how, monkeypatch):
    monkeypatch.setattr(layers, "has_amx", lambda: amx)
    monkeypatch.setattr(layers, "FEW", few)
    torch.manual_seed(rows)
    layer = Linear(24, 40, **how).to(dtype)
    x = torch.randn(1, 24, rows).to(dtype).permute(2, 0, 1)
    with torch.inference_mode():
        quick = pack(nn.Sequential(layer))
        found = quick(x)
        laid_out = getattr(quick[0], "packed", None)
        again = quick(x)
    is_fp32 = dtype == torch.float32
    is_plain = rows == 0 or (is_fp32 and ((rows == 1 and amx) or 24 * 40 * rows <= few))
    computes = dtype == torch.float32 or precision.computes_bf16(torch.device("cpu"))
    assert (laid_out is not None) == (computes and not is_plain)
    if computes:
        assert quick[0].packed is laid_out, "once"
    assert found.equal(again)
    assert found.dtype == dtype
    assert found.is_contiguous(), "fused attention and all that follows are quick for this layout alone"
    expected = plain(layer.double(), x.double())
    atol = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0.01)


@packs
@pytest.mark.parametrize("kind", PRIORS)
def test_drawing_uses_it_in_every_prior(kind, monkeypatch):
    model, used = tiny.generator(kind), []
    product = Packed.__call__
    monkeypatch.setattr(
        Packed, "__call__", lambda self, x: used.append(self.weight.data_ptr()) or product(self, x)
    )
    model.sample(num=2, label="grass")
    assert set(used) == {part.weight.data_ptr() for part in model.prior.modules() if isinstance(part, Linear)}
    used.clear()
    model.nats_per_token(torch.zeros(1, 4, 4, dtype=torch.int64), label="grass")
    assert not used, "only drawing, which lasts, repays it"


def test_elsewhere_it_is_torchs(monkeypatch):
    layer = Linear(24, 40)
    for owner, name, value in (
        (torch.backends.mkldnn, "enabled", False),
        (torch.backends.mkldnn, "is_available", lambda: False),
        (layers.platform, "machine", lambda: "arm64"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, value)
            assert pack(layer) is layer
    with torch.autocast("cpu", torch.bfloat16):
        assert pack(layer) is layer


@packs
def test_a_twin_leaves_the_prior_alone():
    prior = tiny.generator("gpt").prior.eval()
    before = [(name, type(part)) for name, part in prior.named_modules()]
    twin = pack(prior)
    assert [(name, type(part)) for name, part in prior.named_modules()] == before
    assert [name for name, _ in twin.named_modules()] == [name for name, _ in before]
    assert twin.head.weight.data_ptr() == prior.head.weight.data_ptr(), "weights are shared"
    codes, prefix = torch.zeros(2, 16, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.int64)
    with torch.no_grad():
        torch.testing.assert_close(twin(codes, prefix), prior(codes, prefix), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_weights_may_change_between_drawings():
    layer, x = Linear(24, 40), torch.randn(300, 24)
    for _ in range(2):
        torch.testing.assert_close(pack(layer)(x), plain(layer, x), atol=1e-5, rtol=1e-5)
        layer.weight.data += 1  # no version counter sees this


@pytest.mark.parametrize("then_gelu", [True, False])
def test_outside_a_drawing_it_is_torchs(then_gelu):
    layer, x = Linear(24, 40, then_gelu=then_gelu), torch.randn(3, 24)
    assert layer(x).equal(plain(layer, x))


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gradient", [True, False])
def test_rms_norm(dtype, gradient):
    torch.manual_seed(0)
    layer, x = RMSNorm(24, eps=1e-5).to(dtype), torch.randn(3, 1, 24, dtype=dtype)
    torch.nn.init.normal_(layer.weight)
    with torch.set_grad_enabled(gradient):
        assert layer(x).equal(F.rms_norm(x, (24,), layer.weight, 1e-5))
