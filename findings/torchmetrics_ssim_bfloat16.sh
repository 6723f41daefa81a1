#!/usr/bin/env bash
# Guess: SSIM of bfloat16 pictures is that of float32 to a hundredth, or is refused: below float32 a
# variance taken from two means of squares has no digits left. In float32 it is right to 1e-4.
# Seen: torchmetrics 1.9.0 computes in the pictures' own dtype: a noisy picture with .330 in float64 and
# float32 has .449 in bfloat16, with no word. In float32 a bright, nearly flat picture (250 and 251 of 255)
# is off by more than .001 from float64. A validation under bf16 looks better than the pictures are.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import torch
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

torch.manual_seed(0)
y, x = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
clean = ((3 * y % 200) + (2 * x % 150)).expand(1, 3, 48, 64) * 0.6 / 255 + 0.1
noisy = (0.8 * clean + 0.08 + 0.05 * torch.randn(clean.shape)).clamp(0, 1)
told = {kind: ssim(clean.to(kind), noisy.to(kind), data_range=1.0).item() for kind in (torch.float64, torch.float32, torch.bfloat16)}
print(told)
assert abs(told[torch.float64] - told[torch.float32]) < 1e-4
assert told[torch.bfloat16] - told[torch.float32] > 0.03, "the behaviour has changed"
flat = torch.full((1, 3, 64, 96), 250.0).double()
specks = flat + torch.randint(0, 2, flat.shape)
exact, single = (ssim(flat.to(kind) / 255, specks.to(kind) / 255, data_range=1.0).item() for kind in (torch.float64, torch.float32))
print("nearly flat: float64", exact, "float32", single)
assert abs(exact - single) > 1e-3, "the behaviour has changed"
PYTHON
