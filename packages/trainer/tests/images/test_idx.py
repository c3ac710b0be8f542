"""What an IDX file promises is compared with what it has before anything is unpacked."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_trainer.images.idx import read_idx


def idx(*shape: int, content: bytes = b"", kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


WHOLE = idx(2, 2, 3, content=bytes(range(12)))
MIB = gzip.compress(bytes(1 << 20))


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_a_whole_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(WHOLE) if path.suffix else WHOLE)
    np.testing.assert_array_equal(read_idx(path), np.arange(12).reshape(2, 2, 3))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", b"", r"not an IDX file of unsigned bytes \(it starts with nothing\)"),
        ("a", b"<html>", r"not an IDX file of unsigned bytes \(it starts with 3c68746d\)"),
        ("a", idx(1, kind=13, content=bytes(4)), "not an IDX file of unsigned bytes"),
        ("a", WHOLE[:9], "is cut short before what its head promises"),
        ("a", idx(), "is of 0 dimensions"),
        ("a", b"\0\0\x08\xff" + bytes(1020), "is of 255 dimensions"),
        ("a", WHOLE[:-1], r"fewer values than its head promises, which is \[2, 2, 3\]"),
        ("a", WHOLE + b"x", r"more values than its head promises, which is \[2, 2, 3\]"),
        ("a", idx(*[2**32 - 1] * 3), "fewer values than its head promises"),
        ("a.gz", idx(1, content=b"x"), "cannot be unpacked"),
        ("a.gz", gzip.compress(WHOLE)[:-9], "cannot be unpacked"),
        ("a.gz", gzip.compress(WHOLE)[:-8] + bytes(8), "cannot be unpacked"),
        ("a.gz", gzip.compress(WHOLE) + b"more", "cannot be unpacked"),
        ("a.gz", gzip.compress(WHOLE) + MIB * 200, "more values than its head promises"),
        ("a.gz", gzip.compress(idx(2**31 - 1, 9, 9)) + MIB, "fewer values than its head promises"),
        ("a.gz", MIB * 200, "not an IDX file"),
    ],
)
def test_what_is_none_is_refused_by_name_and_costs_no_memory(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(GraftworkError, match=f"{path}: .*{message}"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such file"),
        (Path.mkdir, "is a folder, and a file is needed"),
        (os.mkfifo, "is no file, and a file is needed"),
        (lambda path: path.symlink_to("nowhere"), "a link to nowhere, which leads nowhere"),
        (lambda path: path.symlink_to("/proc/self/mem"), "cannot be read: Input/output error"),
    ],
)
def test_what_is_no_file_is_refused_by_name(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "a")
    with pytest.raises(GraftworkError, match=f"{tmp_path / 'a'}.*{message}"):
        read_idx(tmp_path / "a")
