"""Several conditions at once: their prefixes stand one after the other."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.conditions import CONDITIONS, ConditionSettings
from smalti.conditions.computed.protocol import Computation
from smalti.conditions.context import Context, Padded, Prefix
from smalti.conditions.protocol import Codec, Condition, Known
from smalti.config import settings
from smalti.errors import UserError


@settings
class JointSettings:
    """The conditions by the keyword of each. A recipe writes a list: `condition: [label, {kind: map}]`."""

    kind: Literal["joint"] = "joint"
    of: dict[str, ConditionSettings]

    def __post_init__(self) -> None:
        refused = [one.kind for one in self.of.values() if one.kind in ("joint", "none")]
        if refused or len(self.of) < 2:
            got = f"one of kind {refused[0]}" if refused else str(len(self.of))
            raise UserError("two conditions or more in a list", got, "give a single one without a list")
        odd = [name for name in self.of if not name.isidentifier()]
        if odd:
            raise UserError("conditions by names that Python takes", odd[0], "use letters, digits and _")

    @property
    def ordered(self) -> dict[str, Any]:
        """Return the conditions in the order of their names, however a recipe has them: prefixes have it."""
        return dict(sorted(self.of.items()))

    @property
    def classes(self) -> int:
        """Return how many classes the first condition has that has some, else 0."""
        return next((one.classes for one in self.ordered.values() if hasattr(one, "classes")), 0)

    @property
    def compute(self) -> Any:
        """Return how maps are computed of images, of the condition that has them so."""
        return next(filter(None, (getattr(one, "compute", None) for one in self.ordered.values())), None)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of these classes."""
        return next((one.names for one in self.ordered.values() if hasattr(one, "classes")), ())


class Each(dict[str, Any]):
    """What each of several conditions has from its `from_user` or `from_batch`, by keyword."""

    def cut(self, rows: slice) -> "Each":
        """Return that of some samples of a batch."""
        return Each({name: value if value is None else value[rows] for name, value in self.items()})

    def __getitem__(self, key: Any) -> Any:
        return self.cut(key) if isinstance(key, slice) else super().__getitem__(key)


