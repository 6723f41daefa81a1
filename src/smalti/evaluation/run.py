"""From a model or images, and data, to numbers, a record and a page: what `smalti evaluate` calls."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smalti import config, hints, rounds, strategy
from smalti.errors import UserError
from smalti.evaluation import networks, page, passes
from smalti.evaluation.described import value
from smalti.evaluation.evidence import Evidence, Show
from smalti.evaluation.fakes import Drawn, Given, Rebuilt
from smalti.evaluation.measures import MEASURES
from smalti.evaluation.measures.protocol import GENERATION, RECONSTRUCTION
from smalti.evaluation.networks import Asked, Networks, colours
from smalti.evaluation.passes import Passes
from smalti.evaluation.plans import Plan, plan
from smalti.evaluation.record import Number, Record
from smalti.evaluation.saving import Saver
from smalti.evaluation.sets import ImageSet
from smalti.evaluation.settings import EvaluationSettings
from smalti.imaging import eight_bit
from smalti.losses import DISTANCES
from smalti.metrics.distances import few
from smalti.metrics.reconstruction import ms_ssim, psnr, ssim
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer

Value = Callable[[Tensor, Tensor], Tensor]  # (real, fake) in [-1, 1] -> "b"

VALUES: dict[str, Value] = {"psnr": psnr, "ssim": ssim, "ms_ssim": ms_ssim}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found, and what it was found of."""

    record: Record
    evidence: Evidence
    title: str  # in words

    def save(self, out: Path) -> None:
        """Write metrics.json and report.html into a folder, which is made."""
        out.mkdir(parents=True, exist_ok=True)
        self.record.save(out)
        page.write(self.record, self.evidence, out, self.title)


def evaluate(
    subject: str | Path,
    real: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    drawing: Mapping[str, Any] | None = None,
    **options: Any,
) -> Evaluation | None:
    """Measure a model, or images, against real images; returns what was found, in process 0 alone.

    subject: a tokenizer (reconstruction), a model with a prior (generation), or images that somebody made: a
    folder, or an npz file as other evaluators take them. real: a folder of images, or an npz. drawing:
    options of Pipeline.sample. options: those of EvaluationSettings. Raises UserError for what cannot be
    measured.
    """
    where = strategy.choose(device)
    with strategy.current().joined(where):
        return _shared(subject, real, (where, dtype), drawing or {}, options)


