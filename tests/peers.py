"""Small references for other projects' networks, written from descriptions: plain functions of named tensors.

`residual`, `attention` and `level` are those of 2021; names are what the projects differ in.
"""

import torch
import torch.nn.functional as F


class Shapes(dict):
    """Names and shapes of a state dict, filled with random numbers by `draw`."""

    def conv(self, name, before, after, side=3, bias=True):
        self[f"{name}.weight"] = (after, before, side, side)
        if bias:
            self[f"{name}.bias"] = (after,)

    def norm(self, name, width):
        self[f"{name}.weight"] = self[f"{name}.bias"] = (width,)

    def residual(self, name, before, after):
        self.norm(f"{name}.norm1", before)
        self.conv(f"{name}.conv1", before, after)
        self.norm(f"{name}.norm2", after)
        self.conv(f"{name}.conv2", after, after)
        if before != after:
            self.conv(f"{name}.nin_shortcut", before, after, side=1)

    def attention(self, name, width):
        self.norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            self.conv(f"{name}.{part}", width, width, side=1)

    def draw(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for name, shape in self.items():
            drawn = torch.randn(shape, generator=generator)
            is_gain = len(shape) == 1 and name.endswith("weight")
            tensors[name] = (
                1 + 0.2 * drawn if is_gain else drawn * (0.3 if len(shape) == 1 else _scale(shape))
            )
        return tensors


def _scale(shape):
    return 1.5 / (torch.Size(shape[1:]).numel() ** 0.5)


def conv(t, name, x, **how):
    weight = t[f"{name}.weight"]
    how = {"padding": weight.shape[-1] // 2} | how
    return F.conv2d(x, weight, t.get(f"{name}.bias"), **how)


def norm(t, name, x):
    return F.group_norm(x, 32, t[f"{name}.weight"], t[f"{name}.bias"], 1e-6)


def swish(x):
    return x * torch.sigmoid(x)


def residual(t, name, x):
    added = conv(t, f"{name}.conv1", swish(norm(t, f"{name}.norm1", x)))
    added = conv(t, f"{name}.conv2", swish(norm(t, f"{name}.norm2", added)))
    return added + (conv(t, f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in t else x)


def attention(t, name, x):
    b, e, h, w = x.shape
    normed = norm(t, f"{name}.norm", x)
    q, k, v = (conv(t, f"{name}.{part}", normed).reshape(b, e, h * w) for part in "qkv")
    weights = torch.softmax(torch.einsum("bei,bej->bij", q, k) * e**-0.5, dim=-1)
    return x + conv(t, f"{name}.proj_out", torch.einsum("bij,bej->bei", weights, v).reshape(b, e, h, w))


def level(t, blocks, attentions, x, all_after_each=False):
    """blocks, attentions: names in the order of running."""
    there = [name for name in attentions if f"{name}.q.weight" in t]
    for number, block in enumerate(blocks):
        x = residual(t, block, x)
        for name in there if all_after_each else there[number : number + 1]:
            x = attention(t, name, x)
    return x


def halved(t, name, x):
    return conv(t, name, F.pad(x, (0, 1, 0, 1)), stride=2, padding=0)


def doubled(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
