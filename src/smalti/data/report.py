"""What a folder of images holds, before anything is trained on it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from smalti.data.protocol import Reader
from smalti.data.values import remarks
from smalti.errors import UserError
from smalti.files import evenly
from smalti.opening import Header, Source
from smalti.reading.values import read_header

LOOKED_AT = 5000  # images whose headers are read: a second or two


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """Counts, from file names and headers."""

    images: int
    classes: dict[str, int]  # name -> images, or things in them; empty where there are no classes
    headers: tuple[Header, ...]  # of the images looked at, evenly over all
    unreadable: tuple[Source, ...]  # of those
    reasons: tuple[UserError, ...] = ()  # why, one each
    remarks: tuple[str, ...] = ()  # on values, bands and pages
    splits: str = ""  # in words, which folders are splits
    has_files: bool = True  # false: images are made

    def text(self) -> str:
        """Return a few lines for a person."""
        looked = len(self.headers) + len(self.unreadable)
        part = f", {looked} of them looked at" if self.has_files and looked < self.images else ""
        lines = [f"{self.images} images{part}"]
        if self.headers:
            heights, widths = (
                [getattr(header, side) for header in self.headers] for side in ("height", "width")
            )
            lines.append(f"height {_spread(heights)}, width {_spread(widths)} pixels")
            lines.append("modes " + _counted(Counter(header.mode for header in self.headers)))
        lines += [self.splits] if self.splits else []
        if self.classes:
            lines.append(f"{len(self.classes)} classes: " + _counted(Counter(self.classes)))
        lines += self.remarks
        lines += [f"unreadable: {reason.got}; {reason.remedy}" for reason in self.reasons[:20]]
        if len(self.unreadable) > 20:
            lines.append(f"unreadable: {len(self.unreadable) - 20} more")
        return "\n".join(lines)


def inspect(reader: Reader, *, of_values: bool = True) -> DataReport:
    """Read the headers of a reader's files, of 5,000 evenly chosen ones at most.

    A header says nothing of damage further on in the file: that shows when the image is opened.
    of_values: look into some images of more than 8 bits too, and remark on bands.
    """
    summary = reader.summary()
    how, looked, unreadable = summary.pixels, [], {}
    bands = how.bands if isinstance(how.bands, tuple) else None
    for path in evenly(summary.samples, LOOKED_AT):
        try:
            looked.append((path, read_header(path, bands, how.max_pixels)))
        except UserError as mistake:
            unreadable[path] = mistake
    return DataReport(
        images=summary.count,
        classes=reader.counts(),
        headers=tuple(header for _, header in looked),
        unreadable=tuple(unreadable),
        reasons=tuple(unreadable.values()),
        remarks=tuple(remarks(how, looked) if of_values and "image" in reader.gives else ()),
        splits=summary.note,
        has_files=bool(summary.paths),
    )


def _spread(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)} (median {median(values):g})"


def _counted(counter: Counter[str]) -> str:
    shown = [f"{name} {count}" for name, count in counter.most_common(10)]
    return ", ".join(shown) + (", ..." if len(counter) > 10 else "")
