"""The page of an evaluation: numbers with their protocol, and the images that explain them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smalti import imaging
from smalti.evaluation import table
from smalti.evaluation.described import drawn
from smalti.evaluation.evidence import Evidence
from smalti.evaluation.measures import training
from smalti.evaluation.measures.protocol import RECONSTRUCTION
from smalti.evaluation.record import Record
from smalti.files import evenly
from smalti.metrics import neighbours
from smalti.metrics.report import Report

FILE = "report.html"
SHOWN = 8  # of the worst and of the best
COLUMNS = 8
WIDE = 96  # pixels below which an image is enlarged to be looked at


def write(record: Record, evidence: Evidence, out: Path, title: str) -> Path:
    """Write report.html into a folder; returns its path."""
    report = Report(title)
    for note in record.notes:
        report.text(note)
    report.heading("Numbers")
    header, *cells = table.rows(record)
    titles = ["what it is", *(one.title for one in record.numbers.values())]
    head, *body = ((row[0], title, *row[1:]) for row, title in zip([header, *cells], titles, strict=True))
    report.table(head, body)
    (_pairs if evidence.task == RECONSTRUCTION else _samples)(report, evidence)
    _protocol(report, record)
    return report.save(out / FILE)


def _protocol(report: Report, record: Record) -> None:
    """Show what the record's subject is; what all numbers share of their protocols; what each has besides."""
    report.heading("How it was measured")
    of_subject = [(key, str(value)) for key, value in table.flat(record.subject).items()]
    report.table(("of the subject", ""), of_subject)
    protocols = {name: table.flat(number.protocol) for name, number in record.numbers.items()}
    first = next(iter(protocols.values()), {})
    shared = {
        key: value for key, value in first.items() if all(one.get(key) == value for one in protocols.values())
    }
    report.table(("of all numbers", ""), [(key, str(value)) for key, value in shared.items()])
    own = [
        (name, ", ".join(f"{key} {value}" for key, value in one.items() if key not in shared))
        for name, one in protocols.items()
    ]
    report.table(("number", "besides"), own)


def _pairs(report: Report, evidence: Evidence) -> None:
    """Show the worst and the best images with their reconstructions."""
    judges = [name for name in ("lpips_vgg", "hed", "psnr", "ssim") if name in evidence.pairs]
    if not judges:
        return
    judge = judges[0]
    order = evidence.pairs[judge].argsort(descending=judge in ("psnr", "ssim"), stable=True).tolist()
    count = min(SHOWN, len(order))
    for what, rows in (("Worst", order[-count:][::-1]), ("Best", order[:count])):
        report.heading(f"{what} {count} by {judge}")
        values = ", ".join(f"{evidence.pairs[judge][row]:.3g}" for row in rows)
        both = torch.cat([evidence.real.show(rows), evidence.fake.show(rows)])
        show(report, both, f"Above images, below their reconstructions; {judge} {values}", columns=count)


def _samples(report: Report, evidence: Evidence) -> None:
    """Judged images, class by class where they have classes, and real ones beside them."""
    if evidence.fake.conditions is not None:
        _described(report, evidence)
    report.heading("Images")
    for side in (evidence.fake, evidence.real):
        rows = _spread(side.labels, side.count, 4 * COLUMNS)
        show(report, side.show(rows), f"{side.what}, evenly over all", columns=COLUMNS)
    nearest_training_images(report, evidence)


def _described(report: Report, evidence: Evidence) -> None:
    """Show conditions, what was drawn of them, and the real images that they describe."""
    told, real = evidence.fake.conditions, evidence.real
    assert told is not None, "there are conditions"
    report.heading("Conditions")
    rows = evenly(range(evidence.fake.count), SHOWN)
    images = evidence.fake.show(rows)
    size = (images.shape[2], images.shape[3])
    given = told(rows)
    each = list(given.values()) if isinstance(given, dict) else [given]
    plain = [one.tolist() if isinstance(one, Tensor) else one for one in each if not _is_shown(one)]
    words = ["; ".join(map(str, one)) for one in plain]
    shown = [drawn(one, size) for one in each if _is_shown(one)]
    caption = "Above conditions, below them what was drawn, and the real images"
    if not shown:
        caption = "Above what was drawn, below the real images"
    caption += "".join(f". Told: {one}" for one in words)
    show(report, torch.cat([*shown, images, real.show(rows)]), caption, columns=len(rows))


def _is_shown(conditions: Any) -> bool:
    """Return whether conditions can be seen: not texts, nor numbers of classes."""
    return conditions.dim() > 2 if isinstance(conditions, Tensor) else not isinstance(conditions[0], str)


def nearest_training_images(report: Report, evidence: Evidence) -> None:
    """Show the training images nearest to judged ones: to those that come nearest of all, and to some.

    Nothing where training images or features are not there.
    """
    if evidence.train is None or not evidence.spaces:
        return
    report.heading("Nearest training images")
    space = next(iter(evidence.spaces))
    ratios = neighbours.nearest(evidence.fake.features[space], evidence.train.features[space]).ratios
    closest = ratios.argsort(stable=True)[:SHOWN].tolist()
    sight = next(iter(evidence.distances), f"{space} features")
    for what, rows in (
        ("that come nearest", closest),
        ("evenly over all", evenly(range(len(ratios)), SHOWN)),
    ):
        by_features, by_sight, values = training.nearest(evidence, evidence.fake, rows)
        shown = [evidence.fake.show(rows), evidence.train.show(by_features), evidence.train.show(by_sight)]
        caption = (
            f"Above {evidence.fake.what} {what}; below them the nearest training image by {space} features, "
        )
        caption += f"and by {sight}: " + ", ".join(f"{value:.3g}" for value in values)
        show(report, torch.cat(shown), caption, columns=len(rows))


def show(report: Report, images: Tensor, caption: str, columns: int) -> None:
    """Put images side by side on a page; small ones are enlarged."""
    sheet = imaging.grid(imaging.to_uint8(images), columns=columns)
    zoom = max(1, round(WIDE / images.shape[3]))
    report.image(imaging.to_pil(sheet[None])[0], caption, zoom=zoom)


def _spread(labels: Sequence[int], count: int, most: int) -> list[int]:
    """Return rows evenly over all images, those of one class together."""
    order = sorted(range(count), key=lambda row: labels[row]) if labels else list(range(count))
    return evenly(order, most)
