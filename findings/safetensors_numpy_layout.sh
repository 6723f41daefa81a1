#!/usr/bin/env bash
# Guess: save_file writes an array's values in row order, whatever its layout in memory, as numpy.save and
# tobytes do, or refuses it as safetensors.torch does.
# Seen: safetensors 0.8.0's numpy writer takes the memory as it lies: a transposed or Fortran-ordered array
# comes back with its shape and with its numbers in another order, silently. A weight that was transposed on
# its way between two frameworks' layouts is stored scrambled. np.ascontiguousarray first is the way.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import numpy as np
from safetensors.numpy import load, load_file, save, save_file

weight = np.arange(6, dtype=np.float32).reshape(2, 3)
cases = {"plain": weight, "transposed": weight.T, "fortran": np.asfortranarray(weight)}
save_file(cases, "weights.safetensors")
for name, back in load_file("weights.safetensors").items():
    wanted = cases[name]
    same = np.array_equal(back, wanted)
    print(f"{name}: wanted {wanted.tolist()}, got {back.tolist()}")
    assert back.shape == wanted.shape
    assert same == (name == "plain"), "the behaviour has changed"
    assert np.array_equal(load(save({"a": wanted}))["a"], back), "save and save_file differ"
PYTHON
