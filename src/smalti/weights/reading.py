"""Files of others' weights -> tensors by name, without running anything that is in them."""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from smalti.errors import UserError

_REMEDY = "get the file anew"
# what a damaged file makes torch and pickle say, both of which call nothing that it names
_DAMAGE = (
    pickle.UnpicklingError,
    SafetensorError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
)


def read_tensors(path: Path, of: str) -> dict[str, Tensor]:
    """Return the named tensors that torch.save wrote into a file, on the CPU.

    of: whose they are, for messages. Raises UserError for a file that is missing or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as problem:
        got = problem.strerror or str(problem)
        raise UserError(f"the tensors of {of} in {path}", got, "check the path") from None
    except _DAMAGE as problem:
        got = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise UserError(f"the tensors of {of} in {path}", got, _REMEDY) from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"the tensors of {of} in {path}", f"a {type(state).__name__}", _REMEDY)
    return dict(state)


def read_arrays(path: Path, of: str) -> dict[str, Tensor]:
    """Return the arrays of a pickle of dicts of numpy arrays, by their keys joined with dots.

    of: whose they are, for messages. Raises UserError for a file that is missing or names anything else.
    """
    try:
        with path.open("rb") as file:
            tree = _Arrays(file).load()
        return {name: torch.from_numpy(np.array(array)) for name, array in _leaves(tree)}
    except OSError as problem:
        got = problem.strerror or str(problem)
        raise UserError(f"the arrays of {of} in {path}", got, "check the path") from None
    except _DAMAGE as problem:
        got = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise UserError(f"the arrays of {of} in {path}", got, _REMEDY) from None


class _Arrays(pickle.Unpickler):
    """Knows the three names of which a pickle makes numpy arrays, and can call nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "multiarray._reconstruct": np.zeros(0).__reduce__()[0],
            "numpy.ndarray": np.ndarray,
            "numpy.dtype": np.dtype,
        }
        asked = f"{module}.{name}".removeprefix("numpy.core.").removeprefix("numpy._core.")
        if asked not in known:
            raise pickle.UnpicklingError(f"the name {module}.{name}, which is no array")
        return known[asked]


def _leaves(tree: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        yield above, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{above}.{key}" if above else str(key))
