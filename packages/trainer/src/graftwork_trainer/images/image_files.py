"""Image files as they are distributed: IDX (MNIST and its kin), CIFAR-10's Python batches, class folders.

Each reader takes a folder and ``train`` or ``test`` and returns features ``[samples, channels, height,
width]`` in 0..1, labels ``[samples]`` and the number of classes. What a file promises is compared with its
size before anything is unpacked.

Raises:
    GraftworkError: a file is missing, damaged, or not what its place says; the message names it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graftwork import GraftworkError
from graftwork_trainer.folders import given_path
from graftwork_trainer.images.cifar_batch import read_cifar_batch
from graftwork_trainer.images.class_folders import class_folders
from graftwork_trainer.images.idx import read_idx
from graftwork_trainer.images.labelled import Images
from graftwork_trainer.images.pictures import read_pictures

Loaded = tuple[NDArray[np.float32], NDArray[np.int64], int]

_IDX_NAMES = {"train": "train", "test": "t10k"}
_CIFAR_FILES = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}


def read_images(data: str, folder: Path | None) -> tuple[Images, Images]:
    """Return images to train on and held-out ones, from files that have both parts.

    Args:
        data: ``fashion-mnist`` or ``idx`` (files as MNIST's); ``cifar10`` (its Python batches); or ``folder``
            (PNG or JPEG files in ``train/CLASS`` and ``test/CLASS``).
        folder: where the files are.

    Raises:
        GraftworkError: there is no folder, a file is missing, damaged or not what its place says, or the
            parts do not go together; the message names it.
    """
    if folder is None:
        raise GraftworkError(f"folder: data = {data!r} is read from files; say where they are")
    folder = given_path(str(folder), "folder")
    if not folder.is_dir():
        raise GraftworkError(f"folder {folder}: no such folder; data = {data!r} is read from it")
    readers = {
        "fashion-mnist": idx_images,
        "idx": idx_images,
        "cifar10": cifar_images,
        "folder": folder_images,
    }
    if data not in readers:
        raise GraftworkError(f"data must be one of {', '.join(readers)}, got {data!r}")
    train, test = (Images(*readers[data](folder, part)) for part in ("train", "test"))
    _check_alike(train, test, folder)
    return train, test


def _check_alike(train: Images, test: Images, folder: Path) -> None:
    """Refuse held-out images that no model of the training ones could name."""
    for part, images in (("training", train), ("test", test)):
        if not len(images):
            raise GraftworkError(f"folder {folder}: holds no {part} images")
    sizes = [" x ".join(map(str, images.features.shape[1:])) for images in (train, test)]
    if sizes[0] != sizes[1]:
        raise GraftworkError(
            f"folder {folder}: the training images are {sizes[0]} and those to test on {sizes[1]} (channels "
            "x height x width), and must be of one size"
        )
    if unlearnt := sorted(set(test.labels.tolist()) - set(train.labels.tolist())):
        raise GraftworkError(
            f"folder {folder}: there are test images of class {unlearnt[0]}, and no training image is of it"
        )


def idx_images(folder: Path, part: str) -> Loaded:
    """Read ``{train,t10k}-images-idx3-ubyte`` and ``-labels-idx1-ubyte``, gzipped or not."""
    prefix = _IDX_NAMES[part]
    files = [_idx_file(folder, f"{prefix}-{rest}") for rest in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    pixels, labels = map(read_idx, files)
    if pixels.ndim != 3 or labels.shape != pixels.shape[:1]:
        raise GraftworkError(
            f"{files[0]} is {list(pixels.shape)} and {files[1]} {list(labels.shape)}; expected [samples, "
            "height, width] and [samples]"
        )
    if not pixels.size:
        raise GraftworkError(f"{files[0]} is {list(pixels.shape)}: it holds no pixels")
    features = (pixels / np.float32(255)).astype(np.float32)[:, None]
    return features, labels.astype(np.int64), int(labels.max()) + 1


def cifar_images(folder: Path, part: str) -> Loaded:
    """Read CIFAR-10's Python batches, in ``folder`` or in ``folder/cifar-10-batches-py``."""
    inner = folder / "cifar-10-batches-py"
    base = inner if inner.is_dir() else folder
    pixels: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for name in _CIFAR_FILES[part]:
        batch, of_batch = read_cifar_batch(base / name)
        pixels.append(batch)
        labels.extend(of_batch)
    features = np.concatenate(pixels).reshape(-1, 3, 32, 32).astype(np.float32) / np.float32(255)
    return features, np.array(labels, dtype=np.int64), 10


def folder_images(folder: Path, part: str) -> Loaded:
    """Read pictures of one size from ``folder/{train,test}/CLASS``; classes are those of ``train``, in
    alphabetical order."""
    classes = list(class_folders(folder / "train"))
    pictures = class_folders(folder / part)
    for name, files in pictures.items():
        if name not in classes:
            raise GraftworkError(
                f"{files[0].parent}: no picture of class {name!r} is in {folder / 'train'} to learn from"
            )
    return _numbered(pictures, classes)


def read_classes(folder: Path) -> tuple[Images, tuple[str, ...]]:
    """Return pictures of one size from ``folder/CLASS``, and the names of the classes, in alphabetical order.

    Args:
        folder: that holds one of pictures for each class.

    Raises:
        GraftworkError: there is no folder, or a picture cannot be read; the message names it.
    """
    pictures = class_folders(given_path(str(folder), "folder"))
    return Images(*_numbered(pictures, list(pictures))), tuple(pictures)


def _numbered(pictures: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> Loaded:
    files = [file for of_class in pictures.values() for file in of_class]
    labels = [classes.index(name) for name, of_class in pictures.items() for _ in of_class]
    return read_pictures(files), np.array(labels, dtype=np.int64), len(classes)


def _idx_file(folder: Path, name: str) -> Path:
    """The file of a name, or the zipped one; a link that leads nowhere is there, and told by who reads it."""
    for path in (folder / name, folder / f"{name}.gz"):
        if os.path.lexists(path):
            return path
    raise GraftworkError(f"folder {folder}: {name} is missing (with or without .gz)")
