"""How a set of images lies to a set of real ones, by features and classifiers' scores."""

from torch import Tensor

from smalti.evaluation.evidence import Evidence
from smalti.evaluation.measures.protocol import GENERATION, RECONSTRUCTION, Found, Measure, as_many, named
from smalti.evaluation.record import Number
from smalti.metrics.distances import frechet, kid
from smalti.metrics.neighbours import manifold
from smalti.metrics.scores import inception_score

_SUBSETS = 100  # of KID
_SPLITS, _A_SPLIT = 10, 100  # of a score: as many, of so many images each at least
_BALL, _DENSE = 3, 5  # neighbours of precision and recall, of density and coverage


class Distance(Measure):
    """The Frechet distance in every space; beside it that of real training images, as many."""

    tasks = (RECONSTRUCTION, GENERATION)

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure."""
        for space, network in evidence.spaces.items():
            real, fake, beside = evidence.real.features[space], evidence.fake.features[space], {}
            if (train := as_many(evidence.train, len(fake), space)) is not None:
                beside["real training images"] = frechet(train, real)
            found = Number(
                value=frechet(fake, real),
                title=f"Frechet distance of {network.title} features",
                better="lower",
                beside=beside,
                protocol=evidence.of(space),
            )
            yield named(evidence, space, "fd", "fid"), found


class Kernel(Measure):
    """The kernel distance in every space, with its standard error."""

    tasks = (GENERATION,)

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure."""
        for space, network in evidence.spaces.items():
            real, fake, beside = evidence.real.features[space], evidence.fake.features[space], {}
            if (train := as_many(evidence.train, len(fake), space)) is not None:
                beside["real training images"] = kid(train, real, subsets=_SUBSETS).value
            value = kid(fake, real, subsets=_SUBSETS)
            found = Number(
                value=value.value,
                error=value.error,
                title=f"kernel distance of {network.title} features",
                better="lower",
                beside=beside,
                protocol=evidence.of(space, subsets=_SUBSETS, subset=value.size, kernel="cubic", shuffle=0),
            )
            yield named(evidence, space, "kd", "kid"), found


class Score(Measure):
    """How sure a classifier is of each image, and how varied the classes are; called after the classifier."""

    tasks = (GENERATION,)

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure."""
        for space, network in evidence.spaces.items():
            logits = evidence.fake.logits[space]
            splits = max(1, min(_SPLITS, len(logits) // _A_SPLIT))
            score, beside = inception_score(logits, splits=splits), {}
            if evidence.real.count == evidence.fake.count:
                beside["real images"] = inception_score(evidence.real.logits[space], splits=splits).value
            beside["spread over splits"] = score.spread
            found = Number(
                value=score.value,
                title=f"how sure {network.title} is, and how varied: exp of information on its classes",
                better="higher",
                beside=beside,
                protocol=evidence.of(space, splits=splits, shuffle=0),
            )
            yield named(evidence, space, "score", "inception_score"), found


class Neighbours(Measure):
    """Precision and recall, density and coverage in every space."""

    tasks = (GENERATION,)

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure."""
        titles = {
            "precision": "share of judged images among real ones",
            "recall": "share of real images among judged ones",
            "density": "how densely real images lie around judged ones",
            "coverage": "share of real images with a judged one near",
        }
        for space in evidence.spaces:
            real, fake = evidence.real.features[space], evidence.fake.features[space]
            found, train = _manifold(fake, real), as_many(evidence.train, len(fake), space)
            others = {} if train is None else _manifold(train, real)
            for name, title in titles.items():
                k = _BALL if name in ("precision", "recall") else _DENSE
                beside = {"real training images": others[name]} if others else {}
                number = Number(
                    value=found[name],
                    title=f"{title}, {k} neighbours",
                    better="higher",
                    beside=beside,
                    protocol=evidence.of(space, neighbours=k),
                )
                yield f"{space}_{name}", number


def _manifold(fake: Tensor, real: Tensor) -> dict[str, float]:
    return vars(manifold(fake, real, neighbour=_BALL, density_neighbour=_DENSE))
