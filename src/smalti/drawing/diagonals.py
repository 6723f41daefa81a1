"""The order of work on a canvas: slanted lines of cells that do not see one another.

Where a cell sees only cells less than `step` columns to its right in the rows above, all that it sees has a
smaller step * row + column, and cells of equal step * row + column can go through the prior together.
"""

from collections.abc import Iterator


def diagonals(height: int, width: int, step: int) -> Iterator[list[tuple[int, int]]]:
    """(row, column) of all cells, line by line from the top down; step (h - 1) + w lines, some empty."""
    for time in range(step * (height - 1) + width):
        places = ((row, time - step * row) for row in range(height))
        yield [(row, column) for row, column in places if 0 <= column < width]


def longest(height: int, width: int, step: int) -> int:
    """Cells of the longest line."""
    return min(height, -(-width // step))
