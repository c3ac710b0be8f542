"""Image files as they are distributed: IDX (MNIST and its kin), CIFAR-10's Python batches, class folders.

Each reader takes a folder and ``train`` or ``test`` and returns features ``[samples, channels, height,
width]`` in 0..1, labels ``[samples]`` and the number of classes. IDX: two zero bytes, a type byte (8:
unsigned byte), the number of dimensions, each dimension as a big-endian int32, then the data.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graftwork import GraftworkError
from graftwork_decentral.tasks.cifar_batch import read_cifar_batch

Loaded = tuple[NDArray[np.float32], NDArray[np.int64], int]

_IDX_NAMES = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 8
_CIFAR_FILES = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}
_PICTURES = (".png", ".jpg", ".jpeg")


def idx_images(folder: Path, part: str) -> Loaded:
    """Read ``{train,t10k}-images-idx3-ubyte`` and ``-labels-idx1-ubyte``, gzipped or not."""
    prefix = _IDX_NAMES[part]
    pixels = read_idx(_found(folder, f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_found(folder, f"{prefix}-labels-idx1-ubyte"))
    if pixels.ndim != 3 or labels.shape != pixels.shape[:1]:
        raise GraftworkError(
            f"folder {folder}: the {part} images are {list(pixels.shape)} and the labels "
            f"{list(labels.shape)}; expected [samples, height, width] and [samples]"
        )
    features = (pixels / np.float32(255)).astype(np.float32)[:, None]
    return features, labels.astype(np.int64), int(labels.max()) + 1


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Raises:
        GraftworkError: it is not one, or is cut short.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise GraftworkError(f"{path}: cannot be unpacked ({error}); fetch it again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTE:
        raise GraftworkError(
            f"{path}: not an IDX file of unsigned bytes (it starts with {data[:4].hex() or 'nothing'})"
        )
    start = 4 + 4 * data[3]
    shape = struct.unpack_from(f">{data[3]}I", data, 4) if len(data) >= start else ()
    values = np.frombuffer(data[start:], np.uint8)
    if not shape or values.size != math.prod(shape):
        raise GraftworkError(
            f"{path}: holds {values.size} values and its head promises {list(shape)}; fetch it again"
        )
    return values.reshape(shape)


def cifar_images(folder: Path, part: str) -> Loaded:
    """Read CIFAR-10's Python batches, in ``folder`` or in ``folder/cifar-10-batches-py``."""
    inner = folder / "cifar-10-batches-py"
    base = inner if inner.is_dir() else folder
    pixels: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for name in _CIFAR_FILES[part]:
        batch, of_batch = read_cifar_batch(_found(base, name))
        pixels.append(batch)
        labels.extend(of_batch)
    features = np.concatenate(pixels).reshape(-1, 3, 32, 32).astype(np.float32) / np.float32(255)
    return features, np.array(labels, dtype=np.int64), 10


def folder_images(folder: Path, part: str) -> Loaded:
    """Read pictures of one size from ``folder/{train,test}/CLASS``, classes in alphabetical order."""
    from PIL import Image

    classes = sorted(path for path in _found(folder, part).iterdir() if path.is_dir())
    pixels: list[NDArray[np.float32]] = []
    labels: list[int] = []
    for label, of_class in enumerate(classes):
        for path in sorted(path for path in of_class.iterdir() if path.suffix.lower() in _PICTURES):
            with Image.open(path) as picture:
                colours = np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)
                pixels.append(colours.transpose(2, 0, 1))
            labels.append(label)
    _of_one_size(folder / part, pixels)
    return np.stack(pixels), np.array(labels, dtype=np.int64), len(classes)


def _of_one_size(folder: Path, pixels: Sequence[NDArray[np.float32]]) -> None:
    shapes = sorted({array.shape[1:] for array in pixels})
    if len(shapes) != 1:
        raise GraftworkError(
            f"folder {folder}: expected pictures of one size in a folder a class, found "
            + (f"sizes {shapes[:3]}" if shapes else "none")
        )


def _found(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise GraftworkError(f"folder {folder}: {name} is missing (with or without .gz)")
