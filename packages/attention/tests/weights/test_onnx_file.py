"""Files in the format of ONNX, written here byte by byte; and files that are none."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_attention.weights.onnx_file import Node, read_onnx


def varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name: str, array: np.ndarray, *, kind: int = 1, packed: bool = False) -> bytes:
    if packed:
        shape = field(1, b"".join(map(varint, array.shape)))
    else:
        shape = b"".join(field(1, size) for size in array.shape)
    return shape + field(2, kind) + field(8, name.encode()) + field(9, array.tobytes())


def model(graph: bytes) -> bytes:
    # A version and a producer in front, a fixed field behind, which are passed over.
    return (
        field(1, 300) + field(2, b"somebody") + field(7, graph) + bytes([9 << 3 | 1]) + struct.pack("<d", 1.0)
    )


@pytest.mark.parametrize("packed", [False, True])
def test_tensors_and_operations(tmp_path: Path, packed: bool) -> None:
    weight = np.arange(300, dtype="<f4").reshape(2, 150)
    whole = np.arange(4, dtype="<i8")
    node = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(3, b"a name") + field(4, b"MatMul")
    graph = (
        field(1, node) + field(5, tensor("w", weight, packed=packed)) + field(5, tensor("i", whole, kind=7))
    )
    (tmp_path / "m.onnx").write_bytes(model(graph))
    tensors, nodes = read_onnx(tmp_path / "m.onnx")
    assert list(tensors) == ["w"]
    assert tensors["w"].dtype == np.float32
    np.testing.assert_array_equal(tensors["w"], weight)
    assert nodes == [Node("MatMul", ("x", "w"), ("y",))]


GOOD = model(field(5, tensor("w", np.ones((2, 3), dtype="<f4"))))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it has 0 graphs, not one"),
        (GOOD + GOOD, "it has 2 graphs, not one"),
        (GOOD[:30], "it ends within a field"),
        (b"PK\x03\x04 a zip", "of no known type"),
        (b"\xff" * 20, "is too long"),
        (b"\xff", "is no ONNX file"),
        (model(field(5, tensor("w", np.ones(3, dtype="<f4")) + field(1, 5))), "is no ONNX file"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(
        GraftworkError, match=rf"m\.onnx: is no ONNX file: .*{why.removeprefix('is no ONNX file')}"
    ):
        read_onnx(tmp_path / "m.onnx")


def test_every_beginning_of_a_file_is_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    for size in range(len(GOOD)):
        file.write_bytes(GOOD[:size])
        try:
            tensors, _ = read_onnx(file)
        except GraftworkError:
            continue
        assert tensors["w"].shape == (2, 3)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match=r"m\.onnx: cannot be read: No such file"):
        read_onnx(tmp_path / "m.onnx")
