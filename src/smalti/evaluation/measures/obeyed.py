"""Whether drawn images obey the maps, boxes and captions that they were drawn of."""

from smalti.errors import UserError
from smalti.evaluation.evidence import Evidence, Side
from smalti.evaluation.measures.protocol import GENERATION, Found, Measure
from smalti.evaluation.record import Number
from smalti.files import evenly
from smalti.metrics.obeyed.choice import judge_of
from smalti.metrics.obeyed.protocol import Lazy, Pairs, obeyed

_LEARNED = 500  # training images at most that a judge learns from, evenly over all
_LOOKED_AT = 16  # conditions, to see of what kind they are


class Obeyed(Measure):
    """What the judge of the model's condition says, in the better one of the feature spaces.

    Beside it that of the same images and the conditions of others, and of real images and their own.
    """

    tasks = (GENERATION,)

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure; none for models that are told nothing, or classes: see Accuracy.

        UserError where a judge would have to learn and there is nothing to learn from.
        """
        condition, told = evidence.condition, evidence.fake.conditions
        space = next(iter(evidence.spaces.values()), None)
        if condition is None or told is None or space is None:
            return
        judge = judge_of(condition, space, told(list(range(min(_LOOKED_AT, evidence.fake.count)))))
        if judge is None:
            return
        train, learned = evidence.train, None
        if judge.learns:
            if train is None or train.conditions is None:
                raise UserError(
                    "training images with what they show, to learn from", "without any", "--split val"
                )
            learned = pairs(train, evenly(range(train.count), _LEARNED))
        found = obeyed(judge, pairs(evidence.fake), real=pairs(evidence.real), train=learned)
        protocol = {**evidence.protocol, **judge.protocol(), "exchange": 0}
        if train is not None and learned is not None:
            protocol["training"] = {"hash": train.hash, "count": len(learned.images)}
        for name, one in found.items():
            beside = {"conditions exchanged": one.floor, "real images": one.ceiling}
            title = judge.titles[name]
            yield (
                name,
                Number(value=one.value, title=title, better="higher", beside=beside, protocol=protocol),
            )


def pairs(side: Side, rows: list[int] | None = None) -> Pairs:
    """Return images of a set with their conditions, read when they are looked at; rows: some of them."""
    told, chosen = side.conditions, list(range(side.count)) if rows is None else rows
    assert told is not None, "they have conditions"
    return Pairs(
        images=Lazy(len(chosen), lambda numbers: side.show([chosen[number] for number in numbers])),
        conditions=Lazy(len(chosen), lambda numbers: told([chosen[number] for number in numbers])),
    )
