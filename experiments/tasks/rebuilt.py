"""How much of scenes is left in a tokenizer's reconstructions? What no prior on it can pass, task by task.

    python experiments/tasks/rebuilt.py OUT.json TOKENIZER SIGHT [COUNT]

SIGHT: the network of sight.py. Of each number: of reconstructions, with conditions exchanged, of real images.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from sight import JUDGES, batch, read

import smalti
from smalti.conditions.computed.edges import Edges, EdgesSettings
from smalti.conditions.computed.low_resolution import LowResolution, LowResolutionSettings
from smalti.imaging import eight_bit
from smalti.metrics.obeyed.edges import Edges as SeenEdges
from smalti.metrics.obeyed.low_resolution import LowResolution as Reduced
from smalti.metrics.obeyed.protocol import Pairs, obeyed

SIGMA, FACTOR = 1.0, 4


def main(out: Path, model: str, sight: Path, count: int) -> None:
    torch.set_num_threads(1)
    tokenizer, network = smalti.Tokenizer.from_pretrained(model), read(sight)
    real, depths = (batch("val", range(count), content) for content in ("segmentation", "depth"))
    edges, reduced = Edges(EdgesSettings(sigma=SIGMA)), LowResolution(LowResolutionSettings(factor=FACTOR))
    conditions: dict[str, Any] = {
        "segmentation": real.segmentations,
        "depth": depths.maps,
        "keypoints": list(real.poses),
        "boxes": list(real.scenes),
    }
    judges = [(judge(network), conditions[kind]) for kind, judge in JUDGES.items()]
    judges += [(SeenEdges(SIGMA), edges(real.images)), (Reduced(FACTOR, reduced), reduced(real.images))]
    rebuilt, found = eight_bit(tokenizer.reconstruct(real.images)), {}
    for judge, told in judges:
        images = (Pairs(images=some, conditions=told) for some in (rebuilt, real.images))
        for name, one in obeyed(judge, next(images), real=next(images)).items():
            found[name] = {"rebuilt": one.value, "exchanged": one.floor, "real": one.ceiling}
    numbers = {name: {what: round(x, 4) for what, x in each.items()} for name, each in found.items()}
    about = {"tokenizer": Path(model).name, "factor": tokenizer.factor, "scenes": count, "numbers": numbers}
    out.write_text(json.dumps(about, indent=2) + "\n")
    print(json.dumps(about, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 150)
