#!/usr/bin/env bash
# Guess: mean_squared_error and mean_absolute_error of two uint8 pictures are those of the same pictures as
# floats, as peak_signal_noise_ratio's are.
# Seen: torchmetrics 1.9.0 subtracts, and squares, in uint8, where numbers wrap: [0, 10] beside [5, 200]
# have an error of 14.5 and not 18062.5 (the mean absolute error of a picture: several times too large).
# PSNR of the same tensors is right. No error.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import torch
from torchmetrics.functional import mean_absolute_error, mean_squared_error
from torchmetrics.functional.image import peak_signal_noise_ratio

a, b = torch.tensor([0, 10], dtype=torch.uint8), torch.tensor([5, 200], dtype=torch.uint8)
for name, measure, right in (("squared", mean_squared_error, 18062.5), ("absolute", mean_absolute_error, 97.5)):
    told, floats = measure(a, b).item(), measure(a.float(), b.float()).item()
    print(f"mean {name} error: uint8 {told}, floats {floats}")
    assert floats == right
    assert told != right, "the behaviour has changed"
assert mean_squared_error(a, b).item() == 14.5, "the behaviour has changed"
bytes_, floats = ((x.view(1, 1, 1, 2) for x in pair) for pair in ((a, b), (a.float(), b.float())))
assert peak_signal_noise_ratio(*bytes_, data_range=255.0) == peak_signal_noise_ratio(*floats, data_range=255.0)
PYTHON
