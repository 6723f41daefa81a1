"""What every condition keeps: a user's wish, or what the data say, becomes what a prior is conditioned on.

A context is what stands before the codes (a prefix): tokens, or features, with a mask where rows have unequal
lengths. Axes: b canvases.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.conditions.computed.protocol import Computation
from smalti.conditions.context import Context, Padded, SameContext
from smalti.conditions.dropout import ConditionDropout
from smalti.errors import UserError

# what to do where token shards lack what a condition needs
ENCODE_FOR = "encode the images for it, smalti encode TOKENIZER IMAGES OUT --for RECIPE, and train on OUT"


@runtime_checkable  # for the shape checker of the tests
class Codec(Protocol):
    """What a condition needs of a tokenizer that it is given."""

    @property
    def factor(self) -> int:
        """Return pixels a cell side."""
        ...

    @property
    def codebook_size(self) -> int:
        """Return how many codes there are: 0 .. codebook_size - 1."""
        ...

    @property
    def channels(self) -> int:
        """Return the channels of the maps it takes; of a segmentation the number of classes."""
        ...

    @property
    def settings(self) -> Any:
        """Return its settings: `content` says whether it takes images or segmentations."""
        ...

    def encode(self, images: Float[Tensor, "b c H W"], *, is_checked: bool = False) -> Int64[Tensor, "b h w"]:
        """Return the codes of maps; is_checked: nobody needs to look at their range."""
        ...

    def decode(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b c H W"]:
        """Return maps of codes."""
        ...


@dataclass(frozen=True)
class Known:
    """What `from_batch` gave, in the place of a user's value: checked already."""

    value: Any


