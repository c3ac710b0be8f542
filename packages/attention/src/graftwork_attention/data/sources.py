"""Labelled images by name: what comes in packages, and what lies in a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from graftwork import GraftworkError
from graftwork_attention.data.mnist import mnist_5k
from graftwork_attention.extras import DIGITS, PICTURES
from graftwork_trainer.folders import given_path
from graftwork_trainer.images.class_folders import class_folders
from graftwork_trainer.images.digits import digits
from graftwork_trainer.images.image_files import read_classes, read_images
from graftwork_trainer.images.labelled import Images

Data = Literal["digits", "mnist-5k", "fashion-mnist", "idx", "cifar10", "folder"]
PACKAGED = ("digits", "mnist-5k")
_NEEDS = {"digits": DIGITS, "folder": PICTURES}


@dataclass(frozen=True, slots=True)
class Source:
    """Images, and what their classes are called.

    Args:
        known: to learn from and to choose by, and for the test where the data has no part for that.
        test: the data's own test part, where it has one.
        names: of the classes, in the order of their numbers.
    """

    known: Images
    test: Images | None
    names: tuple[str, ...]

    def numbered_by(self, names: tuple[str, ...]) -> Source:
        """The same images with other numbers of their classes; as they are where a class is not among them.

        Args:
            names: in the order of their numbers, more than these maybe.
        """
        if names == self.names or not set(self.names) <= set(names):
            return self
        numbers = np.array([names.index(name) for name in self.names])

        def numbered(images: Images) -> Images:
            return replace(images, labels=numbers[images.labels], classes=len(names))

        return Source(numbered(self.known), None if self.test is None else numbered(self.test), names)

    def all(self) -> Images:
        """Every image."""
        if self.test is None:
            return self.known
        return replace(
            self.known,
            features=np.concatenate([self.known.features, self.test.features]),
            labels=np.concatenate([self.known.labels, self.test.labels]),
        )


def require_for(data: Data) -> None:
    """Refuse data that cannot be read here.

    Raises:
        MissingExtraError: what reads it is not installed.
    """
    if data in _NEEDS:
        _NEEDS[data].require()


def read_source(data: Data, folder: Path | None) -> Source:
    """Read images.

    Args:
        data: ``digits``, ``mnist-5k``; or files: ``fashion-mnist`` or ``idx`` (four, as MNIST's),
            ``cifar10`` (its Python batches), ``folder`` (PNG or JPEG files of one size in ``CLASS``, or in
            ``train/CLASS`` and ``test/CLASS``; of one channel where all are grey).
        folder: where the files are.

    Raises:
        GraftworkError: they cannot be fetched or read, or there is a folder where none is read, or none
            where one is.
    """
    if data in PACKAGED:
        if folder is not None:
            raise GraftworkError(
                f"folder must be left out with data = {data!r}, which a package has; data = 'folder' reads "
                f"pictures, got {str(folder)!r}"
            )
        known = digits() if data == "digits" else mnist_5k()
        return Source(known, None, _numbers(known))
    if data == "folder" and folder is not None:
        return _grey_where_all_are(_pictures(given_path(str(folder), "folder")))
    train, test = read_images(data, folder)
    return Source(train, test, _numbers(train))


def _pictures(folder: Path) -> Source:
    if not all((folder / part).is_dir() for part in ("train", "test")):
        known, names = read_classes(folder)
        return Source(known, None, names)
    train, test = read_images("folder", folder)
    return Source(train, test, tuple(class_folders(folder / "train")))


def _grey_where_all_are(source: Source) -> Source:
    """Pictures are read in three channels; where these never differ, one of them."""
    images = [part for part in (source.known, source.test) if part is not None]
    if any((part.features != part.features[:, :1]).any() for part in images):
        return source
    known, *test = (replace(part, features=part.features[:, :1]) for part in images)
    return Source(known, test[0] if test else None, source.names)


def _numbers(images: Images) -> tuple[str, ...]:
    return tuple(map(str, range(images.classes)))