def _shared(
    subject: str | Path,
    real: str | Path,
    place: tuple[torch.device, str],
    drawing: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Evaluation | None:
    """Measure together with the other processes. place: the device, and what models are kept in."""
    begun, (where, _) = time.monotonic(), place
    with rounds.agreed():
        how: EvaluationSettings = config.parse(options, EvaluationSettings)
        names, wanted = _chosen(how.metrics), how.metrics or ()
        for space in how.spaces or ():
            networks.known(space)
        todo = plan(Path(subject), Path(real), how, place, drawing)
        fitting = [name for name, one in MEASURES.items() if todo.task in one.tasks]
        strange = [name for name in wanted if name not in fitting]
        if strange or how.metrics == ():
            remedy = "leave it out" if strange and len(wanted) > 1 else "choose some"
            expected = f"metrics of a {todo.task}: {', '.join(fitting)}"
            raise UserError(expected, ",".join(strange) or "none", remedy)
        names = [name for name in names if name in fitting]
        _refuse_obeyed(todo, wanted)
        spaces = how.spaces if any(MEASURES[name].of_features for name in names) else ()
        found = networks.find(_asked(names, spaces, wanted), todo.cut.size, where)
        values, short = _values(names, found, todo, wanted)
        saved = Saver(how.save, todo.count, todo.cut.size)
    with saved as saver:
        evidence = _gather(todo, Passes(networks=found, values=values, device=where, saver=saver))
    if strategy.current().rank != 0:
        return None
    _check(evidence)
    numbers, without = _numbers(evidence, names, wanted)
    notes = [*todo.data.notes, *filter(None, [todo.note]), *found.missing, *short, *without]
    notes += _few(evidence) if "fd" in names else ()
    about = {**todo.subject, "seconds": round(time.monotonic() - begun, 1), "torch": torch.__version__}
    if isinstance(todo.fakes, Drawn):
        about["drawing"] = todo.fakes.how()
    record = Record(subject=about, numbers=numbers, notes=tuple(notes))
    return Evaluation(record=record, evidence=evidence, title=f"smalti evaluate: {todo.what} of {subject}")


def _refuse_obeyed(todo: Plan, wanted: Sequence[str]) -> None:
    """UserError, before minutes of work, where it is asked for and nothing is told that could be obeyed."""
    told = set(todo.model.condition.named) if isinstance(todo.model, Pipeline) else set()
    if "obeyed" in wanted and told <= {"label"}:
        got = "one that is told classes" if told else "images that are told nothing"
        remedy = "--metrics accuracy" if told else "leave it out"
        raise UserError("a model that is told maps, boxes, points or texts, for obeyed", got, remedy)


def _numbers(
    evidence: Evidence, names: Sequence[str], wanted: Sequence[str]
) -> tuple[dict[str, Number], list[str]]:
    """Return the numbers of the chosen measures, in the shelf's order.

    A line for each that images are too few for, or tell nothing of; UserError where the former is wanted.
    """
    found: dict[str, Number] = {}
    notes = []
    for name, measure in MEASURES.items():
        if name not in names:
            continue
        try:
            for key, number in measure.numbers(evidence):  # what comes before a mistake stays
                found[key] = number
        except UserError as mistake:
            if name in wanted:
                raise
            notes.append(f"without {name}: it takes {mistake.expected}, got {mistake.got} ({mistake.remedy})")
    for name in [name for name, one in found.items() if not math.isfinite(one.value)]:
        notes.append(f"without {name}: these images tell nothing of it ({found.pop(name).value})")
    for name, one in found.items():
        found[name] = replace(one, beside={what: x for what, x in one.beside.items() if math.isfinite(x)})
    return found, notes


def _gather(todo: Plan, run: Passes) -> Evidence:
    """Look at all images, together with the other processes."""
    real, model, count = todo.data.real, todo.model, todo.count
    pipeline = model if isinstance(model, Pipeline) else None
    if todo.task == RECONSTRUCTION:
        rows = run.both(real, todo.fakes)
    else:
        rows = {**run.real(real, pipeline, todo.told), **run.fake(todo.fakes, count)}
    # of reconstructions training images tell nothing that their passes through all spaces would be worth
    train = todo.data.train if run.networks.spaces and todo.task == GENERATION else None
    if train is not None:
        rows |= run.train(train, pipeline, probe=bool(todo.labels and todo.train_labels))
    told = _told(real, pipeline)
    of_real = {"what": "real images", "count": len(real), "show": _show(real), "labels": todo.real_labels}
    of_fake = {"what": todo.what, "count": count, "show": _shown(todo, rows), "labels": todo.labels}
    of_real, of_fake = ({**one, "conditions": told} for one in (of_real, of_fake))
    shown, side = passes.side(rows, "real", **of_real), passes.side(rows, "fake", **of_fake)
    trained = None
    if train is not None:
        of_train = {"what": "training images", "count": len(train), "show": _show(train)}
        of_train["conditions"] = _told(train, pipeline)
        trained = passes.side(rows, "train", **of_train, labels=todo.train_labels)
    protocol = {"task": todo.task, "count": count, "reference": {"count": len(real), "hash": shown.hash}}
    protocol |= {**todo.cut.protocol(), "pixels": f"8 bits, rounded{todo.data.reading}"}
    protocol |= {"library": f"smalti {version('smalti')}", "dtype": "features float32, sums float64"}
    return Evidence(
        real=shown,
        fake=side,
        train=trained,
        task=todo.task,
        condition=None if pipeline is None else pipeline.condition,
        spaces=run.networks.spaces,
        distances=run.networks.distances,
        protocol=protocol,
        pairs={name: rows[name] for name in run.values},
        codes=rows.get("codes"),
        train_codes=rows.get("trained/codes"),
        codebook_size=_codebook_size(model),
        blurred={name: rows[f"blur/{name}"] for name in run.networks.spaces if f"blur/{name}" in rows},
        nats=passes.nats(rows),
        pixels=todo.cut.size[0] * todo.cut.size[1],
    )


def _codebook_size(model: Tokenizer | Pipeline | None) -> int:
    tokenizer = model.tokenizer if isinstance(model, Pipeline) else model
    return 0 if tokenizer is None else tokenizer.codebook_size


def _told(found: ImageSet, model: Pipeline | None) -> Callable[[Sequence[int]], Any] | None:
    """Return what gives conditions by number, as judges take them; None: images have none but classes."""
    if model is None or found.described([0]) is None:
        return None
    return lambda rows: value(model, found.described(rows))


def _show(found: ImageSet) -> Show:
    return lambda rows: colours(eight_bit(found.batch(rows)))


def _shown(todo: Plan, rows: Mapping[str, Tensor]) -> Show:
    """Return how judged images are looked at again.

    Drawn ones by their codes, reconstructions by their images.
    """
    fakes = todo.fakes
    if isinstance(fakes, Drawn):
        return lambda chosen: colours(fakes.again(rows["made/codes"][list(chosen)])).cpu()
    if isinstance(fakes, Given):
        return _show(fakes.found)
    assert isinstance(fakes, Rebuilt), "there are three kinds"
    return lambda chosen: colours(fakes.rebuild(todo.data.real.batch(chosen))[0]).cpu()


def _check(evidence: Evidence) -> None:
    """Raise UserError for sets that say nothing: one image, equal ones, images held against themselves."""
    for side in (evidence.real, evidence.fake, evidence.train):
        if side is not None:
            side.check()
    if evidence.fake.hash and evidence.fake.hash == evidence.real.hash:
        got = f"the same {evidence.real.count} images on both sides"
        raise UserError("images to judge, and other images to judge them by", got, "give another folder")


def _few(evidence: Evidence) -> list[str]:
    """Return a line for the distances that so few images make large."""
    count = min(evidence.real.count, evidence.fake.count)
    found = [few(count, space.width) for space in evidence.spaces.values()]
    return [text for text in found if text is not None][:1]


def _values(
    names: Sequence[str], found: Networks, todo: Plan, wanted: Sequence[str]
) -> tuple[dict[str, Value], list[str]]:
    """Return what is computed of an image and its reconstruction.

    A line for each that images are too small for.
    """
    if todo.task != RECONSTRUCTION:
        return {}, []
    chosen = {name: VALUES[name] for name in names if name in VALUES}
    chosen |= {name: partial(networks.apart, network) for name, network in found.distances.items()}
    blank, notes = torch.zeros(1, 3, *todo.cut.size), []
    for name in list(chosen):
        try:
            chosen[name](blank, blank)
        except UserError as mistake:
            if name in wanted:
                raise
            del chosen[name]
            notes.append(f"without {name}: it takes {mistake.expected}")
    return chosen, notes


def _asked(names: Sequence[str], spaces: Sequence[str] | None, wanted: Sequence[str]) -> Asked:
    """Return the networks of some measures: perceptual distances by their own names, or one that will do."""
    own = [name for name in DISTANCES if name in names]
    others = {name for measure in names for name in MEASURES[measure].distances}
    distances = own or [name for name in DISTANCES if name in others]
    return Asked(spaces=spaces, distances=distances, first=not own, wanted=wanted)


def _chosen(asked: Sequence[str] | None) -> list[str]:
    known = list(MEASURES)
    strange = [name for name in asked or () if name not in known]
    if strange:
        near = hints.near(strange[0].lower(), known)
        remedy = f"did you mean {near}?" if near else "give --metrics, separated by commas"
        raise UserError(f"metrics among {', '.join(known)}", strange[0], remedy)
    return known if asked is None else list(asked)