class Condition(nn.Module, ABC):
    """A member of the shelf, built as `X(settings, tokenizer, part)`.

    A value takes two steps: `from_user` or `from_batch` checks it and gives both in one form, `encode` makes
    the context of that. Parts that are modules are saved with the model, see `own`.
    """

    # keyword by which a caller gives it (label, ...); None: takes none; its kind where its line on the shelf
    # has an Option, by which commands take it
    argument: ClassVar[str | None] = None
    # how a caller writes it, {!r} being a class; empty where it can be left out, or there is no short way
    example: str = ""
    vocabulary: int  # tokens of a prefix are 0 .. vocabulary - 1; of features 0
    features: int | None = None  # numbers of each place of a prefix, which is then `Padded`; None: tokens
    is_padded: bool = False  # rows fill unequally many places: prefixes are `Padded`
    shift: int = 0  # windows that move begin (side - shift) // 2 cells before the drawn one: 0 or 1
    compute: Computation | None = None  # how its maps are made of images; None: it has none, or from files
    fingerprint: str = ""  # for the library, as a tokenizer's
    dropout: ConditionDropout | None = None  # how training drops it at times; None: it does not

    def __init__(self, settings: Any, tokenizer: Codec | None = None, part: nn.Module | None = None) -> None:
        """tokenizer: of the images. part: what only this condition has and was trained before.

        UserError for a part: members that take one look at it and keep it from here.
        """
        super().__init__()
        self.settings = settings
        if part is not None:
            raise UserError(f"no second tokenizer for {settings}", "one", "leave it out")

    @property
    def named(self) -> Mapping[str, "Condition"]:
        """Return the conditions that a caller gives, by keyword: this one, or those that it joins."""
        return {} if self.argument is None else {self.argument: self}

    def asked(self, given: Mapping[str, Any]) -> Any:
        """Return a user's value, out of what was given by keyword; None where nothing was."""
        return None if self.argument is None else given.get(self.argument)

    def given(self, value: Any) -> dict[str, Any]:
        """Return a value, or a `Known` one, by keyword, as methods of a Pipeline take it."""
        return dict.fromkeys(self.named, value)

    @abstractmethod
    def length(self, grid: tuple[int, int]) -> int:
        """Return m, the places of a prefix, for a window of grid (h, w) cells; at least 1."""

    def is_by_cell(self, grid: tuple[int, int]) -> bool:
        """Return whether place i of the prefix tells of cell i of the window, row by row."""
        return False

    @abstractmethod
    def from_user(self, value: Any, *, num: int, grid: tuple[int, int]) -> Any:
        """Check a user's value and return it in the form that `encode` takes.

        It is one for all of num canvases of grid (h, w) cells, or a sequence of one for each. UserError for
        what the model was not trained with.
        """

    @abstractmethod
    def from_batch(self, batch: Any) -> Any:
        """Return what a `Batch` of the data says, in the form that `encode` takes: one for each crop.

        It can be cut, `found[:8]`, unless it is None.
        """

    @property
    def precomputes(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the keys of what shards keep of this condition's work, each with what belongs to it.

        A key begins with the condition's kind and tells its work from that of all others. With it come plain
        values: `vocabulary`, below which its tokens are, and what whoever trains on them must know. No keys:
        what a Batch of the data says is kept as it is.
        """
        return {}

    def precompute(
        self, batch: Any, *, grid: tuple[int, int], device: torch.device
    ) -> Mapping[str, Int64[Tensor, "b m"]]:
        """Return its work on a batch of crops of grid (h, w) cells, by the keys of `precomputes`.

        `from_batch` takes it again from the `precomputed` of batches that hold it.
        """
        return {}

    @abstractmethod
    def encode(self, value: Any, *, num: int, grid: tuple[int, int], device: torch.device) -> Context:
        """Return the context of num canvases of grid (h, w) cells."""

    def context(self, value: Any, *, num: int, grid: tuple[int, int], device: torch.device) -> Context:
        """Return the context of a user's value, or of a `Known` one."""
        known = value.value if isinstance(value, Known) else self.from_user(value, num=num, grid=grid)
        return self.encode(known, num=num, grid=grid, device=device)

    def null(self, *, num: int, grid: tuple[int, int], device: torch.device) -> Context:
        """Return the context of "nothing was said" for windows of grid cells, for guidance.

        UserError if the model was not trained with it.
        """
        if self.dropout is None:
            got = self.argument or "one without a condition"
            expected = "a model with a condition that can be left out, for guidance"
            raise UserError(expected, got, "leave guidance_scale at 1")
        found = self.dropout.null(num=num, length=self.length(grid), device=device)
        if not self.is_padded:
            return found
        shape = (num, self.length(grid)) + (() if self.features is None else (self.features,))
        values = torch.zeros(shape, dtype=torch.int64 if self.features is None else None, device=device)
        empty = torch.zeros(shape[:2], dtype=torch.bool, device=device)
        return SameContext(prefix=Padded(values=values, mask=empty))

    def without(
        self,
        context: Context,
        gone: Collection[str],
        *,
        num: int,
        grid: tuple[int, int],
        device: torch.device,
    ) -> Context:
        """Return a context of num canvases in which nothing is said of the conditions with some keywords.

        grid: of its windows. UserError if the model was not trained so.
        """
        return self.null(num=num, grid=grid, device=device) if gone else context

    @property
    def loose(self) -> tuple[str, ...]:
        """Return the keywords of those conditions that training leaves out at times."""
        return tuple(name for name, one in self.named.items() if one.dropout and one.dropout.share)

    def drop(self, context: Context, num: int, rng: torch.Generator) -> Context:
        """Return what training shows of the context of num crops: a share of them says nothing."""
        return context if self.dropout is None else self.dropout.hide(context, num, rng)

    @classmethod
    def settle(cls, mapping: Mapping[str, Any], classes: Sequence[str], root: str) -> dict[str, Any]:
        """Return settings, not yet checked, in which what a recipe leaves open is as the data have it.

        classes: of the data in the folder root. UserError where the data do not have it.
        """
        return dict(mapping)

    @classmethod
    def needs(cls, settings: Any, data: Any, reader: Any) -> None:
        """Raise UserError where the data, a reader and its settings, have nothing for such a condition.

        Asked before any weights are read.
        """

    def agree(self, data: Any, readers: Iterable[Any]) -> None:
        """Let readers and this condition agree on what values in files mean; UserError where they cannot."""

    def learn(self, reader: Any) -> list[str]:
        """Learn of the training data what it must know before the first step; return lines for a person.

        The same in every process, and of the same data whatever their order. What was learned before, of
        other data, is added to.
        """
        return []

    @property
    def learned(self) -> tuple[str, ...]:
        """Return the names of the text files that keep what it learned, in the run and the model folder."""
        return ()

    def files(self) -> dict[str, str]:
        """Return what it learned, by these names."""
        return {}

    def take(self, files: Mapping[str, str]) -> None:
        """Take back what `files` gave; UserError for what cannot be read."""

    def told(self) -> str:
        """Return for a person what it takes, in a few words; "" where its kind says all."""
        return ""

    def from_option(self, given: Any, fit: Callable[[Tensor, str], Tensor | None]) -> Any:
        """Return a value as `from_user` takes it, of what the command line was given.

        fit: of a map (1 c H W) and a filter's name gives it as large as the canvas, None where it is already.
        """
        return given

    def of_image(self, look: Callable[[Computation], Float[Tensor, "1 c H W"]]) -> dict[str, Any]:
        """Return what an image tells of this condition, as `from_user` takes it, by `argument`.

        look: gives what a computation is of, of that image at the canvas's size. UserError where
        the condition is no map that is computed of images.
        """
        if self.compute is None or self.argument is None:
            got = f"one that is told {' and '.join(self.named) or 'nothing'}"
            remedy = f"give {self.argument}= (--{self.argument})" if self.argument else "leave it out"
            expected = "a model that was trained on maps computed of images, for from_image (--from)"
            raise UserError(expected, got, remedy)
        return {self.argument: self.compute(look(self.compute))}

    def count(self, value: Any) -> int | None:
        """Return how many canvases a user's value is for; None where it is one for all of them."""
        return None

    def apart(self, value: Any, num: int) -> Sequence[Any]:
        """Return a user's value for each of num canvases."""
        return [value] * num if self.count(value) is None else value

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """Return a user's value for each of num canvases, as plain values that fit into a file."""
        return [value] * num

    @classmethod
    def takes_part(cls, settings: Any) -> bool:
        """Return whether one with such settings is built with a part: the tokenizer of its maps."""
        return False

    @property
    def parts(self) -> Mapping[str, Any]:
        """Return modules that are saved in folders of their own below this condition's, by name."""
        return {}

    @property
    def own(self) -> Any:
        """Return the module that is saved with the model in a folder of its own.

        This one, a part, or None.
        """
        return self if self.state_dict() or self.learned else None

    @property
    def dtype(self) -> torch.dtype:
        """Return what its floating point numbers are kept in."""
        found = (tensor.dtype for tensor in self.state_dict().values() if tensor.is_floating_point())
        return next(found, torch.float32)


def is_list(given: Any) -> bool:
    """Return whether a user's value is several in a sequence: a text is one."""
    return isinstance(given, Sequence) and not isinstance(given, str)
