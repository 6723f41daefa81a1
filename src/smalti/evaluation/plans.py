"""What an evaluation judges, and against what: of a tokenizer, of a model with a prior, of images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smalti import library, shipped
from smalti.errors import UserError
from smalti.evaluation import data
from smalti.evaluation.described import open_described
from smalti.evaluation.fakes import Drawn, Fakes, Given, Rebuilt, Told, by_label
from smalti.evaluation.measures.protocol import GENERATION, RECONSTRUCTION
from smalti.evaluation.sets import Cut, Files, ImageSet
from smalti.evaluation.settings import EvaluationSettings
from smalti.files import evenly
from smalti.metrics.obeyed.choice import most_learned, unjudged
from smalti.pipeline import Pipeline
from smalti.precision import recorded
from smalti.sizes import worded
from smalti.tokenizer import Tokenizer
from smalti.training.folders import is_made


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is judged, against what."""

    task: str  # see Evidence
    data: data.Data
    fakes: Fakes
    count: int  # of the judged images
    what: str  # in words, the judged images
    subject: Mapping[str, Any]  # of the record
    cut: Cut
    model: Tokenizer | Pipeline | None = None
    labels: Sequence[int] = ()  # classes of the judged images, by the model's numbers
    real_labels: Sequence[int] = ()
    told: Told | None = None  # of the real images, what the model is told
    train_labels: Sequence[int] = ()  # none where training images are of other classes
    note: str = ""  # for a person, of the size


def plan(
    subject: Path, real: Path, how: EvaluationSettings, place: tuple[Any, str], drawing: Mapping[str, Any]
) -> Plan:
    """Return what is to be done; UserError for what cannot be judged. place: device and number type."""
    subject = shipped.located(subject)
    of_models = {name: getattr(how, name) for name in ("per_class", "maps", "captions")}
    of_models = {name: given for name, given in of_models.items() if given is not None}
    if data.is_images(subject):
        _refuse({**drawing, **of_models}, subject)
        return _of_images(subject, real, how)
    if how.paired:
        raise UserError("images that somebody made, for --paired", f"the model {subject}", "leave it out")
    model = library.load(subject, *place)
    own = model.crop_sizes if isinstance(model, Pipeline) else None
    sizes = (how.crop_size,) if how.crop_size else own or library.trained_sizes(subject)
    cut, note = Cut(size=sizes[0], how=how.crop), ""
    if len(sizes) > 1:
        note = f"at {worded(sizes[:1])} pixels, of those that the model was trained on: {worded(sizes)}"
    about = {"model": str(subject), "fingerprint": library.fingerprint(model)}
    if isinstance(model, Pipeline):
        return replace(_of_pipeline(model, about, (real, cut), how, drawing), note=note)
    _refuse({**drawing, **of_models}, subject)
    found = data.open_data(real, cut, how, model, how.num)
    return Plan(
        task=RECONSTRUCTION,
        data=found,
        fakes=Rebuilt(model),
        count=len(found.real),
        what="reconstructions",
        subject={**about, "kind": "tokenizer", **recorded(tokenizer=model.dtype)},
        cut=cut,
        model=model,
        note=note,
    )


def _of_pipeline(
    model: Pipeline,
    about: Mapping[str, Any],
    given: tuple[Path, Cut],
    how: EvaluationSettings,
    drawing: Mapping[str, Any],
) -> Plan:
    """Return images drawn of the classes of the data, or of each class as often as the user says."""
    real, cut = given
    if how.num is not None and how.per_class is not None:
        raise UserError("one of --num and --per-class", "both", "leave one of them out")
    arguments = {one.argument for one in model.condition.named.values()}
    for option, told in (("maps", "map"), ("captions", "text")):
        if getattr(how, option) is not None and told not in arguments:
            raise UserError(
                f"a model that is told {told}s, for --{option}", "one that is not", "leave it out"
            )
    if not set(model.condition.named) <= {"label"}:
        return _of_described(model, about, given, how, drawing)
    if how.per_class is not None and not model.classes:
        raise UserError("a model with classes for --per-class", "one without", "give --num")
    found = data.open_data(real, cut, how, model, None if how.per_class else how.num)
    real_labels = data.numbered(found.real, model.classes, str(real)) if model.classes else []
    labels, told = _labels(model, real_labels, how, len(found.real))
    metadata = {**about, "kind": "pipeline", "classes": told, "seed": how.seed}
    return Plan(
        task=GENERATION,
        data=found,
        fakes=Drawn(model, by_label(labels), how.seed, {"size": cut.size, **drawing}),
        count=len(labels) or how.num or len(found.real),
        what="drawn images",
        subject={**metadata, **recorded(prior=model.dtype, tokenizer=model.tokenizer.dtype)},
        cut=cut,
        model=model,
        labels=labels,
        real_labels=real_labels,
        told=by_label(real_labels),
        train_labels=_alike(found.train, model.classes),
    )


