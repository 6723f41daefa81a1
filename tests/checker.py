"""Shapes and types of every call into smalti, checked while tests run; an int is a good float."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

_typed = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(call: Callable[..., Any]) -> Callable[..., Any]:
    """Make a call check its types.

    jaxtyping asks twice for each function: for its parameters, then for these and what it returns. The sizes
    that the parameters have bound are still known then, so that they are not looked at again.
    """
    returned = call.__annotations__.get("return", Any)
    if returned is not Any:
        call.__annotations__ = {"return": returned}
    return _typed(call)
