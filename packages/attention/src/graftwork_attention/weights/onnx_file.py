"""Numbers out of an ONNX file, and what its graph does with them, read without running anything of it.

ONNX is a protocol buffer (onnx.proto of onnx 1.19): fields of a number and a wire type, of which those of
graphs, nodes and tensors that are needed are read here, and the others passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graftwork import GraftworkError

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_FLOAT = 1
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_INPUT, _OUTPUT, _OPERATION = 1, 2, 4
_DIMENSION, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Args:
        operation: ``MatMul`` for instance.
        inputs: names of what it reads: tensors of the file, and outputs of others.
        outputs: names of what it gives.
    """

    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_onnx(file: Path) -> tuple[dict[str, NDArray[np.float32]], list[Node]]:
    """Return the float32 tensors of a model's graph by name, and its operations in order.

    Args:
        file: with all its tensors inside.

    Raises:
        GraftworkError: it cannot be read, or is no such file.
    """
    try:
        content = memoryview(file.read_bytes())
        graphs = [value for number, value in _fields(content) if number == _GRAPH]
        if len(graphs) != 1 or not isinstance(graphs[0], memoryview):
            raise ValueError(f"it has {len(graphs)} graphs, not one")
        tensors: dict[str, NDArray[np.float32]] = {}
        nodes = []
        for number, value in _fields(graphs[0]):
            if number == _INITIALIZER and isinstance(value, memoryview):
                name, tensor = _tensor(value)
                if tensor is not None:
                    tensors[name] = tensor
            elif number == _NODE and isinstance(value, memoryview):
                nodes.append(_node(value))
    except OSError as error:
        raise GraftworkError(f"{file}: cannot be read: {error.strerror}") from error
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise GraftworkError(f"{file}: is no ONNX file: {error}") from error
    return tensors, nodes


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: their numbers, and a number or the bytes of each."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(content, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(content, at)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field at byte {at} is of no known type")
        if at + size > len(content):
            raise ValueError("it ends within a field")
        yield number, content[at : at + size]
        at += size


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number at byte {at} is too long")


def _tensor(content: memoryview) -> tuple[str, NDArray[np.float32] | None]:
    """A tensor's name, and its numbers where they are float32."""
    name, kind = "", 0
    shape: list[int] = []
    raw: memoryview | None = None
    for number, value in _fields(content):
        if number == _DIMENSION:
            shape += _integers(value)
        elif number == _DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == _NAME and isinstance(value, memoryview):
            name = str(value, "utf-8")
        elif number == _RAW_DATA and isinstance(value, memoryview):
            raw = value
    if kind != _FLOAT or raw is None:
        return name, None
    return name, np.frombuffer(raw, dtype="<f4").reshape(shape).astype(np.float32)


def _integers(value: int | memoryview) -> list[int]:
    """A repeated number: one of them, or several in one field."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        one, at = _varint(value, at)
        found.append(one)
    return found


def _node(content: memoryview) -> Node:
    operation = ""
    inputs: list[str] = []
    outputs: list[str] = []
    for number, value in _fields(content):
        if not isinstance(value, memoryview):
            continue
        if number == _INPUT:
            inputs.append(str(value, "utf-8"))
        elif number == _OUTPUT:
            outputs.append(str(value, "utf-8"))
        elif number == _OPERATION:
            operation = str(value, "utf-8")
    return Node(operation, tuple(inputs), tuple(outputs))
