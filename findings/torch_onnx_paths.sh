#!/usr/bin/env bash
# Guess: an ONNX file has the graph and its weights: nothing of the machine that made it, nor of the source.
# Seen: torch.onnx.export(dynamo=True) of torch 2.13.0 writes for nodes the stack trace of the Python that made
# them: absolute paths (with them a user's name), line numbers and the source lines themselves, comments too.
# `del node.metadata_props[:]` takes it out.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
mkdir -p "$room/home/jane.doe/secret-project"
cd "$room/home/jane.doe/secret-project"
cat > model.py <<'PYTHON'
import torch


class Net(torch.nn.Module):
    def forward(self, x):
        return x.exp() * 2  # for the customer in Hamburg
PYTHON
"$room/venv/bin/python" - <<'PYTHON'
import logging
import pathlib
import sys
import warnings

import torch

logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
sys.path.insert(0, str(pathlib.Path.cwd()))
from model import Net

torch.onnx.export(Net().eval(), (torch.ones(3),), "net.onnx", dynamo=True, verbose=False)
held = pathlib.Path("net.onnx").read_bytes()
for words in (b"jane.doe/secret-project/model.py", b"line 6", b"for the customer in Hamburg"):
    print(f"net.onnx of {len(held)} bytes holds {words.decode()!r}:", words in held)
    assert words in held, "the behaviour has changed"
PYTHON
