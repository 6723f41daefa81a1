"""Make of a run the model that ships with the package: weights in half of their size, a card that says all.

Weights are rounded to fp16 first, and the model's fingerprint is of these, so that nothing is lost between
what was measured and what is loaded: a folder of fp16 is loaded into fp32 as it is.

Beside the weights lie the validation lines of the runs, the tokenizer's first.

    python experiments/ship.py TOKENIZER RUN models/NAME --about A --data B --licence C --command D
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

import smalti
from smalti.about import card
from smalti.files import save_tensors


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    for name in ("about", "data", "licence"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--command", action="append", required=True, help="as it was typed, one for each run")
    given = parser.parse_args()
    model = smalti.load(given.run)
    halve(model)
    made = {key: value for key, value in model.provenance.items() if key != "run"}
    made |= {"about": given.about, "data": {"images": given.data}, "commands": given.command}
    smalti.save(model, given.out, made)
    for file in given.out.rglob("*.safetensors"):
        halves = {name: half(tensor) for name, tensor in load_file(file).items()}
        save_tensors(halves, file)
    text = card(model, made, given.out.name).replace("license: unknown", f"license: {given.licence.lower()}")
    stated, _ = text.split("## Licence")
    (given.out / "README.md").write_text(
        f"{stated}## Licence\n\n{given.licence}, as the images: {given.data}\n"
    )
    runs = [(run / "log.jsonl").read_text().splitlines() for run in (given.tokenizer, given.run)]
    lines = [line for run in runs for line in run if json.loads(line)["kind"] == "validation"]
    (given.out / "log.jsonl").write_text("\n".join(lines) + "\n")
    again = smalti.load(given.out)
    same = all(torch.equal(a, b) for a, b in zip(state(model), state(again), strict=True))
    size = sum(file.stat().st_size for file in given.out.rglob("*") if file.is_file())
    print(json.dumps({"megabytes": size / 1e6, "loaded as it was saved": same}))


def halve(model: torch.nn.Module) -> None:
    for tensor in state(model):
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())


def half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def state(model: torch.nn.Module) -> list[torch.Tensor]:
    return list(model.state_dict().values())


if __name__ == "__main__":
    main()
