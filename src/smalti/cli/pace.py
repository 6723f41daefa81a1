"""How long drawing takes, said while it goes on."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from smalti.pipeline import Pipeline

LONG = 60.0  # seconds: work that takes longer says so
FIRST = 2.0  # seconds after which the pace tells


class Pace:
    """Told of cells that are drawn, shows a bar on a terminal; says once where the whole takes long."""

    def __init__(self, hint: str, processes: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """hint: how it would go faster, said after the estimate. processes: that draw as much as this one."""
        self._processes = processes
        self._hint, self._clock, self._is_said = hint, clock, False
        self._begun: float | None = None
        self._given = 0  # cells that came before the clock ran: kept ones, which take no time
        self._done = 0

    def __call__(self, total: int, count: int) -> None:
        """count: cells more than before, of total: of this process, and so of each."""
        total, count = total * self._processes, count * self._processes
        self._done += count
        if self._begun is None:
            self._begun, self._given = self._clock(), count
            # None: on a terminal only
            self._bar = tqdm(total=total, unit=" cells", disable=None)
        self._bar.update(count)
        if self._done >= total:
            self._bar.close()
        if not self._is_said:
            self._tell(self._clock() - self._begun, total)

    def _tell(self, spent: float, total: int) -> None:
        drawn, work = self._done - self._given, total - self._given
        if drawn <= 0 or spent < FIRST or spent * work / drawn < LONG:
            return
        self._is_said = True
        whole = round(spent * work / drawn / 60)
        hours = f"{whole // 60} h {whole % 60} min" if whole >= 60 else f"{whole} min"
        tqdm.write(f"{total} cells to draw take about {hours} at this pace{self._hint}", file=sys.stderr)


def faster(pipeline: "Pipeline", size: tuple[int, int], stride: int) -> str:
    """Return the end of a sentence: the --stride by which a canvas is quicker, if by any."""
    factor = pipeline.tokenizer.factor
    window = pipeline.trained((size[0] // factor, size[1] // factor))
    most = pipeline.prior.at(window).longest_stride
    if size in pipeline.crop_sizes or stride >= most:
        return ""
    return f"; with --stride {most} the window moves in larger steps, which is faster"
