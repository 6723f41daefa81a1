"""Whether drawn images obey the maps, boxes and captions that they were drawn of."""

from collections.abc import Sequence
from typing import Any

from smalti.conditions.protocol import Condition
from smalti.errors import UserError
from smalti.evaluation.described import is_joint
from smalti.evaluation.evidence import Evidence, Side
from smalti.evaluation.measures.protocol import GENERATION, Found, Measure
from smalti.evaluation.record import Number
from smalti.features.protocol import Space
from smalti.files import evenly
from smalti.metrics.obeyed.choice import judge_of
from smalti.metrics.obeyed.protocol import Lazy, Pairs, obeyed, take

_LOOKED_AT = 16  # conditions, to see of what kind they are


class Obeyed(Measure):
    """What the judge of the model's condition says, in the better one of the feature spaces.

    Beside it that of the same images and the conditions of others, and of real images and their own.
    """

    tasks = (GENERATION,)

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure; none for models that are told nothing, or classes alone: see Accuracy.

        Of several conditions each is judged by itself, and its numbers begin with its name. UserError where a
        judge would have to learn and there is nothing to learn from; of several conditions at the end, after
        the numbers of the others.
        """
        condition, space = evidence.condition, next(iter(evidence.spaces.values()), None)
        if condition is None or evidence.fake.conditions is None or space is None:
            return
        if not is_joint(condition):
            yield from _numbers(evidence, condition, space, None)
            return
        mistakes: dict[str, UserError] = {}
        for name, part in condition.named.items():
            try:
                for key, number in _numbers(evidence, part, space, name):
                    yield f"{name}_{key}", number
            except UserError as mistake:
                mistakes[name] = mistake
        if mistakes:
            first, *others = mistakes.items()
            more = "".join(f"; {name}: {one.expected}" for name, one in others)
            raise UserError(f"{first[1].expected} (of {first[0]}{more})", first[1].got, first[1].remedy)


def _numbers(evidence: Evidence, condition: Condition, space: Space, name: str | None) -> Found:
    """Return the numbers of the judge of a condition; name: of one of several."""
    fake, real = pairs(evidence.fake, name), pairs(evidence.real, name)
    some = list(range(min(_LOOKED_AT, evidence.fake.count)))
    judge = judge_of(condition, space, take(fake.conditions, some))
    if judge is None:
        return
    train, learned = evidence.train, None
    if judge.learns:
        if train is None or train.conditions is None:
            raise UserError(
                "training images with what they show, to learn from", "without any", "--split val"
            )
        learned = pairs(train, name, evenly(range(train.count), judge.most))
    found = obeyed(judge, fake, real=real, train=learned)
    protocol = {**evidence.protocol, **judge.protocol(), "exchange": 0}
    if train is not None and learned is not None:
        protocol["training"] = {"hash": train.hash, "count": len(learned.images)}
    for key, one in found.items():
        beside = {"conditions exchanged": one.floor, "real images": one.ceiling}
        title = judge.titles[key]
        yield key, Number(value=one.value, title=title, better="higher", beside=beside, protocol=protocol)


def pairs(side: Side, name: str | None = None, rows: list[int] | None = None) -> Pairs:
    """Return images of a set with their conditions, read when they are looked at.

    name: of one of several conditions; None: of the only one. rows: some of the images.
    """
    told, chosen = side.conditions, list(range(side.count)) if rows is None else rows
    assert told is not None, "they have conditions"

    def conditions(numbers: Sequence[int]) -> Any:
        found = told([chosen[number] for number in numbers])
        return found if name is None else found[name]

    return Pairs(
        images=Lazy(len(chosen), lambda numbers: side.show([chosen[number] for number in numbers])),
        conditions=Lazy(len(chosen), conditions),
    )
