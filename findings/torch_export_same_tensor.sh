#!/usr/bin/env bash
# Guess: what torch.export makes of f(a, b) = a - 2 b reads both of its arguments, also where the example is the
# same tensor twice, f(x, x), as an example tells shapes and types alone; or it refuses the example.
# Seen: torch 2.13.0 makes a program, and torch.onnx.export(dynamo=True) a graph, that list both inputs and read
# one: for a = 5, b = 1 they say -1 (b - 2 b), not 3. No error, no warning; the program runs on tensors that are
# not the same. A cache of keys and values whose example was one tensor of zeros lost all of its keys so.
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

logging.disable(logging.WARNING)


class Minus(torch.nn.Module):
    def forward(self, a, b):
        return a - 2 * b


x = torch.ones(3)
right = torch.export.export(Minus(), (x, x)).module()(torch.full((3,), 5.0), torch.ones(3))
print("torch.export of f(x, x), at a = 5 and b = 1:", right.tolist())
for example, expected in (((x, x), -1.0), ((x, x.clone()), 3.0)):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        made = torch.onnx.export(Minus().eval(), example, dynamo=True, verbose=False, input_names=["a", "b"])
    session = onnxruntime.InferenceSession(made.model_proto.SerializeToString())
    inputs = [one.name for one in session.get_inputs()]
    given = {"a": np.full(3, 5, np.float32), "b": np.ones(3, np.float32)}
    (found,) = session.run(None, given)
    reads = sorted({name for node in made.model_proto.graph.node for name in node.input if name in inputs})
    about = [str(one.message)[:60] for one in told if "alias" in str(one.message) or "same" in str(one.message)]
    print(f"ONNX, example {'twice the same' if example[0] is example[1] else 'two tensors'}:", end=" ")
    print(f"inputs {inputs}, read {reads}, gives {found.tolist()}, warned {about}")
    assert found[0] == expected, "the behaviour has changed"
PYTHON