class JointCondition(Condition):
    """Takes a value for each of its conditions; one that training leaves out at times need not be given.

    Vocabularies lie side by side: tokens of a condition are moved by the sizes of those before it. Each is
    dropped in training by itself, so that all are gone at once as often as that comes.
    """

    def __init__(
        self, settings: JointSettings, tokenizer: Codec | None = None, part: nn.Module | None = None
    ) -> None:
        """part: of the only condition that takes one, or an nn.ModuleDict by keyword."""
        super().__init__(settings)
        parts = _by_name(settings, part)
        self.members = nn.ModuleDict(
            {
                name: CONDITIONS[one.kind][1](one, tokenizer, parts.get(name))
                for name, one in settings.ordered.items()
            }
        )
        found = list(self.named.values())
        if any(one.features is not None for one in found):
            remedy = "give it alone, or one of tokens"
            raise UserError("conditions of tokens in a list", "one of features", remedy)
        sizes = [one.vocabulary for one in found]
        self.firsts = dict(zip(self.named, accumulate(sizes, initial=0), strict=False))
        computed = [one.compute for one in found if one.compute is not None]
        if len(computed) > 1:
            got = ", ".join(one.settings.kind for one in computed)
            raise UserError("one map that is computed of images in a list", got, "leave the others out")
        self.compute = computed[0] if computed else None
        self.vocabulary, self.shift = sum(sizes), max(one.shift for one in found)
        self.is_padded = any(one.is_padded for one in found)

    @property
    def named(self) -> Mapping[str, Any]:
        """See Condition."""
        return dict(self.members.items())

    def asked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """See Condition: a value for each; None for those that are not given."""
        return {name: given.get(name) for name in self.named}

    def given(self, value: Any) -> dict[str, Any]:
        """See Condition."""
        if isinstance(value, Known):
            return {name: Known(one) for name, one in value.value.items()}
        return {name: one for name, one in (value or {}).items() if one is not None}

    def length(self, grid: tuple[int, int]) -> int:
        """Return the places of all."""
        return sum(one.length(grid) for one in self.named.values())

    def from_user(self, value: Any, *, num: int, grid: tuple[int, int]) -> Each:
        """Return what each condition makes of its value, which may be `Known`, by keyword.

        None for one that need not be given, and is not.
        """
        found = Each()
        for name, one in self.named.items():
            given = (value or {}).get(name)
            if isinstance(given, Known):
                found[name] = given.value
            elif given is None and name in self.loose:
                found[name] = None
            else:
                found[name] = one.from_user(given, num=num, grid=grid)
        return found

    def from_batch(self, batch: Any) -> Each:
        """Return what the batch says of each."""
        return Each({name: one.from_batch(batch) for name, one in self.named.items()})

    @property
    def precomputes(self) -> dict[str, Mapping[str, Any]]:
        """See Condition: what each does."""
        return {key: made for one in self.named.values() for key, made in one.precomputes.items()}

    def precompute(
        self, batch: Any, *, grid: tuple[int, int], device: torch.device
    ) -> dict[str, Int64[Tensor, "b m"]]:
        """See Condition."""
        works = [one.precompute(batch, grid=grid, device=device) for one in self.named.values()]
        return {key: tokens for work in works for key, tokens in work.items()}

    def encode(self, value: Each, *, num: int, grid: tuple[int, int], device: torch.device) -> "JointContext":
        """Return the contexts of all; a condition that is not told says nothing."""
        place = {"num": num, "grid": grid, "device": device}
        return JointContext(
            {
                name: one.null(**place)
                if value[name] is None and name in self.loose
                else one.encode(value[name], **place)
                for name, one in self.named.items()
            },
            self.firsts,
        )

    def null(self, *, num: int, grid: tuple[int, int], device: torch.device) -> "JointContext":
        """Return the context of which every condition says nothing; UserError if one cannot be left out."""
        place = {"num": num, "grid": grid, "device": device}
        return JointContext({name: one.null(**place) for name, one in self.named.items()}, self.firsts)

    def without(
        self,
        context: Context,
        gone: Collection[str],
        *,
        num: int,
        grid: tuple[int, int],
        device: torch.device,
    ) -> "JointContext":
        """See Condition."""
        assert isinstance(context, JointContext), "encode made it"
        place = {"num": num, "grid": grid, "device": device}
        hidden = {name: self.named[name].null(**place) for name in gone}
        return JointContext({**context.parts, **hidden}, self.firsts)

    def drop(self, context: Context, num: int, rng: torch.Generator) -> "JointContext":
        """See Condition: each by itself."""
        assert isinstance(context, JointContext), "encode made it"
        parts = {name: one.drop(context.parts[name], num, rng) for name, one in self.named.items()}
        return JointContext(parts, self.firsts)

    @classmethod
    def settle(cls, mapping: Mapping[str, Any], classes: Sequence[str], root: str) -> dict[str, Any]:
        """See Condition."""
        held = mapping.get("of")
        if not isinstance(held, Mapping):
            return dict(mapping)
        found = {name: _settled(one, classes, root) for name, one in held.items()}
        return {**mapping, "of": found}

    @classmethod
    def needs(cls, settings: Any, data: Any, reader: Any) -> None:
        """See Condition: all that each needs, and one tokenizer of maps at most."""
        for one in settings.of.values():
            CONDITIONS[one.kind][1].needs(one, data, reader)

    def agree(self, data: Any, readers: Iterable[Any]) -> None:
        """See Condition."""
        found = list(readers)
        for one in self.named.values():
            one.agree(data, found)

    def learn(self, reader: Any) -> list[str]:
        """See Condition."""
        return [note for one in self.named.values() for note in one.learn(reader)]

    @property
    def learned(self) -> tuple[str, ...]:
        """See Condition: names of files after those of conditions."""
        return tuple(f"{name}-{file}" for name, one in self.named.items() for file in one.learned)

    def files(self) -> dict[str, str]:
        """See Condition."""
        found = {name: one.files() for name, one in self.named.items()}
        return {f"{name}-{file}": text for name, held in found.items() for file, text in held.items()}

    def take(self, files: Mapping[str, str]) -> None:
        """See Condition."""
        for name, one in self.named.items():
            if one.learned:
                one.take({file: files[f"{name}-{file}"] for file in one.learned})

    def told(self) -> str:
        """See Condition."""
        return "; ".join(filter(None, (one.told() for one in self.named.values())))

    def of_image(self, look: Callable[[Computation], Float[Tensor, "1 c H W"]]) -> dict[str, Any]:
        """See Condition: the map that is computed, by its keyword."""
        if self.compute is None:
            return super().of_image(look)
        return {name: one.compute(look(one.compute)) for name, one in self.named.items() if one.compute}

    def count(self, value: Any) -> int | None:
        """Return the most canvases that a value of one of them is for; None: each is for all."""
        told = ((one, (value or {}).get(name)) for name, one in self.named.items())
        counts = [one.count(given) for one, given in told if given is not None]
        return max((count for count in counts if count is not None), default=None)

    def apart(self, value: Any, num: int) -> list[Any]:
        """See Condition."""
        told = {name: one.apart((value or {}).get(name), num) for name, one in self.named.items()}
        return [{name: each[row] for name, each in told.items()} for row in range(num)]

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """Return the values of each canvas by keyword."""
        told = {
            name: one.describe(value[name], num=num)
            for name, one in self.named.items()
            if (value or {}).get(name) is not None
        }
        return [{name: each[row] for name, each in told.items()} for row in range(num)]

    @property
    def parts(self) -> Mapping[str, Any]:
        """See Condition: what each has of its own."""
        found = {name: one.own for name, one in self.named.items()}
        return {name: own for name, own in found.items() if own is not None}

    @property
    def own(self) -> Any:
        """Return this one where a condition has something of its own, see `parts`; None where none has."""
        return self if self.parts else None


