"""The training crops of a model with a prior, of one size or several, and how canvases are seen."""

from dataclasses import replace
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from smalti.conditions.protocol import Condition
from smalti.errors import UserError
from smalti.orders import order
from smalti.pretrained import Pretrained
from smalti.priors.protocol import Prior, Scope
from smalti.sizes import Sides, nearest, worded
from smalti.tokenizer import Tokenizer


class Grids(Pretrained):
    """What a model with a prior knows of its grids: height and width, in cells unless pixels are named."""

    settings: Any  # with grids, rows and columns of each training crop, and order, its name
    tokenizer: Tokenizer
    condition: Condition
    prior: Prior
    order: Tensor  # of the first grid

    @property
    def crop_size(self) -> Sides:
        """Return height and width of a training crop in pixels, of the first size."""
        return self.crop_sizes[0]

    @property
    def crop_sizes(self) -> tuple[Sides, ...]:
        """Return height and width of a training crop in pixels, of each size."""
        factor = self.tokenizer.factor
        return tuple((height * factor, width * factor) for height, width in self.settings.grids)

    def sequence(self, codes: Int64[Tensor, "b h w"]) -> Int64[Tensor, "b n"]:
        """Return codes of training crops in the prior's order. UserError for another grid than theirs."""
        height, width = codes.shape[1:]
        if (height, width) not in self.settings.grids:
            expected = f"codes of {worded(self.settings.grids)} cells, a training crop"
            remedy = "cut the codes or the images to the training crop"
            raise UserError(expected, f"{height} x {width}", remedy)
        return codes.flatten(1)[:, self.order_of((height, width))]

    def order_of(self, grid: Sides) -> Int64[Tensor, " n"]:
        """Return the row-major cells of a training crop of so many cells in the prior's order."""
        found: Tensor = getattr(self, _ordered(self.settings.grids.index(grid)))
        return found

    def _scope(self, grid: Sides) -> Scope:
        """Return what the prior is told of crops of so many cells."""
        return Scope(
            layout=self.tokenizer.layout(grid),
            prefix_vocabulary=self.condition.vocabulary,
            prefix_length=self.condition.length(grid),
            prefix_features=self.condition.features,
            prefix_is_padded=self.condition.is_padded,
            prefix_is_by_cell=self.condition.is_by_cell(grid),
            cells=tuple(divmod(cell, grid[1]) for cell in self.order_of(grid).tolist()),
            order=self.settings.order,
        )

    def _of_crop(self, given: Tensor) -> Sides:
        """Return the cells of the training crop that images or codes are; of other sizes the first."""
        factor = self.tokenizer.factor if given.dim() == 4 else 1
        grid = given.shape[-2] // factor, given.shape[-1] // factor
        return grid if grid in self.settings.grids else self.settings.grids[0]

    def _scoped(self) -> Scope:
        """Return what the prior is told of all grids, whose orders are kept as buffers."""
        for number, grid in enumerate(self.settings.grids):
            self.register_buffer(_ordered(number), order(self.settings.order, *grid), persistent=False)
        first, *others = map(self._scope, self.settings.grids)
        return replace(first, others=tuple(others))

    def trained(self, grid: Sides) -> Sides:
        """Return the cells of the training crop through which a canvas is seen.

        Of several sizes that fit into it the one whose shape is nearest; where none does, the first.
        """
        found = self.settings.grids
        fit = [one for one in found if one[0] <= grid[0] and one[1] <= grid[1]] or list(found[:1])
        return fit[nearest(grid, fit)]

    def _window(self, grid: Sides) -> Sides:
        """Return the cells of a canvas that are described at once.

        A training crop, or a smaller canvas whole.
        """
        height, width = self.trained(grid)
        return min(height, grid[0]), min(width, grid[1])


def _ordered(number: int) -> str:
    """Return what the buffer is called that holds the order of a grid by number."""
    return f"order_{number}" if number else "order"
