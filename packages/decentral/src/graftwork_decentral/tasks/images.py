"""The images of this package's tasks: the digits that scikit-learn ships, or files in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graftwork_decentral.extras import require_for_data
from graftwork_trainer.images.digits import digits
from graftwork_trainer.images.image_files import read_images
from graftwork_trainer.images.labelled import Images

_HELD_OUT_DIGITS = 497


def load_images(data: str, folder: Path | None, seed: int) -> tuple[Images, Images]:
    """Return images to train on and held-out ones.

    Args:
        data: ``digits`` (1 797 of 8 x 8, shuffled by the seed, 497 held out); ``fashion-mnist`` or ``idx``
            (files as MNIST's in ``folder``); ``cifar10`` (its Python batches in ``folder``); or ``folder``
            (PNG or JPEG files in ``folder/train/CLASS`` and ``folder/test/CLASS``).
        folder: where the files are; not for digits.
        seed: of the digits' shuffling; files have a split of their own.

    Raises:
        GraftworkError: the folder, a file or a library is missing.
    """
    require_for_data(data)
    if data == "digits":
        return _digits(seed)
    return read_images(data, folder)


def _digits(seed: int) -> tuple[Images, Images]:
    known = digits()
    order = np.random.default_rng(seed).permutation(len(known))
    return known.subset(order[:-_HELD_OUT_DIGITS]), known.subset(order[-_HELD_OUT_DIGITS:])
