"""Whether two builds draw the same codes and have the same losses: one build writes them, another compares.

    PYTHONPATH=OTHER/src python experiments/equal.py codes.pt     # writes what is not there yet
    PYTHONPATH=src       python experiments/equal.py codes.pt     # says what differs

Priors of every kind with random weights: canvases, strides, orders, guidance, completion, many cells a pass.
"""

import inspect
import itertools
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tiny import generator

from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings

# the option's name in either build
MANY = (
    "speculative" if "speculative" in inspect.signature(type(generator()).sample).parameters else "parallel"
)
IMAGE = torch.rand(3, 30, 34, generator=torch.Generator().manual_seed(1)) * 2 - 1
CONDITIONS = {
    "label": (LabelSettings(classes=3, dropout=0.1), 1.7),
    "coordinates": (CoordinatesSettings(), 1.0),
    "map": (MapSettings(shared=True, dropout=0.5), 1.7),
}


def lively(kind: str, condition, **more):
    """A tiny generator whose weights all count."""
    model = generator(kind, condition=condition, **more)
    chance = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=chance))
    return model


def codes(draw, *image, **ask):
    """What `sample` or `complete` draws, by the names that its build has."""
    if "output" in inspect.signature(type(draw.__self__).sample).parameters:
        return draw(*image, output="codes", **ask)
    if "guidance" in ask:
        ask["guidance_scale"] = ask.pop("guidance")
    return draw(*image, **ask).codes


def cases():
    """(name, codes or number) of everything that is compared."""
    for kind, (name, (condition, scale)) in itertools.product(
        ("gpt", "modern", "llamagen", "neighbourhood"), CONDITIONS.items()
    ):
        model, most = lively(kind, condition, grid=(5, 6)), 1 if kind == "neighbourhood" else 2
        for stride, guidance, how in itertools.product(
            range(1, most + 1), {1.0, scale}, ({}, {"temperature": 0.8, "top_k": 5})
        ):
            for size in ((10, 12), (20, 14), (30, 34)):
                said = {"label": [0, 2, 1]} if name == "label" else {}
                if name == "map":
                    said = {"map": IMAGE[:, : size[0], : size[1]]}
                ask = {"num": 3, "stride": stride, "guidance": guidance, **how, **said}
                key = f"{kind} {name} {size} stride {stride} scale {guidance} {how}"
                yield key, codes(model.sample, size=size, **ask)
                yield f"{key} kept", codes(model.complete, IMAGE[:, : size[0], : size[1]], keep=0.4, **ask)
                if size == (10, 12) and most > 1:
                    yield f"{key} by 4", codes(model.sample, **{MANY: 4}, **ask)
        said = {"label": [0, 2, 1]} if name == "label" else {}
        if name == "map":
            said = {"map": IMAGE[:, :10, :12]}
        drawn = codes(model.sample, num=3, **said)
        yield f"{kind} {name} nats", model.nats_per_token(drawn, **said)
        yield f"{kind} {name} logits", model.logits(drawn, **said)
    for kind, order in itertools.product(("gpt", "modern", "llamagen"), ("spiral_out", "random", "z_curve")):
        model = lively(kind, CONDITIONS["label"][0], grid=(4, 4), order=order)
        yield f"{kind} {order}", codes(model.sample, num=3, label=[0, 2, 1], guidance=1.5)
        yield f"{kind} {order} kept", codes(model.complete, IMAGE[:, :8, :8], num=3, label=1)


def main() -> None:
    """Write or compare."""
    path = Path(sys.argv[1])
    found = dict(cases())
    if not path.exists():
        torch.save(found, path)
        print(f"{len(found)} cases written")
        return
    expected = torch.load(path)
    assert expected.keys() == found.keys(), "the same cases on both sides"
    other = [
        key
        for key, value in found.items()
        if not (value.equal(expected[key]) if isinstance(value, torch.Tensor) else value == expected[key])
    ]
    print(f"{len(found) - len(other)} of {len(found)} cases equal to the last bit", *other[:20], sep="\n")


if __name__ == "__main__":
    main()
