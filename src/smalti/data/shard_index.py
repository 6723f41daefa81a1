"""Whether token shards are what they should be: what their index says, arrays that fit together."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smalti.config import MOST
from smalti.errors import UserError, shown

_REMEDY = "encode the images again"


def check_index(index: Mapping[str, Any], path: Path) -> None:
    """Raise UserError where an index says something that is not of the kind it should be."""
    for name, check in _CHECKS.items():
        if name in index and not check(index[name]):
            got = f"{name} as {shown(index[name])}"
            raise UserError(f"an index of token shards in {path}", got, _REMEDY)


@contextmanager
def sound(folder: Path) -> Iterator[None]:
    """Within, what arrays that do not fit together make Python say is a UserError."""
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as problem:
        got = f"{type(problem).__name__}: {problem}"
        raise UserError(f"token shards in {folder} that fit together", got, _REMEDY) from None


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _are_files(value: Any) -> bool:
    """Return whether these are names of files in the folder itself."""
    return _are_words(value) and all(Path(one).name == one and "\0" not in one for one in value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= MOST


def _are_conditions(value: Any) -> bool:
    plain = isinstance(value, dict) and all(key.strip() for key in value)
    return plain and all(isinstance(one, dict) and _is_count(one.get("vocabulary")) for one in value.values())


_CHECKS: dict[str, Callable[[Any], bool]] = {  # of what an index says
    "tokenizer": lambda value: isinstance(value, str),
    "codebook_size": _is_count,
    "factor": _is_count,
    **dict.fromkeys(("classes", "joints", "holds"), _are_words),
    **dict.fromkeys(("train", "val"), _are_files),
    "conditions": _are_conditions,
    "made": lambda value: isinstance(value, dict),
}
