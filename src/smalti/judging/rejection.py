"""Rejection sampling: of several times as many images those are kept that a judge scores highest.

As in arXiv:2012.09841, Table 4, where the best m of n images of a class are kept: the acceptance rate m / n
trades variety for what the judge looks for.
"""

import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smalti import hints, imaging, library, shipped
from smalti.drawing.request import Made, sides, whole
from smalti.errors import UserError
from smalti.features import SPACES
from smalti.judging.classifier import Classifier
from smalti.judging.likelihood import Likelihood
from smalti.judging.likeness import Likeness
from smalti.judging.protocol import Asked, Scorer
from smalti.pipeline import Pipeline
from smalti.samples import Samples

TOGETHER = 64  # kept images at most that were chosen from one lot: what is drawn of it is kept in memory


def best_of(
    pipeline: Pipeline, reject: int | Any, judge: str | Path | Scorer | Any, num: Any = None, **options: Any
) -> Samples:
    """Draw `reject` times as many images as `num` and return those that the judge scores highest.

    Of the images of one value of the condition the best are kept, the best first, in lots of up to 64 kept
    ones; so reject=8 is an acceptance rate of 1/8. Their metadata tell it, with score and judge, and each
    keeps the seed by which `Pipeline.sample` draws it again; lots use seeds one after another from `seed`.

    judge: a classifier of `smalti weights` (mobilenet_v2, lite0, inception): the probability of the asked
    class where the model's classes are ImageNet's 1,000, else of the likeliest one. A model folder: how
    likely its prior finds the image. A folder of images: how near the nearest of them is, perceptually. Or a
    Scorer. num, options: those of `Pipeline.sample`, and the condition.
    """
    return Samples.joined(list(batches(pipeline, reject, judge, num, **options)))


def batches(
    pipeline: Pipeline, reject: Any, judge: Any, num: Any = None, **options: Any
) -> Iterator[Samples]:
    """Check what is asked for, and give what draws it lot by lot; see `best_of`.

    options: also wanted, see `drawing.request`, which is asked of each lot.
    """
    each, wanted = _each(reject), options.pop("wanted", None)
    if options.get("top_k") == 1:
        remedy = "a larger top_k, or leave reject out"
        raise UserError("a draw with chance, to reject some", "top_k=1, all images alike", remedy)
    if options.get("mix") is not None:
        raise UserError("images of one value, to judge them by it", "mix=", "leave mix out, or reject")
    given = {name: options.pop(name) for name in pipeline.condition.named if name in options}
    value = pipeline.condition.asked(given)
    several = pipeline.condition.count(value)
    num = whole("num", num if num is not None else several or 1)
    told = _told(pipeline, value)
    pipeline.iter_batches(num if several else num * each, **told, **options)  # checks all, draws nothing
    size = options.get("size")
    found = find(judge, pipeline, pipeline.crop_size if size is None else sides(size))
    marks = [None] * num if value is None else pipeline.condition.describe(value, num=num)
    values = pipeline.condition.apart(value, num)
    seed = whole("seed", options.pop("seed", 0))
    lots = [Lot(values[first], first, count, each, seed + first * each) for first, count in _parts(marks)]
    if wanted is not None:
        lots = [lot for lot in lots if wanted(lot.images, _before(pipeline, found, lot, options))]
    return _kept(pipeline, found, lots, options)


def find(judge: Any, pipeline: Pipeline, size: tuple[int, int]) -> Scorer:
    """Return the judge that a name or a path means; UserError for what is none.

    size: height and width in pixels of the images that are to be judged.
    """
    if isinstance(judge, Scorer):
        return judge
    if judge in SPACES:
        return Classifier.build(SPACES[judge], pipeline)
    path = shipped.located(Path(judge)) if isinstance(judge, str | Path) else None
    if path is None or not path.is_dir():
        near = None if judge is None else hints.near(str(judge), SPACES)
        remedy = f"did you mean {near}?" if near else "check the path"
        remedy = "for example judge=lite0" if judge is None else remedy
        expected = f"a judge: {', '.join(SPACES)}, a MODEL with a prior, or a folder of images"
        raise UserError(expected, "none" if judge is None else str(judge), remedy)
    ours = any((path / name).is_file() for name in (library.CONFIG, "settings.yaml"))
    if not ours and not library.is_foreign(path):
        return Likeness(path, pipeline, size)
    model = library.load(path, pipeline.order.device)
    if not isinstance(model, Pipeline):
        raise UserError("a judge with a prior", f"the tokenizer {path}", "give a prior's run or model folder")
    return Likelihood(model, pipeline, size)


