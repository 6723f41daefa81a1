"""Whether drawn images show the class that they were drawn of."""

from typing import Any

import torch
from torch import Tensor

from smalti.evaluation.evidence import Evidence
from smalti.evaluation.measures.protocol import GENERATION, Found, Measure
from smalti.evaluation.record import Number
from smalti.metrics.obeyed.probes import classifier as fit
from smalti.metrics.obeyed.probes import predicted
from smalti.metrics.obeyed.protocol import others


class Accuracy(Measure):
    """How often a classifier that learned from training images names the class that was asked for.

    A logistic regression on features. It sees each training image sharp and blurred: it is to name what is
    shown, not how sharply.
    """

    tasks = (GENERATION,)

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure; none without classes, or without training images."""
        train = evidence.train
        if train is None or not train.labels or not evidence.fake.labels or len(set(train.labels)) < 2:
            return
        for space in evidence.spaces:
            features = torch.cat([train.features[space], evidence.blurred[space]])
            classifier = fit(features, torch.tensor([*train.labels, *train.labels]))
            asked = list(evidence.fake.labels)
            exchanged = [asked[other] for other in others(len(asked))]
            beside = {"classes exchanged": accuracy(classifier, evidence.fake.features[space], exchanged)}
            if evidence.real.labels:
                seen = accuracy(classifier, evidence.real.features[space], evidence.real.labels)
                beside = {"real images": seen, **beside}
            number = Number(
                value=accuracy(classifier, evidence.fake.features[space], evidence.fake.labels),
                title="share whose class a classifier of training images names",
                better="higher",
                beside=beside,
                protocol=evidence.of(space, training={"hash": train.hash, "count": train.count}),
            )
            yield f"{space}_accuracy", number


def accuracy(classifier: Any, features: Tensor, labels: Any) -> float:
    """Return the share of rows whose class a classifier names."""
    return (predicted(classifier, features) == torch.tensor(list(labels))).double().mean().item()
