"""Where a run's batches come from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from smalti.data.protocol import Batch


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Where batches come from; each process gets its own share of every batch."""

    train: Callable[[int], Iterator[Batch]]  # without end, beginning with the batch of a step
    validation: Callable[[], Iterable[Batch]] | None  # None: nothing is held out
    # what sheets show where crops have several sizes, a batch of each; None: the first that is held out, else
    # that is trained on
    shown: Callable[[], Sequence[Batch]] | None = None
    notes: list[str] = field(default_factory=list)  # what befell the data, for the log, which takes it away

    def held_out(self) -> Iterator[Batch]:
        """Return the held-out batches, of which there may be none."""
        return iter(self.validation() if self.validation is not None else ())

    def of_sheets(self) -> Sequence[Batch]:
        """Return what sample sheets show."""
        if self.shown is not None:
            return self.shown()
        return [next(self.held_out(), None) or next(self.train(0))]
