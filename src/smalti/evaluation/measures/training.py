"""Whether judged images are copies of training images, and how varied they are within a class."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from smalti.errors import UserError
from smalti.evaluation.evidence import Evidence, Side
from smalti.evaluation.measures.protocol import GENERATION, Found, Measure
from smalti.evaluation.networks import apart
from smalti.evaluation.record import Number
from smalti.evaluation.rows import BATCH
from smalti.files import evenly
from smalti.losses.distance import Distance
from smalti.metrics import neighbours

RULERS = ("lpips_vgg", "lpips_alex", "hed")  # perceptual distances, the best first
LOOKED_AT = 64  # images, or pairs of them, whose perceptual distances are computed: they take long
CANDIDATES = 4  # training images nearest by features, among which the perceptually nearest is looked for


class Nearest(Measure):
    """How near judged images come to training images, beside how near real ones do that were held out."""

    tasks, distances = (GENERATION,), RULERS

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure; none without training images."""
        train = evidence.train
        if train is None:
            return
        trained = {"training": {"hash": train.hash, "count": train.count}}
        for space in evidence.spaces:
            fake, real = (
                neighbours.nearest(side.features[space], train.features[space])
                for side in (evidence.fake, evidence.real)
            )
            protocol = evidence.of(space, **trained, copy=neighbours.COPY)
            yield (
                f"{space}_nearest",
                Number(
                    value=fake.distances[:, 0].median().item(),
                    title="distance to the nearest training image, the median",
                    beside={"real images": real.distances[:, 0].median().item()},
                    protocol=protocol,
                ),
            )
            yield (
                f"{space}_copies",
                Number(
                    value=fake.copies.double().mean().item(),
                    title="share that is taken for copies of training images",
                    better="lower",
                    beside={"real images": real.copies.double().mean().item()},
                    protocol=protocol,
                ),
            )
        yield from _looked_at(evidence, train, trained)


class Diversity(Measure):
    """How far apart images of one class lie, beside real ones; without classes, of all."""

    tasks, distances = (GENERATION,), RULERS

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure."""
        sides = {"": evidence.fake, "real images": evidence.real}
        has_classes = all(side.labels for side in sides.values())
        within = {"within": "a class" if has_classes else "all"}
        title = f"between images of {'one class' if has_classes else 'the set'}"
        for space in evidence.spaces:
            found = {}
            for what, side in sides.items():
                labels = torch.tensor(side.labels if has_classes else [0] * side.count)
                each = neighbours.diversity(side.features[space], labels)
                found[what] = sum(each.values()) / len(each)
            value, protocol = found.pop(""), evidence.of(space, **within)
            number = Number(value=value, title=f"distance {title}", beside=found, protocol=protocol)
            yield f"{space}_diversity", number
        for name, network in list(evidence.distances.items())[:1]:
            seen = {what: _within(network, side, has_classes) for what, side in sides.items()}
            about = {**within, "pairs": LOOKED_AT, "network": network.protocol}
            value, protocol = seen.pop(""), {**evidence.protocol, **about}
            number = Number(value=value, title=f"{name} {title}", beside=seen, protocol=protocol)
            yield f"{name}_diversity", number


def nearest(evidence: Evidence, side: Side, rows: list[int]) -> tuple[list[int], list[int], Tensor]:
    """Return for some images the nearest training images by features and by sight, and how near the latter.

    By sight: the nearest by a perceptual distance of those that are nearest by features; the same as these
    where there is no such distance.
    """
    train, space = evidence.train, next(iter(evidence.spaces))
    assert train is not None, "there are training images"
    count = min(CANDIDATES, train.count - 1)
    found = neighbours.nearest(side.features[space][torch.tensor(rows)], train.features[space], count)
    first = found.indices[:, 0].tolist()
    if not evidence.distances:
        return first, first, found.distances[:, 0]
    distance, shown = next(iter(evidence.distances.values())), side.show(rows)
    chosen, values = [], []
    for image, candidates in zip(shown, found.indices.tolist(), strict=True):
        found_apart = apart(distance, image.expand(count, -1, -1, -1), train.show(candidates))
        chosen.append(candidates[int(found_apart.argmin())])
        values.append(found_apart.min())
    return first, chosen, torch.stack(values)


def _looked_at(evidence: Evidence, train: Side, trained: Mapping[str, Any]) -> Found:
    """Return how near the nearest training image is perceptually, of some images evenly over the set."""
    for name, network in list(evidence.distances.items())[:1]:
        values = [
            nearest(evidence, side, evenly(range(side.count), LOOKED_AT))[2].median().item()
            for side in (evidence.fake, evidence.real)
        ]
        about = {"images": LOOKED_AT, "candidates": CANDIDATES, "network": network.protocol}
        number = Number(
            value=values[0],
            title=f"{name} to the nearest training image, the median",
            beside={"real images": values[1]},
            protocol={**evidence.protocol, **trained, **about},
        )
        yield f"{name}_nearest", number


def _within(network: Distance, side: Side, has_classes: bool) -> float:
    """Return the mean perceptual distance of pairs within classes, all classes alike, drawn by a seed."""
    members: dict[int, list[int]] = {}
    for row in range(side.count):
        members.setdefault(side.labels[row] if has_classes else 0, []).append(row)
    among = [rows for rows in members.values() if len(rows) > 1]
    if not among:
        raise UserError("two images or more of some class", "one at most of each", "draw more of each")
    chance, pairs = torch.Generator().manual_seed(0), []
    for number in range(LOOKED_AT):
        rows = among[number % len(among)]
        pairs.append([rows[place] for place in torch.randperm(len(rows), generator=chance)[:2].tolist()])
    found = []
    for begin in range(0, LOOKED_AT, BATCH):
        left, right = zip(*pairs[begin : begin + BATCH], strict=True)
        found.append(apart(network, side.show(left), side.show(right)))
    return torch.cat(found).mean().item()
