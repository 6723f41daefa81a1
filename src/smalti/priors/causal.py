"""What members share whose tokens stand in one sequence, the prefix first: how that is scored."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.priors.attention import last
from smalti.priors.cache import Cache


class Fed(NamedTuple):
    """What goes into a pass."""

    x: Float[Tensor, "b t e"]  # what goes into the first layer
    shift: Float[Tensor, "b d"] | None = None  # the condition as a vector, where a prior takes it so


class Causal(nn.Module, ABC):
    """Scores codes by a transformer that each member embeds for and runs in its own way; see `Prior`."""

    head: nn.Linear  # b t e -> b t v

    @abstractmethod
    def _embed(self, codes: Int64[Tensor, "b n"], prefix: Int64[Tensor, "b m"]) -> Fed:
        """The prefix's m places, then those of the codes."""

    @abstractmethod
    def _embed_more(self, codes: Int64[Tensor, "b n"], cache: Cache) -> Fed:
        """Codes that come after what the cache holds."""

    @abstractmethod
    def _run(self, fed: Fed, cache: Cache | None = None, places: Tensor | None = None) -> Tensor:
        """All blocks and the last norm; only these places come out, one a row (b 1 e), or all."""

    def forward(self, codes: Int64[Tensor, "b n"], prefix: Int64[Tensor, "b m"]) -> Float[Tensor, "b n v"]:
        """Teacher forcing: row i scores code i given the prefix and the codes before it."""
        x = self._run(self._embed(codes[:, :-1], prefix))
        return self.head(x[:, prefix.shape[1] - 1 :])

    def next(
        self, codes: Int64[Tensor, "b n"], prefix: Int64[Tensor, "b m"] | None, cache: Cache | None = None
    ) -> Float[Tensor, "b v"]:
        """Scores of the code after the given ones, in one pass; fills the cache if given."""
        fed = self._fed(codes, prefix, cache)
        return self.head(self._run(fed, cache, last(fed.x))[:, 0])

    def at(
        self,
        codes: Int64[Tensor, "b n"],
        prefix: Int64[Tensor, "b m"] | None,
        places: Int64[Tensor, " b"],
        cache: Cache | None = None,
    ) -> Float[Tensor, "b v"]:
        """Scores of the code at each row's own place of the n, given those before it; see `Prior.at`."""
        fed = self._fed(codes[:, :-1], prefix, cache)
        before = 0 if prefix is None else prefix.shape[1]
        return self.head(self._run(fed, cache, places + (before - 1))[:, 0])

    def step(self, codes: Int64[Tensor, " b"], cache: Cache) -> Float[Tensor, "b v"]:
        """Feed one more code a row, get the scores of the one after it."""
        return self.extend(codes[:, None], cache)[:, 0]

    def extend(self, codes: Int64[Tensor, "b n"], cache: Cache) -> Float[Tensor, "b n v"]:
        """Feed n more codes a row in one pass; row i scores the code after codes[i]."""
        return self.head(self._run(self._fed(codes, None, cache), cache))

    def _fed(self, codes: Tensor, prefix: Tensor | None, cache: Cache | None) -> Fed:
        if cache is None or cache.length == 0:
            assert prefix is not None, "a prefix, or a cache that holds it"
            fed = self._embed(codes, prefix)
            if cache is not None:
                cache.shift = fed.shift
            return fed
        assert prefix is None, "the cache is filled: it holds the prefix"
        assert codes.shape[1], "a code or more after what the cache holds"
        return self._embed_more(codes, cache)
