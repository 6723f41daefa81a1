"""Health of a codebook: how many entries are used, and how evenly."""

import torch
from jaxtyping import Int64, Integer
from torch import Tensor


def usage(codes: Int64[Tensor, "..."], codebook_size: int) -> float:
    """Share of the entries that occur among codes, 0 to 1."""
    return (_counts(codes, codebook_size) > 0).double().mean().item()


def perplexity(codes: Int64[Tensor, "..."], codebook_size: int) -> float:
    """Return exp(entropy) of the entries' frequencies: 1 if one takes all, codebook_size if all are even."""
    shares = _counts(codes, codebook_size).double() / max(1, codes.numel())
    return torch.special.entr(shares).sum().exp().item()


class RecentCodes:
    """The last `num` codes that went by: a window that moves with training."""

    def __init__(self, *, codebook_size: int, num: int = 2**16, device: torch.device | str = "cpu") -> None:
        self.codebook_size = codebook_size
        self._ring = torch.zeros(num, dtype=torch.int64, device=device)
        self._seen = 0

    @property
    def size(self) -> int:
        """Return how many are held at most."""
        return len(self._ring)

    def add(self, codes: Int64[Tensor, "..."]) -> None:
        """Take codes in; the oldest leave once there are more than `num`."""
        flat = codes.detach().flatten()
        end = self._seen + len(flat)
        flat = flat[-len(self._ring) :].to(self._ring.device)
        places = torch.arange(end - len(flat), end, device=self._ring.device) % len(self._ring)
        self._ring[places] = flat
        self._seen = end

    def codes(self) -> Int64[Tensor, " n"]:
        """Return the codes held, in no particular order."""
        return self._ring[: self._seen]

    def state(self) -> tuple[Int64[Tensor, " n"], int]:
        """Return what `restore` goes on from: the codes held, and how many have gone by."""
        return self.codes(), self._seen

    def restore(self, codes: Integer[Tensor, " n"], seen: int) -> None:
        """Go on from what `state` gave, in whatever integer type it was kept."""
        self._ring[: len(codes)] = codes.to(self._ring)
        self._seen = seen

    def usage(self) -> float:
        """Share of the entries that occur among the codes held."""
        return usage(self.codes(), self.codebook_size)

    def perplexity(self) -> float:
        """Return exp(entropy) of the codes held."""
        return perplexity(self.codes(), self.codebook_size)


def _counts(codes: Tensor, codebook_size: int) -> Tensor:
    counts = torch.bincount(codes.flatten(), minlength=codebook_size)
    assert len(counts) == codebook_size, f"codes up to {len(counts) - 1} for {codebook_size} entries"
    return counts
