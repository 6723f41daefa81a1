#!/usr/bin/env bash
# Guess: where torch.export takes len(x) of a free axis for a number it refuses the axis ("you marked b as dynamic
# but your code specialized it"), as it does for an axis that is named itself; so does torch.onnx.export.
# Seen: torch 2.13.0 does so for len(x), and not for len(x.flatten(0, 1)): the product of the two axes becomes the
# example's 12 without a word, though both are still listed as free. In ONNX x of 1 x 1 gives 12 results: the one
# row is spread over twelve. x.flatten(0, 1).shape[0] is right.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import logging
import warnings

import numpy as np
import onnxruntime
import torch
from torch.export import Dim

logging.disable(logging.WARNING)
warnings.simplefilter("ignore")


class Plain(torch.nn.Module):
    def forward(self, x):  # b n 5 -> b
        return x.sum((1, 2)) + torch.zeros(len(x))


class Flattened(torch.nn.Module):
    def forward(self, x):  # b n 5 -> bn
        rows = x.flatten(0, 1)
        return rows.sum(-1) + torch.zeros(len(rows))


class Right(torch.nn.Module):
    def forward(self, x):
        rows = x.flatten(0, 1)
        return rows.sum(-1) + torch.zeros(rows.shape[0])


example, free = (torch.ones(3, 4, 5),), ({0: Dim("b"), 1: Dim("n")},)
try:
    torch.export.export(Plain(), example, dynamic_shapes=free)
    raise SystemExit("the behaviour has changed: len(x) is not refused")
except Exception as refused:
    print("len(x):", type(refused).__name__, str(refused).splitlines()[0])
found = torch.export.export(Flattened(), example, dynamic_shapes=free)
print("len(x.flatten(0, 1)): free are", found.range_constraints)
for member, expected in ((Flattened(), 12), (Right(), 1)):
    made = torch.onnx.export(member.eval(), example, dynamic_shapes=free, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(made.model_proto.SerializeToString())
    (given,) = session.get_inputs()
    count = session.run(None, {given.name: np.ones((1, 1, 5), np.float32)})[0].shape[0]
    print(type(member).__name__, "as ONNX: takes", given.shape, "and gives", count, "numbers of 1 x 1 rows")
    assert count == expected, "the behaviour has changed"
PYTHON
