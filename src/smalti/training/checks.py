"""What is looked at, and told, before the first step: nothing that can be known then is to fail later."""

from collections.abc import Mapping
from typing import Any

from smalti import strategy
from smalti.conditions.computed import computation
from smalti.data.buckets import Buckets
from smalti.data.protocol import Reader
from smalti.data.report import DataReport, inspect
from smalti.data.values import FLOATS, is_float
from smalti.errors import UserError
from smalti.sizes import nearest, worded
from smalti.training import validation
from smalti.training.settings import PriorTraining, TokenizerTraining, Training

TRAINED = "training on"
SMALLEST = 16  # pixels a side of what a perceptual distance looks at: VGG16 halves four times
ENLARGED = 2.0  # times: beyond it a crop shows hardly more than the blur of its enlargement


def check(training: Training, held_out: int) -> None:
    """UserError for settings that would end a run at its first step, or later.

    held_out: how many images there are to validate by.
    """
    validation.check(training, held_out)
    of_maps: Any = (
        training if isinstance(training, TokenizerTraining) else getattr(training, "condition", None)
    )
    compute = getattr(of_maps, "compute", None)  # of several conditions the one that is computed
    if compute is not None:
        for size in training.sizes:
            computation(compute).check(size)
    if not isinstance(training, TokenizerTraining):
        return
    distance, shortest = training.losses.perceptual, min(map(min, training.sizes))
    if distance.weight and distance.kind != "none" and shortest < SMALLEST:
        expected = f"crops of at least {SMALLEST} x {SMALLEST} pixels for losses.perceptual"
        remedy = "losses.perceptual.weight=0.0, or a larger size"
        raise UserError(expected, f"size={worded(training.sizes)}", remedy)


def tell(training: Training, readers: Mapping[str, Reader], buckets: Mapping[str, Buckets]) -> None:
    """Say on stderr what the data hold. UserError where no training image can be read."""
    for split, reader in readers.items():
        what = {"train": TRAINED, "val": "held out:"}[split]
        if not len(reader):
            strategy.current().say(f"{what} nothing: no validation lines, and sheets show what is trained on")
        elif "codes" in reader.gives:
            strategy.current().say(f"{what} {len(reader)} rows of codes")
        else:
            _tell_files(what, reader, training)
        if len(reader) and len(training.sizes) > 1:
            strategy.current().say(_of_sizes(buckets[split], reader))
    counts = [len(members) for members in buckets["train"].members if members]
    if training.batch > min(counts, default=0):
        count = f"{min(counts, default=0)} there are{' of a size' * (len(training.sizes) > 1)}"
        strategy.current().say(
            f"batch={training.batch} is more than the {count}: a batch shows some several times"
        )
    if isinstance(training, TokenizerTraining) and training.quantize_start >= training.steps:
        strategy.current().say(
            f"quantize_start={training.quantize_start} is not below steps={training.steps}: "
            "no image passes the codebook, which stays untrained"
        )


def _tell_files(what: str, reader: Reader, training: Training) -> None:
    report, files = inspect(reader, of_values=what == TRAINED), reader.summary()
    strategy.current().say(f"{what} {report.text()}")
    warned = any(remark.startswith("warning") for remark in report.remarks)
    if isinstance(training, PriorTraining) and warned:
        strategy.current().say(
            "a prior's images are read as its tokenizer reads them: train one with these settings"
        )
    for note in reader.notes(report.headers) if what == TRAINED else ():
        strategy.current().say(note)
    if what == TRAINED and report.unreadable and not report.headers:
        first = report.reasons[0]
        got = f"none among {len(report.unreadable)} looked at, the first {first.got}"
        raise UserError(f"images in {files.root} that can be read", got, first.remedy)
    if what == TRAINED and files.pixels.range is None and report.headers:
        _check_white(report, training)
    sides = [*((one.height, one.width) for one in report.headers), *files.sides]
    sizes = [training.sizes[nearest(found, training.sizes)] for found in sides]
    crop, crops = worded(training.sizes), list(zip(sides, sizes, strict=True))
    if training.crop.resize == "none":
        small = sum(found[0] < size[0] or found[1] < size[1] for found, size in crops)
        if what == TRAINED and small == len(sides):
            expected = f"images of at least {crop} pixels with crop.resize=none"
            raise UserError(expected, f"{small} smaller ones", "crop.resize=short, or a smaller size")
        if small:
            strategy.current().say(
                f"{small} of the {len(sides)} looked at are smaller than crops of {crop}, and left out"
            )
    times = [training.crop.enlargement(found, size) for found, size in crops]
    large = [number for number in times if number > ENLARGED]
    if large:
        many = f"{len(large)} of the {len(times)} looked at are enlarged more than twofold, up to "
        strategy.current().say(
            f"{many}{max(large):.3g} times, to fill crops of {crop}: blurred; choose a smaller size"
        )


def _of_sizes(buckets: Buckets, reader: Reader) -> str:
    """Say how many images have crops of each size, and of which size nothing is learned."""
    counts = dict(zip(buckets.sizes, map(len, buckets.members), strict=True))
    what = "rows" if "codes" in reader.gives else "images"
    each = ", ".join(f"{count} {what} of {worded([size])}" for size, count in counts.items())
    empty = [size for size, count in counts.items() if not count]
    return f"crops: {each}" + (f"; no image is near {worded(empty)}" if empty else "")


def _check_white(report: DataReport, training: Training) -> None:
    """UserError where no image has a known white: each would be left out when its turn comes."""
    count = len(report.headers)
    if not all(map(is_float, report.headers)):
        return
    remarks = (remark for remark in report.remarks if FLOATS in remark)
    remedy = next(remarks, "data.range='[0.0, 1.0]'").rpartition("; ")[2]
    if isinstance(training, PriorTraining):
        remedy = f"train its tokenizer with {remedy}"
    got = f"floating point numbers, which have none, in all {count} looked at"
    raise UserError("images whose black and white are known", got, remedy)
