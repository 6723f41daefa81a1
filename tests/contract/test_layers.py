"""The priors' layers are torch's, within a drawing up to rounding, whatever the rows; gradients are kept."""

import threading

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import nn

from smalti import precision
from smalti.priors import PRIORS, layers
from smalti.priors.layers import LayerNorm, Linear, drawing

packs = pytest.mark.skipif(not layers._layers(Linear(1, 1)), reason="oneDNN serves these layers on x86 alone")


def plain(layer, x):
    found = F.linear(x, layer.weight, layer.bias)
    return F.gelu(found) if layer.then_gelu else found


@pytest.fixture
def packed(monkeypatch):
    """The products within drawings, as (layer, rows, weights packed for it)."""
    taken, product = [], layers._Drawn.product

    def watched(self, layer, x):
        before = len(self.packed)
        found = product(self, layer, x)
        taken.append((layer, x.numel() // layer.in_features, len(self.packed) - before))
        return found

    monkeypatch.setattr(layers._Drawn, "product", watched)
    return taken


@packs
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 64, 65])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize(
    "how", [{}, {"bias": False}, {"then_gelu": True}, {"bias": False, "then_gelu": True}]
)
def test_it_is_linear_within_a_drawing(rows, dtype, amx, how, packed, monkeypatch):
    monkeypatch.setattr(layers, "has_amx", lambda: amx)
    torch.manual_seed(rows)
    layer = Linear(24, 40, **how).to(dtype)
    x = torch.randn(1, 24, rows).to(dtype).permute(2, 0, 1)
    with torch.inference_mode(), drawing(nn.Sequential(layer)):
        found, again = layer(x), layer(x)
    alone = rows == 1 and dtype == torch.float32
    expected = [(layer, rows, 0 if alone else 1), (layer, rows, 0)]
    computes = dtype == torch.float32 or precision.computes_bf16(torch.device("cpu"))
    assert packed == (expected if computes else []), "packed once, if at all"
    assert found.equal(again)
    assert found.dtype == dtype
    assert found.is_contiguous(), "fused attention and all that follows are quick for this layout alone"
    expected = plain(layer.double(), x.double())
    atol = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0.01)


@packs
@pytest.mark.parametrize("kind", PRIORS)
def test_drawing_uses_it_in_every_prior(kind, packed):
    model = tiny.generator(kind)
    model.sample(num=2, label="grass")
    served = {layer for layer, _, _ in packed}
    assert served == {part for part in model.prior.modules() if isinstance(part, Linear)}
    packed.clear()
    model.nats_per_token(torch.zeros(1, 4, 4, dtype=torch.int64), label="grass")
    assert not packed, "only drawing, which lasts, repays it"


@pytest.mark.parametrize("then_gelu", [True, False])
def test_else_it_is_torchs(then_gelu, packed, monkeypatch):
    layer, other = (Linear(24, 40, then_gelu=then_gelu) for _ in range(2))
    x = torch.randn(3, 24)
    assert layer(x).equal(plain(layer, x))
    with torch.no_grad():
        with drawing(other):
            assert layer(x).equal(plain(layer, x)), "another prior is drawing"
        with drawing(object()):
            assert layer(x).equal(plain(layer, x)), "a prior without layers"
        with drawing(layer), torch.enable_grad():
            layer(x).sum().backward()
            assert layer.weight.grad is not None
        for owner, name, value in (
            (torch.backends.mkldnn, "enabled", False),
            (torch.backends.mkldnn, "is_available", lambda: False),
            (layers.platform, "machine", lambda: "arm64"),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, value)
                with drawing(layer):
                    assert layer(x).equal(plain(layer, x))
    assert not packed


def test_weights_may_change_between_drawings():
    layer, x = Linear(24, 40), torch.randn(3, 24)
    with torch.no_grad():
        for _ in range(2):
            with drawing(layer):
                torch.testing.assert_close(layer(x), plain(layer, x), atol=1e-5, rtol=1e-5)
            layer.weight.data += 1  # no version counter sees this


@packs
@torch.no_grad()
def test_a_drawing_belongs_to_its_thread(packed):
    layer, x = Linear(24, 40), torch.randn(3, 24)
    with drawing(layer):
        with drawing(layer):  # one within another
            layer(x)
        other = threading.Thread(target=lambda: layer(x))
        other.start()
        other.join()
        assert len(packed) == 1
        layer(x)
        assert packed[1] == (layer, 3, 1), "what ended has taken its own weights along"
    layer(x)
    assert len(packed) == 2


def test_an_error_ends_a_drawing(packed):
    layer, x = Linear(24, 40), torch.randn(3, 24)

    def draw():
        with drawing(layer):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw()
    with torch.no_grad():
        assert layer(x).equal(plain(layer, x))
    assert not packed


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
