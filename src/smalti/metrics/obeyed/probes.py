"""What judges learn by: scikit-learn's linear models over features, and features of single cells."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from smalti.errors import UserError, optional
from smalti.features.protocol import Space
from smalti.imaging import resize

CELLS = 128  # of an image that are learned from: neighbours tell the same
_EXTRA = "eval"  # which brings scikit-learn


def classifier(features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"]) -> Any:
    """Return a logistic regression of classes on features of images.

    UserError without scikit-learn, and for rows of a single class.
    """
    if len(set(labels.tolist())) < 2:
        got = "rows of one alone" if len(labels) else "no rows"
        raise UserError("two classes or more to tell apart", got, "give training images of more classes")
    model = optional("sklearn.linear_model", extra=_EXTRA).LogisticRegression(max_iter=1000)
    return model.fit(features.numpy(), labels.numpy())


@dataclass(frozen=True)
class Discriminant:
    """A linear discriminant of classes: logs of Gaussians of one covariance, but for a constant."""

    weight: Float64[Tensor, "d k"]
    bias: Float64[Tensor, " k"]  # -inf: of classes of which nothing was seen

    @classmethod
    def fit(cls, features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], classes: int) -> "Discriminant":
        """Return that of rows of features and their classes, 0 .. classes - 1.

        Closed, so quick for many rows and classes, and rare classes do not drown as in a regression. The
        covariance within classes is half of what is found and half the same for all features of their
        variance: of shares from .03 to .75 halves found most in photographs of 34 pairs. scikit-learn's,
        of the same values, warns of every class with a single row.
        """
        rows, counts = features.double(), torch.bincount(labels, minlength=classes).double()
        means = rows.new_zeros(classes, rows.shape[1]).index_add_(0, labels, rows)
        means /= counts.clamp(min=1)[:, None]
        within = rows - means[labels]
        scale = rows.std(0, correction=0).clamp(min=1e-6)  # features are taken with a variance of 1
        covariance = (within / scale).mT @ (within / scale) / len(rows)
        even = covariance.diagonal().mean() * torch.eye(rows.shape[1], dtype=torch.float64)
        inverse = torch.linalg.solve((covariance + even) / 2, (means / scale).mT)
        bias = (counts / len(rows)).log() - ((means / scale).mT * inverse).sum(0) / 2
        return cls(inverse / scale[:, None], bias)

    def classes(self, features: Float[Tensor, "*rows d"]) -> Int64[Tensor, "*rows"]:
        """Return the likeliest class of each row."""
        return (features.double() @ self.weight + self.bias).argmax(-1)


def regression(features: Float[Tensor, "n d"], targets: Float[Tensor, "n k"], penalty: float) -> Any:
    """Return a ridge regression; UserError without scikit-learn.

    penalty: of squared weights of features whose variance is 1, in rows.
    """
    pipeline, linear = (optional(f"sklearn.{name}", extra=_EXTRA) for name in ("pipeline", "linear_model"))
    model = linear.Ridge(alpha=penalty * len(features))
    return pipeline.make_pipeline(_scaler(), model).fit(features.numpy(), targets.numpy())


def predicted(model: Any, features: Float[Tensor, "*rows d"]) -> Tensor:
    """Return what a model says of features: classes, or numbers."""
    flat = features.flatten(0, -2)
    found = torch.from_numpy(model.predict(flat.numpy()))
    return found.view(*features.shape[:-1], *found.shape[1:])


def cells(space: Space, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
    """Return features of the cells of images: all stages of a network as fine as the finest, and colours."""
    maps = space.maps(images)
    size = (maps[0].shape[2], maps[0].shape[3])
    scaled = [F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in maps]
    colours = resize(images.to(maps[0].device), size)
    return torch.cat([*scaled, colours], 1).permute(0, 2, 3, 1).float().cpu()


def some(found: Shaped[Tensor, "b h w *_"]) -> Shaped[Tensor, "*_"]:
    """Return a few cells of each image, scattered, the same ones of each."""
    flat = found.flatten(1, 2)
    order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(0))
    return flat[:, order[:CELLS]].flatten(0, 1)


def _scaler() -> Any:
    return optional("sklearn.preprocessing", extra=_EXTRA).StandardScaler()