def _of_described(
    model: Pipeline,
    about: Mapping[str, Any],
    given: tuple[Path, Cut],
    how: EvaluationSettings,
    drawing: Mapping[str, Any],
) -> Plan:
    """Return images drawn each of what the data say of one of their images: its map, its things, a pose."""
    (path, cut), kind = given, " and ".join(model.condition.named)
    blind = unjudged(model.condition)
    if len(blind) == len(model.condition.named):
        remedy = "draw images with smalti sample and evaluate their folder"
        raise UserError("a condition that data tell", kind, remedy)
    if how.per_class is not None:
        raise UserError("a model that is told classes, for --per-class", f"one of {kind}", "give --num")
    if how.train is not None:
        expected = f"training images of a model that is told a {kind} from its own folder"
        raise UserError(expected, f"--train {how.train}", "leave --train out")
    found, others = open_described(path, cut, how, model)
    most = how.train_num or (most_learned(model.condition) if is_made(path) else data.MOST)
    train = None if others is None else data.at_most(others, most)
    real = data.at_most(found, how.num)
    classes = train.classes if train is not None else ()
    labels = data.numbered(real, classes, str(path)) if classes else []
    metadata = {**about, "kind": "pipeline", "conditions": f"{kind} of the data", "seed": how.seed}
    notes = [f"without obeyed of {name}: no judge sees it" for name in blind]
    return Plan(
        task=GENERATION,
        data=data.Data(
            real=real,
            train=train,
            notes=(f"{len(real)} images of {real.name}", *notes),
        ),
        fakes=Drawn(model, real.described, how.seed, {"size": cut.size, **drawing}),
        count=len(real),
        what="drawn images",
        subject={**metadata, **recorded(prior=model.dtype, tokenizer=model.tokenizer.dtype)},
        cut=cut,
        model=model,
        labels=labels,
        real_labels=labels,
        told=real.described,
        train_labels=train.labels if train is not None else (),
    )


def _refuse(drawing: Mapping[str, Any], subject: Path) -> None:
    """UserError for options of drawing where nothing is drawn."""
    for name in drawing:
        option = f"--{name.replace('_', '-')}"
        raise UserError(f"a model that draws, for {option}", f"{option} with {subject}", "leave it out")


def _labels(
    model: Pipeline, real: Sequence[int], how: EvaluationSettings, count: int
) -> tuple[list[int], str]:
    """Return the class of each image that is drawn, and in words which these are."""
    classes = len(model.classes)
    if not classes:
        return [], "none"
    if how.per_class is not None:
        return [label for label in range(classes) for _ in range(how.per_class)], f"{how.per_class} each"
    count = how.num or count
    if real:
        return [real[row * len(real) // count] for row in range(count)], "as in the data"
    return [row * classes // count for row in range(count)], "evenly"


def _of_images(subject: Path, real: Path, how: EvaluationSettings) -> Plan:
    """Return images that somebody made.

    With `paired` each is the reconstruction of the one that is called alike.
    """
    given = None if how.crop_size is None else Cut(size=how.crop_size, how=how.crop)
    judged = data.open_images(subject, given, None if how.paired else how.num)
    cut = Cut(size=(judged[0].shape[1], judged[0].shape[2]), how=how.crop)
    found = data.open_data(real, cut, how, None, None if how.paired else how.num)
    if how.paired:
        few = evenly(range(len(judged)), how.num or len(judged))
        pairs, judged = evenly(_pairs(judged, found.real), len(few)), judged.some(few)
        found = replace(found, real=found.real.some(pairs), notes=(*found.notes, f"{len(few)} pairs"))
    return Plan(
        task=RECONSTRUCTION if how.paired else GENERATION,
        data=found,
        fakes=Given(judged),
        count=len(judged),
        what="reconstructions" if how.paired else "judged images",
        subject={"model": str(subject), "kind": "images"},
        cut=cut,
        labels=() if how.paired else _alike(judged, found.real.classes),
        real_labels=found.real.labels,
        train_labels=_alike(found.train, found.real.classes),
    )


def _alike(found: ImageSet | None, classes: Sequence[Any]) -> list[int]:
    """Return the classes of images by these numbers; none where some are not among them."""
    if found is None or not {*map(str, found.classes)} <= {*map(str, classes)}:
        return []
    return data.numbered(found, classes, found.name)


def _pairs(judged: ImageSet, real: ImageSet) -> list[int]:
    """Return the real image of each judged one.

    By name, or by number as --save writes them; UserError without.
    """
    if isinstance(judged, Files) and isinstance(real, Files):
        stems = [path.stem for path in real.paths]
        found = _by_name([path.stem for path in judged.paths], stems)
        if None not in found:
            return [row for row in found if row is not None]
        if [path.stem for path in judged.paths] != [f"{row:05}" for row in range(len(judged))]:
            path = judged.paths[found.index(None)]
            raise UserError(
                "an image of the same name for each with --paired", f"none for {path}", "rename it"
            )
    if len(judged) > len(real):
        raise UserError(f"at most {len(real)} images, one of each", f"{len(judged)}", "leave --paired out")
    return evenly(range(len(real)), len(judged))


def _by_name(stems: Sequence[str], real: Sequence[str]) -> list[int | None]:
    """Return the number of the one that is called alike, also after reconstruct's number."""
    times = Counter(real)
    only = {stem: row for row, stem in enumerate(real) if times[stem] == 1}
    found: list[int | None] = []
    for stem in stems:
        number, _, rest = stem.partition("-")
        row = only.get(stem, only.get(rest))
        if row is None and number.isdecimal() and list(real[int(number) : int(number) + 1]) == [rest]:
            row = int(number)
        found.append(row)
    return found
