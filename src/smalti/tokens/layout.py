"""Which tokens stand for an image."""

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Grids of tokens, one after the other, each row by row.

    Most quantizers have one grid of one code a cell; for next-scale prediction there is a grid a scale, from
    coarse to fine (arXiv:2404.02905), of residual quantizers a cell has several codes (arXiv:2203.01941).
    """

    grids: tuple[tuple[int, int], ...]  # rows and columns
    vocabulary: int | None  # codes are 0 .. vocabulary - 1; None: tokens are vectors of continuous numbers
    depth: int = 1  # codes a token

    @property
    def count(self) -> int:
        """Return how many tokens an image has."""
        return sum(map(prod, self.grids))

    def told(self) -> str:
        """Return a few words for people."""
        grids = " + ".join(f"{height} x {width}" for height, width in self.grids)
        codes = f"{self.depth} of {self.vocabulary} codes each" if self.vocabulary else "without codes"
        return f"{self.count} tokens ({grids}), {codes}"