@dataclass(frozen=True)
class Lot:
    """Images that are chosen from one another."""

    value: Any  # of the condition, for each of them
    first: int  # number of the first that is kept
    count: int  # kept
    each: int  # drawn for each of these
    seed: int  # of the first that is drawn

    @property
    def images(self) -> range:
        """Return the numbers of those that are kept."""
        return range(self.first, self.first + self.count)

    @property
    def drawn(self) -> int:
        """Return how many are drawn."""
        return self.count * self.each


def _kept(
    pipeline: Pipeline, judge: Scorer, lots: Sequence[Lot], options: Mapping[str, Any]
) -> Iterator[Samples]:
    of = sum(lot.count for lot in lots)
    for lot in lots:
        asked, drawn, scores = Asked.of(pipeline, lot.value), [], []
        how = {**options, **_told(pipeline, lot.value), "seed": lot.seed}
        how["progress"] = _over_all(options.get("progress", False), lot.count, of)
        for batch in pipeline.iter_batches(lot.drawn, **how):
            drawn.append(batch)
            scores.append(judge.score(imaging.as_saved(batch.tensors), batch.codes, asked).double().cpu())
        yield _best(Samples.joined(drawn), torch.cat(scores), lot, judge)


def _before(pipeline: Pipeline, judge: Scorer, lot: Lot, options: Mapping[str, Any]) -> Made:
    """Return what says of kept images what is known before they are drawn: all but seed and score."""

    @cache
    def alike() -> dict[str, Any]:
        known: list[Mapping[str, Any]] = []

        def noted(images: range, made: Made) -> bool:
            known.append(made(0))
            return False

        pipeline.iter_batches(1, **{**options, **_told(pipeline, lot.value), "wanted": noted})  # draws none
        (one,) = known
        return {**{name: value for name, value in one.items() if name != "seed"}, "rejection": how}

    how = _protocol(lot, judge)
    return lambda index: alike()


def _protocol(lot: Lot, judge: Scorer) -> dict[str, Any]:
    """Return how the images of a lot are chosen."""
    how = {"judge": judge.name, "scores": judge.scores, **judge.protocol}
    return how | {"drawn": lot.drawn, "kept": lot.count, "acceptance": 1 / lot.each}


def _told(pipeline: Pipeline, value: Any) -> dict[str, Any]:
    """Return a value of the condition as methods of a Pipeline take it; of none nothing."""
    return {} if value is None else pipeline.condition.given(value)


def _best(drawn: Samples, scores: Tensor, lot: Lot, judge: Scorer) -> Samples:
    """Return the best, the best first, of equal ones the first that were drawn."""
    if not scores.isfinite().all():
        expected, got = f"finite scores of {judge.name}", f"{int((~scores.isfinite()).sum())} that are not"
        raise UserError(expected, got, "look at these images, or give another judge")
    rows = scores.argsort(descending=True, stable=True)[: lot.count].tolist()
    how = {**_protocol(lot, judge), "mean": scores.mean().item()}
    return drawn.chosen(rows, [{"rejection": {**how, "score": scores[row].item()}} for row in rows])


def _over_all(progress: Any, count: int, of: int) -> Any:
    """Return a function that is told of the cells of all lots together; a bar stands for one lot.

    count: images that are kept of a lot; of: of all lots.
    """
    if not callable(progress):
        return progress
    return lambda total, more: progress(total * of // count, more)


def _parts(marks: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Give the first place and the length of each stretch of equal marks, in lots of TOGETHER at most."""
    first = 0
    for _, same in itertools.groupby(marks):
        end = first + len(list(same))
        for begin in range(first, end, TOGETHER):
            yield begin, min(TOGETHER, end - begin)
        first = end


def _each(reject: Any) -> int:
    """Return how many images are drawn for each that is kept."""
    try:
        found = operator.index(reject)
    except TypeError:
        found = 0
    if found < 2:
        expected = "2 or more images to draw for each that is kept (reject)"
        raise UserError(expected, "none" if reject is None else str(reject), "for example reject=8")
    return found
