"""What a caller asks of a generator, checked before work begins, and what a picture says of its making."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from smalti.config import settings
from smalti.errors import UserError
from smalti.sampling.choice import Choice

OUTPUTS = ("pil", "tensor", "codes", "stream")


@settings
class Request:
    """How many pictures, how drawn, how handed over. Raises UserError for a value out of its range."""

    num: int
    seed: int  # of the first picture; picture i has seed + i
    choice: Choice
    guidance: float  # s in u + s (c - u)
    stride: int  # cells by which a window moves
    micro_batch: int | None  # every batch has this size; None: up to the generator
    parallel: int  # places drawn in a pass through a canvas of one window; 1: one by one
    output: str  # one of OUTPUTS
    progress: bool | Callable[[int, int], object]  # True: a bar; told of all cells, of cells more

    def __post_init__(self) -> None:
        last, micro = self.seed + self.num - 1, self.micro_batch
        checks = (
            (self.num >= 1, "num", "a number from 1", "1"),
            (-(2**63) <= self.seed <= last < 2**63, "seed", "64 bits, also for the last picture's,", "0"),
            (math.isfinite(self.guidance), "guidance", "a number", "1, which is off"),
            (self.stride >= 1, "stride", "a number of cells from 1", "1"),
            (micro is None or micro >= 1, "micro_batch", "a number from 1", "16"),
            (self.parallel >= 1, "parallel", "a number from 1", "1, which is off"),
            (self.output in OUTPUTS, "output", f"one of {', '.join(OUTPUTS)}", "pil"),
        )
        for fits, name, expected, example in checks:
            if not fits:
                got = str(getattr(self, name))
                raise UserError(f"{expected} for {name}", got, f"for example {name}={example}")

    def facts(self, index: int, more: Mapping[str, Any]) -> str:
        """JSON of what it takes to draw picture `index` again.

        more: other facts, one value or a sequence of one a picture.
        """
        made = {"seed": self.seed + index, **asdict(self.choice), "guidance": self.guidance}
        made["stride"] = self.stride
        chosen = {name: _of(value, index) for name, value in more.items()}
        how = {"micro_batch": self.micro_batch, "parallel": self.parallel}
        return json.dumps({**made, **how, **chosen}, default=str)


def _of(value: Any, index: int) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    return value[index] if isinstance(value, Sequence) and not isinstance(value, str) else value
