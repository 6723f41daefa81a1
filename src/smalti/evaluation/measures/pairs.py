"""How near reconstructions are to their images: means of one number each."""

import math

from smalti.evaluation.evidence import Evidence
from smalti.evaluation.measures.protocol import RECONSTRUCTION, Found, Measure
from smalti.evaluation.record import Number


class OfPairs(Measure):
    """The mean over images of a value of each and its reconstruction."""

    tasks, of_features = (RECONSTRUCTION,), False

    def __init__(self, name: str, title: str, better: str) -> None:
        """name: of the rows in Evidence.pairs, and of the number."""
        self._name, self._title, self._better = name, title, better

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure; with the standard error of the mean."""
        rows = evidence.pairs.get(self._name)
        if rows is None:
            return
        protocol = {**evidence.protocol, "mean": "of images"}
        if self._name in evidence.distances:
            protocol["network"] = evidence.distances[self._name].protocol
        values = rows.double()
        yield (
            self._name,
            Number(
                value=values.mean().item(),
                error=values.std().item() / math.sqrt(len(values)),
                title=self._title,
                better=self._better,
                protocol=protocol,
            ),
        )
