"""Functions that numba compiles, with their machine code kept on disk where there is a place for it.

Raises ``ImportError`` at import without numba.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

# By name: what is compiled has types of its own, and a checker must not need numba.
numba: Any = importlib.import_module("numba")

_OPTIONS = {"nogil": True, "error_model": "numpy"}
_Function = TypeVar("_Function", bound=Callable[..., Any])


def inner(function: _Function) -> _Function:
    """Compile a part of the machine code, as exactly as it is written: without a flag of fastmath."""
    compiled: _Function = numba.njit(**_OPTIONS)(function)
    return compiled


def entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile what Python calls, once for all processes if numba's cache allows.

    A cache that cannot be made, or is full, gone or damaged when it is first asked, costs the time to compile
    and never a step.
    """
    in_memory = numba.njit(**_OPTIONS)(function)
    try:
        chosen = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        # Neither beside this file nor in the user's cache folder may files be made.
        return in_memory  # type: ignore[no-any-return]

    @wraps(function)
    def call(*arguments: Any) -> Any:
        nonlocal chosen
        try:
            return chosen(*arguments)
        except MemoryError:
            # It may come from within, when some weights have moved.
            raise
        except Exception:
            # Whatever numba says of its cache; what is wrong with the arguments is said again.
            chosen = in_memory
            return in_memory(*arguments)

    return call
