"""Two projects' names for the same tensors, translated both ways by one table."""

import re
from dataclasses import dataclass
from functools import lru_cache

_NUMBER = re.compile(r"[#~]")


@dataclass(frozen=True)
class Naming:
    """A table of pieces of names, ours beside theirs, applied to a name one after the other.

    A piece begins and ends with whole words between dots. # stands for a number, ~ for a level, which one
    side counts from the image down and the other from the bottom up; levels: how many there are.
    """

    pieces: tuple[tuple[str, str], ...]
    levels: int

    def theirs(self, name: str) -> str:
        """Return our name of a tensor in their words; parts that the table does not know stay."""
        for here, there in self.pieces:
            name = self._replace(name, here, there)
        return name

    def ours(self, name: str) -> str:
        """Return their name of a tensor in our words; parts that the table does not know stay."""
        for here, there in self.pieces:
            name = self._replace(name, there, here)
        return name

    def _replace(self, name: str, old: str, new: str) -> str:
        return _pattern(old).sub(lambda found: self._put(found.groups(), old, new), name)

    def _put(self, found: tuple[str, ...], old: str, new: str) -> str:
        """Return the new piece with the numbers found in the old one."""
        signs = _NUMBER.findall(old)
        numbers = [
            self.levels - 1 - int(number) if sign == "~" else int(number)
            for number, sign in zip(found, signs, strict=True)
        ]
        words = _NUMBER.split(new)
        return words[0] + "".join(f"{number}{word}" for number, word in zip(numbers, words[1:], strict=True))


@lru_cache
def _pattern(piece: str) -> re.Pattern[str]:
    words = r"(\d+)".join(map(re.escape, _NUMBER.split(piece)))
    return re.compile(rf"(?<![^.]){words}" + ("" if piece.endswith(".") else r"(?![^.])"))
