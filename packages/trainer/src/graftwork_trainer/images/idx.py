"""IDX files, as MNIST and its kin are distributed.

Two zero bytes, a type byte (8: unsigned byte), the number of dimensions, each dimension as a big-endian
int32, then the data (http://yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from graftwork import GraftworkError
from graftwork_trainer.files import not_readable, open_given

_UNSIGNED_BYTE = 8
_MOST_DIMENSIONS = 3
# Deflate makes a byte of at most this many (RFC 1951: 258 of two bits, and those of the block's head).
_MOST_UNPACKED = 1032


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes; no more is unpacked than its head promises.

    Args:
        path: of the file, zipped where it ends in ``.gz``.

    Raises:
        GraftworkError: it is not one, or is cut short.
    """
    try:
        with open_given(path) as file:
            most = path.stat().st_size
            if path.suffix != ".gz":
                return _read(file, path, most)
            with gzip.open(file) as unpacked:
                return _read(cast(BinaryIO, unpacked), path, most * _MOST_UNPACKED)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise GraftworkError(f"{path}: cannot be unpacked ({error}); fetch it again") from error
    except OSError as error:
        raise not_readable(path, error) from error


def _read(stream: BinaryIO, path: Path, most: int) -> NDArray[np.uint8]:
    """Read the head, then the data.

    Args:
        stream: from the beginning.
        path: for messages.
        most: bytes that there can be.
    """
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] != _UNSIGNED_BYTE:
        raise GraftworkError(
            f"{path}: not an IDX file of unsigned bytes (it starts with {start.hex() or 'nothing'})"
        )
    if not 1 <= start[3] <= _MOST_DIMENSIONS:
        raise GraftworkError(
            f"{path}: is of {start[3]} dimensions, and those of images and labels of 3 and 1"
        )
    sizes = stream.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise GraftworkError(f"{path}: is cut short before what its head promises; fetch it again")
    shape = struct.unpack(f">{start[3]}I", sizes)
    promised = math.prod(shape)
    # One more than promised, which there should not be; and nothing where there cannot be as many.
    content = stream.read(promised + 1) if promised <= most else b""
    if len(content) != promised:
        held = "more" if len(content) > promised else "fewer"
        raise GraftworkError(
            f"{path}: holds {held} values than its head promises, which is {list(shape)}; fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
