"""By which numbers a training is validated: their names, the networks behind them, which of them is best."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smalti import hints, imaging, strategy
from smalti.errors import UserError
from smalti.features import SPACES
from smalti.features.protocol import Space
from smalti.losses import DISTANCES
from smalti.losses.distance import Distance
from smalti.metrics import METRICS
from smalti.metrics.distances import Frechet, Kid
from smalti.metrics.neighbours import Neighbours
from smalti.metrics.protocol import Measured, Metric
from smalti.metrics.reconstruction import Perceptual
from smalti.metrics.sets import OfSets
from smalti.sizes import worded
from smalti.training.settings import PriorTraining, TokenizerTraining, Training

VALIDATED = 256  # held-out images at most, so that a validation takes little beside the training
# members of METRICS by what is trained: those of every validation, and those that take long
_ALWAYS = {
    "prior": ("nats",),
    "image": ("l1", "psnr", "perceptual", "usage"),
    "segmentation": ("bce", "accuracy", "usage"),
}
_SLOW = {"image": ("ssim", "ms_ssim")}


class Named(NamedTuple):
    """A metric that a recipe may ask for."""

    metric: type[Metric]
    number: str  # of its numbers the one to go by, as logs have it, or how that begins
    network: type[Space] | type[Distance] | None = None  # that it sees through
    title: str = ""  # how its numbers begin, of a metric with such a network


@dataclass(frozen=True)
class Best:
    """A number by which the best model of a run is known."""

    number: str  # see Named
    higher: bool  # is better

    @classmethod
    def of(cls, training: Training) -> "Best | None":
        """Return the one that a recipe names; None without."""
        if training.keep_best is None:
            return None
        found = known(training)[training.keep_best]
        return cls(found.number, found.metric.better == "higher")

    def find(self, numbers: Mapping[str, Any]) -> tuple[str, float] | None:
        """Return name and value among numbers, or in a line of the log; None where there is no finite one.

        What is no more than a bound has a name that goes on: nats_per_token_at_most.
        """
        own = (name for name in numbers if name == self.number or name.startswith(f"{self.number}_"))
        name, there = next(own, ""), finite(numbers)
        return (name, there[name]) if name in there else None

    def beats(self, value: float, best: float | None) -> bool:
        """Return whether a value is better than the best before it; of equal ones the first stays."""
        return best is None or (value > best if self.higher else value < best)


class Validation:
    """The metrics of a run. Their networks are read once; every validation begins the metrics anew."""

    def __init__(
        self, training: Training, device: torch.device, about: tuple[str, int, Mapping[str, nn.Module]]
    ) -> None:
        """about: what `Metric.of` is told of a tokenizer; of a prior nothing is asked by that."""
        self._training, self._about = training, about
        asked = training.validate_metrics
        chosen = dict.fromkeys([*(asked or ()), *filter(None, [training.keep_best])])
        usual = _usual(training) if asked is None else ()
        self._named = {name: known(training)[name] for name in chosen if name not in usual}
        self._is_usual = asked is None
        networks = {one.network for one in self._named.values()} - {None}
        self._networks = {network: network.read().to(device) for network in networks if network is not None}

    @property
    def of_images(self) -> bool:
        """Return whether drawn images are looked at, for which a prior must draw."""
        return any(issubclass(one.metric, OfSets) for one in self._named.values())

    @property
    def of_nats(self) -> bool:
        """Return whether likelihoods are."""
        return self._is_usual or "nats" in self._named

    def numbers(self, batches: Iterable[Measured]) -> dict[str, float]:
        """Return the numbers of all metrics, by their names in logs; with those of sets how many images.

        What these images allow no number of is nan, and said on stderr.
        """
        seen = {network: Features(one) for network, one in self._networks.items() if isinstance(one, Space)}
        usual = self._usual() if self._is_usual else []
        named = {name: self._made(name, seen) for name in self._named}
        metrics, count = [*usual, *(metric for made in named.values() for metric in made)], 0
        for batch in batches:
            count += 0 if batch.fake is None else len(batch.fake)
            for metric in metrics:
                metric.update(batch)
        found = _computed(usual)
        for name, made in named.items():
            try:
                found |= _computed(made)
            except UserError as mistake:
                strategy.current().say(f"{name} of the held-out images: {mistake}")
                found[self._named[name].number] = math.nan
        return {**found, "images": count} if self.of_images else found

    def _usual(self) -> list[Metric]:
        if isinstance(self._training, PriorTraining):
            return [METRICS[name]() for name in _ALWAYS["prior"]]
        return [metric for member in METRICS.values() for metric in member.of(*self._about)]

    def _made(self, name: str, seen: "Mapping[Any, Features]") -> list[Metric]:
        """Return the metrics of a name: one, or one of each distance of the loss."""
        metric, _, network, title = self._named[name]
        make: Callable[..., Metric] = metric
        if network is None:
            return metric.of(*self._about) or [make()]
        return [make(seen[network] if network in seen else AsSaved(self._networks[network]), title)]


class Features:
    """Images to features of a space, which sees a batch once for all metrics, as files of 8 bits hold it."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._held: list[tuple[Tensor, Tensor]] = []  # images and their features, of the last two batches

    def __call__(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d"]:
        """Return features; of gray images those of three equal channels."""
        for seen, found in self._held:
            if seen is images:
                return found
        features = self._space.features(imaging.as_saved(images).expand(-1, 3, -1, -1))
        self._held = [*self._held[-1:], (images, features)]
        return features


class AsSaved(nn.Module):
    """A perceptual distance between images as files of 8 bits hold them."""

    def __init__(self, distance: nn.Module) -> None:
        super().__init__()
        self.distance, self.title = distance, distance.title

    def forward(self, a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """Return the distance of each pair."""
        found: Tensor = self.distance(imaging.as_saved(a), imaging.as_saved(b))
        return found


def finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Return those of a line of the log, or of the numbers for one, that are finite, without the step."""
    plain = {name: value for name, value in numbers.items() if isinstance(value, int | float)}
    return {name: value for name, value in plain.items() if name != "step" and math.isfinite(value)}


def known(training: Training) -> dict[str, Named]:
    """Return the metrics that a recipe may name."""
    kind = _kind(training)
    logged = {"nats": "nats_per_token", "usage": "codebook_usage"}
    of_shelf = (*_usual(training), *_SLOW.get(kind, ()))
    found = {name: Named(METRICS[name], logged.get(name, name)) for name in of_shelf}
    if kind == "image":
        found |= {name: Named(Perceptual, name, one, name) for name, one in DISTANCES.items()}
    for space, network in SPACES.items() if kind != "segmentation" else ():
        for name, metric in _of_sets(space, rebuilt=kind == "image").items():
            # from shards of codes there are no images: what is drawn is held against what the codes give
            end = "_to_rebuilt" if training.data.kind == "shards" else ""
            title = f"{space if metric is Neighbours else name}{end}"
            number = f"{title}_precision" if metric is Neighbours else title
            found[name] = Named(metric, number, network, title)
    return found


def check(training: Training, held_out: int) -> None:
    """UserError for metrics that there are not, or for which there are too few held-out images, or too small.

    held_out: how many there are. The networks themselves are asked for when they are read.
    """
    asked = {"validate_metrics": training.validate_metrics or (), "keep_best": (training.keep_best,)}
    shelf = known(training)
    for key, wanted in asked.items():
        for name in filter(None, wanted):
            if name not in shelf:
                raise _unknown(key, name, list(shelf), _kind(training))
            _check_images(f"{key}={name}", shelf[name], min(held_out, VALIDATED), training)


def _check_images(asked: str, named: Named, count: int, training: Training) -> None:
    metric, network = named.metric, named.network
    least = metric.images if issubclass(metric, OfSets) else 1
    if count < least:
        expected = f"{least} held-out image{'s' if least > 1 else ''} or more for {asked}"
        raise UserError(expected, str(count), "data.val_share=0.1, or data.val=FOLDER")
    side = network.least if network is not None and issubclass(network, Distance) else metric.least
    if min(map(min, training.sizes)) < side:
        got = f"size={worded(training.sizes)}"
        raise UserError(f"crops of at least {side} x {side} pixels for {asked}", got, "leave it out")


def _unknown(key: str, name: str, shelf: Sequence[str], kind: str) -> UserError:
    """Return the error for a name that is none, with the nearest: one of which it is a part, or nearly."""
    word = name.lower().replace("-", "_")
    parts = [one for one in shelf if word in one or one in word]
    near = parts[0] if parts else hints.near(word, shelf)
    whose = {"prior": "a prior", "image": "a tokenizer", "segmentation": "a tokenizer of segmentations"}[kind]
    remedy = f"did you mean {near}?" if near else "choose one of them"
    return UserError(f"a metric of {whose}: {', '.join(shelf)}", f"{key}={name}", remedy)


def _kind(training: Training) -> str:
    if isinstance(training, TokenizerTraining):
        return "segmentation" if training.content == "segmentation" else "image"
    return "prior"


def _usual(training: Training) -> tuple[str, ...]:
    """Return the names of the metrics by which it is validated where a recipe names none."""
    without = set()
    if isinstance(training, TokenizerTraining):
        looks = training.losses.perceptual
        without |= set() if training.quantizer.has_codes else {"usage"}
        without |= set() if looks.weight and looks.kind != "none" else {"perceptual"}
    return tuple(name for name in _ALWAYS[_kind(training)] if name not in without)


def _of_sets(space: str, *, rebuilt: bool) -> dict[str, type[OfSets]]:
    """Return the metrics of a space by name; those of Inception alone have the field's names."""
    fd, kd = ("fid", "kid") if space == "inception" else (f"{space}_fd", f"{space}_kd")
    if rebuilt:
        return {"rfid" if space == "inception" else f"{space}_rfd": Frechet}
    return {fd: Frechet, kd: Kid, f"{space}_neighbours": Neighbours}


def _computed(metrics: Sequence[Metric]) -> dict[str, float]:
    return {name: number for metric in metrics for name, number in metric.compute().items()}
