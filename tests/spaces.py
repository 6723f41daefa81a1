"""What evaluations look through in tests: a feature space without weights, in place of all networks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from tiny import holding

from smalti.features import SPACES
from smalti.features.protocol import Space
from smalti.losses import DISTANCES


class Cells(Space):
    """A feature space without weights, whose one stage sees colours of parts."""

    name, title, width, classes, side, stages = "cells", "colours of parts", 48, 2, 32, ("fine",)

    def __init__(self):
        super().__init__()
        self.fine = torch.nn.AvgPool2d(4)
        self.scale = torch.nn.Parameter(torch.tensor(10.0), requires_grad=False)

    @classmethod
    def read(cls, path=None):
        return cls()

    def forward(self, images):
        features = self.scale * F.adaptive_avg_pool2d(self.fine(images), 4).flatten(1)
        return features, torch.stack([features.mean(1), -features.mean(1)], dim=1)


@contextmanager
def seen_by_cells() -> Iterator[None]:
    """Within it this is the only space, and there is no perceptual distance."""
    with holding(SPACES, {"cells": Cells}), holding(DISTANCES, {}):
        yield
