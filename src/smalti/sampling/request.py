"""What a caller asks of a generator, checked before work begins, and what a picture says of its making."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from smalti import memory
from smalti.config import settings
from smalti.errors import UserError
from smalti.sampling.choice import Choice

MOST = 1_000_000  # pictures of one request: what each needs is kept in memory
OUTPUTS = ("pil", "tensor", "codes", "stream", "values")


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
    progress: bool

    def __post_init__(self) -> None:
        last, micro = self.seed + self.num - 1, self.micro_batch
        checks = (
            (self.num >= 1, "num", "a number from 1", "1"),
            (self.num <= MOST, "num", f"a number up to {MOST}", f"{MOST}, then seed={self.seed + MOST}"),
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

    def check_room(self, grid: tuple[int, int], factor: int) -> None:
        """UserError where this machine cannot hold what is handed over, and a batch of codes, at the least.

        grid: cells of a picture; factor: pixels a cell side.
        """
        cells, pixels = math.prod(grid), math.prod(grid) * factor**2
        kept = {"codes": 8 * cells, "tensor": 12 * pixels, "pil": 3 * pixels, "stream": 0}[self.output]
        one = 8 * cells + (0 if self.output == "codes" else 12 * pixels)
        needs = kept * self.num + one + 8 * cells * (self.micro_batch or 0)
        size, has = "{} x {}".format(*(side * factor for side in grid)), memory.of_machine()
        micro = "" if self.micro_batch is None else f", micro_batch={self.micro_batch}"
        remedy = "give a smaller size" if one > has else 'a smaller micro_batch, or output="stream"'
        memory.check(needs, has, "pictures", f"num={self.num} of {size} pixels{micro}", remedy)

    def needed(self, rows: int, grid: tuple[int, int], factor: int) -> AbstractContextManager[None]:
        """Within, a lack of memory is one line, for `rows` pictures drawn together; see `check_room`."""
        what = "drawing {} of {} x {} pixels together".format(rows, *(side * factor for side in grid))
        fewer = f"--micro-batch {rows // 2} (micro_batch={rows // 2})" if rows > 1 else "a smaller size"
        return memory.needed(what, f"{fewer}, or --precision bf16 (dtype='bf16')")

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
