"""What judges learn by: scikit-learn's linear models over features, and features of single cells."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from smalti.errors import optional
from smalti.features.protocol import Space
from smalti.imaging import resize

CELLS = 128  # of an image that are learned from: neighbours tell the same
_EXTRA = "demo"  # which brings scikit-learn


def classifier(features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"]) -> Any:
    """Return a logistic regression of classes on features of images; UserError without scikit-learn."""
    model = optional("sklearn.linear_model", extra=_EXTRA).LogisticRegression(max_iter=1000)
    return model.fit(features.numpy(), labels.numpy())


def cell_classifier(features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"]) -> Any:
    """Return a linear discriminant of classes on features of cells; UserError without scikit-learn.

    Closed, so quick on many cells of many classes, and it does not drown rare classes as regression does.
    Shrinkage of a half found 26 pairs' things best, of those tried from .03 to .75.
    """
    scaler, analysis = (
        optional(f"sklearn.{name}", extra=_EXTRA) for name in ("pipeline", "discriminant_analysis")
    )
    model = analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5)
    return scaler.make_pipeline(_scaler(), model).fit(features.numpy(), labels.numpy())


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