@dataclass(frozen=True)
class JointContext:
    """Contexts of several conditions for the same canvases, by keyword."""

    parts: Mapping[str, Context]
    firsts: Mapping[str, int]  # by which the tokens of each are moved

    def window(self, top: int, left: int, height: int, width: int) -> Prefix:
        """Return all prefixes, one after the other; padded where one of them is."""
        found = {name: part.window(top, left, height, width) for name, part in self.parts.items()}
        moved = [_values(prefix) + self.firsts[name] for name, prefix in found.items()]
        if not any(isinstance(prefix, Padded) for prefix in found.values()):
            return torch.cat(moved, 1)
        masks = [
            prefix.mask if isinstance(prefix, Padded) else torch.ones_like(prefix, dtype=torch.bool)
            for prefix in found.values()
        ]
        return Padded(values=torch.cat(moved, 1), mask=torch.cat(masks, 1))

    def take(self, rows: Int64[Tensor, " r"]) -> "JointContext":
        """See Context."""
        return JointContext({name: part.take(rows) for name, part in self.parts.items()}, self.firsts)


def _values(prefix: Prefix) -> Int64[Tensor, "b m"]:
    return prefix.values if isinstance(prefix, Padded) else prefix


def _settled(given: Any, classes: Sequence[str], root: str) -> Any:
    """Return a member's settings settled by the data, unless `parse` will refuse them."""
    kind = given.get("kind") if isinstance(given, Mapping) else None
    return CONDITIONS[str(kind)][1].settle(given, classes, root) if kind in CONDITIONS else given


def _by_name(settings: JointSettings, part: nn.Module | None) -> dict[str, nn.Module]:
    """Return the parts that conditions are built with; UserError for one that nobody takes."""
    if isinstance(part, nn.ModuleDict):
        return dict(part.items())
    taking = [name for name, one in settings.of.items() if CONDITIONS[one.kind][1].takes_part(one)]
    if len(taking) > 1 or (part is not None and not taking):
        expected = "one condition with a tokenizer of its own in a list, and that tokenizer"
        got = f"{', '.join(taking) or 'none'} with {'one' if part is not None else 'none'}"
        raise UserError(expected, got, "set shared: true for the others, or condition.of.NAME.shared=true")
    return {} if part is None else {taking[0]: part}
