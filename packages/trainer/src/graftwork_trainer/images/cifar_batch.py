"""CIFAR-10's Python batches, read without unpickling.

A batch is a pickled dictionary with ``data`` (``[samples, 3072]``, unsigned bytes: red, green, blue plane)
and ``labels`` (a list of numbers). To unpickle is to run a program that the file brings along; an unpickler
that allows numpy's own types alone does not help, since a dtype that claims to hold no objects makes
addresses of whatever bytes the file has. So the opcodes are read here one by one with :mod:`pickletools`,
which runs nothing; what they would call is kept by name, and an array's bytes are taken out of its state.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork import GraftworkError
from graftwork_trainer.files import read_given

_PIXELS = 3 * 32 * 32
_CLASSES = 10
_MARK = object()
_ARRAY, _DTYPE, _ENCODE = "_reconstruct", "dtype", "encode"
_NAMES = {
    "numpy.core.multiarray _reconstruct": _ARRAY,
    "numpy._core.multiarray _reconstruct": _ARRAY,
    "numpy ndarray": "ndarray",
    "numpy dtype": _DTYPE,
    "_codecs encode": _ENCODE,
}
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1")
_STRINGS = ("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(slots=True)
class _Named:
    """What unpickling would have imported, or made by calling that and set to a state."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None


def read_cifar_batch(path: Path) -> tuple[NDArray[np.uint8], list[int]]:
    """Read one batch.

    Args:
        path: of the file.

    Returns:
        Pixels ``[samples, 3072]`` and labels ``[samples]``, in 0..9.

    Raises:
        GraftworkError: it cannot be read, is no batch, or names anything but arrays.
    """
    try:
        content = _Reader(path).read()
        batch = {_text(key): value for key, value in content.items()}
        pixels, labels = _array(batch["data"]), batch["labels"]
        if pixels.shape != (len(labels), _PIXELS) or not all(label in range(_CLASSES) for label in labels):
            raise ValueError("its arrays are of other shapes")
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        raise GraftworkError(f"{path}: is not a CIFAR-10 batch ({error}); fetch it again") from error
    return pixels, labels


class _Reader:
    """The stack on which a pickle's opcodes work.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        """Follow the opcodes to the last and return what they built."""
        for opcode, argument, _ in pickletools.genops(read_given(self._path)):
            self._follow(opcode.name, argument)
        return self._stack.pop()

    def _follow(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
            case "TUPLE":
                stack.append(tuple(self._to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
            case "APPEND" | "APPENDS":
                added = [stack.pop()] if name == "APPEND" else self._to_mark()
                stack[-1].extend(added)
            case "SETITEM" | "SETITEMS":
                added = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self._to_mark()
                stack[-1].update(zip(added[::2], added[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                self._memo[len(self._memo) if argument is None else argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(self._named(argument))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(self._named(f"{module} {attribute}"))
            case "REDUCE":
                arguments, called = stack.pop(), stack.pop()
                stack.append(_called(called, arguments))
            case "BUILD":
                state = stack.pop()
                stack[-1].state = state
            case _ if name in (*_NUMBERS, *_STRINGS, *_BYTES):
                stack.append(argument)
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case _:
                raise ValueError(f"it holds the opcode {name}")

    def _to_mark(self) -> list[Any]:
        if _MARK not in self._stack:
            raise ValueError("a mark is missing in it")
        place = len(self._stack) - 1 - self._stack[::-1].index(_MARK)
        taken = self._stack[place + 1 :]
        del self._stack[place:]
        return taken

    def _named(self, name: str) -> _Named:
        if name not in _NAMES:
            raise GraftworkError(
                f"{self._path}: a CIFAR-10 batch must hold arrays only, and this one names "
                f"{name.replace(' ', '.')}; nothing of it was run"
            )
        return _Named(_NAMES[name])


def _called(called: _Named, arguments: tuple[Any, ...]) -> Any:
    if called.name == _ENCODE:
        return _bytes(arguments[0])
    return _Named(called.name, arguments)


def _array(made: _Named) -> NDArray[np.uint8]:
    """The array whose state numpy would have been given: version, shape, dtype, column order, bytes."""
    _, shape, dtype, by_columns, content = made.state
    if made.name != _ARRAY or dtype.name != _DTYPE or _text(dtype.arguments[0]) not in ("u1", "|u1"):
        raise ValueError("its data are no array of unsigned bytes")
    return np.frombuffer(_bytes(content), np.uint8).reshape(shape, order="F" if by_columns else "C")


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(value: str | bytes) -> bytes:
    # Python 2 had one type for both; pickletools gives its strings as Latin-1.
    return value.encode("latin-1") if isinstance(value, str) else value
