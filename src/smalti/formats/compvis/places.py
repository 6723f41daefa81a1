"""In which order and on which grid a prior of 2021 lays its codes: permuter, resolution, block size."""

from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from smalti.errors import UserError
from smalti.formats.compvis import claims
from smalti.formats.ledger import Ledger
from smalti.orders import ORDERS, inverse, order

PERMUTERS = {  # our name of an order -> their class
    "row": "Identity",
    "subsample": "Subsample",
    "z_curve": "ZCurve",
    "spiral_out": "SpiralOut",
    "spiral_in": "SpiralIn",
    "random": "Random",
    "alternate": "AlternateParsing",
}
FORWARD, BACKWARD = "permuter.forward_shuffle_idx", "permuter.backward_shuffle_idx"


def grid(
    book: Ledger, said: Mapping[str, Any], resolution: int | None, factor: int, places: int
) -> tuple[int, int]:
    """Return rows and columns of a training crop.

    The permuter's, else the resolution's, else all that has place.

    said: the params of the model. resolution: of the first stage's training crops, None if unknown.
    places: codes for which there is place at most, on a square grid. UserError where nothing is said and
    no square fills them, but for one to spare.
    """
    sides = claims.inner(said, "permuter_config")
    if "H" in sides and "W" in sides:
        return int(sides["H"]), int(sides["W"])
    if FORWARD in book:
        side = isqrt(len(book.take(FORWARD)))
        return side, side
    side = resolution // factor if resolution else 0
    if not 0 < side * side <= places:
        side = isqrt(max(places, 0))
        if not said and places - side * side > 1:  # of maps that were reduced before, for instance
            remedy = "give the model's yaml with --config"
            raise UserError(
                "a yaml that says how many codes there are", f"none, and place for {places}", remedy
            )
    return side, side


def map_size(book: Ledger, positions: int, factor: int) -> int:
    """Return the side in pixels of the maps for which there is place before a permuter's codes.

    -1 where there is place for a map as large as the image, or no permuter tells how many codes there are.
    """
    if FORWARD not in book:
        return -1
    codes = len(book.take(FORWARD))
    return -1 if 2 * codes - 1 <= positions else isqrt(positions + 1 - codes) * factor


def find(book: Ledger, said: Mapping[str, Any], size: tuple[int, int]) -> str:
    """Return the name of the order, whose tables in the file, if there are any, must be ours."""
    tables = {name: book.take(name) for name in (FORWARD, BACKWARD) if name in book}
    named = claims.target(claims.section(said, "permuter_config"))
    if not tables and (not named or named == "Identity"):
        return "row"
    if named:
        found = next((ours for ours, theirs in PERMUTERS.items() if theirs == named), None)
        if found is None:
            remedy = f"one of {', '.join(PERMUTERS.values())} can be read"
            raise UserError("a permuter that is known", f"{named} in the yaml", remedy)
        if tables and not _fits(tables, found, size):
            expected = f"tables of the permuter {named} for {size[0]} x {size[1]} cells in {book.where}"
            raise UserError(expected, "others", claims.OTHER_MODEL)
        return found
    known = [name for name in ORDERS if _fits(tables, name, size)]
    if not known:
        remedy = "give the model's yaml with --config"
        raise UserError(f"the tables of a known permuter in {book.where}", "others", remedy)
    return known[0]


def config(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return the yaml's permuter_config, to be laid into the model's params; nothing for rows.

    UserError for an order that the 2021 code has not.
    """
    if name == "row":
        return {}
    if name not in PERMUTERS:
        remedy = "keep the model folder: their code knows no such order"
        raise UserError(f"an order that is one of {', '.join(PERMUTERS)}", name, remedy)
    target = f"taming.modules.transformer.permuter.{PERMUTERS[name]}"
    return {"permuter_config": {"target": target, "params": {"H": size[0], "W": size[1]}}}


def tables(name: str, permutation: Tensor) -> dict[str, Tensor]:
    """Return what their state dict holds of an order; nothing for rows."""
    return {} if name == "row" else {FORWARD: permutation, BACKWARD: inverse(permutation)}


def _fits(tables: Mapping[str, Tensor], name: str, size: tuple[int, int]) -> bool:
    try:
        permutation = order(name, *size)
    except UserError:  # not defined for this grid
        return False
    both = {FORWARD: permutation, BACKWARD: inverse(permutation)}
    return all(table.equal(both[key]) for key, table in tables.items())
