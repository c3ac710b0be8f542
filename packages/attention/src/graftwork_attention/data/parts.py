"""Parts to learn from, to choose by and for the last word, with no image in two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftwork_attention.data.sources import Source
from graftwork_trainer.images.labelled import Images
from graftwork_trainer.keeping_apart import HELD_OUT_COPIES, apart_from

# Its own stream, so that the test part is the same whatever the data seed is.
_TEST_STREAM = 1


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which images an experiment gets.

    Args:
        train_examples: images to learn from, as far as there are so many; none for all.
        validation_examples: images for validation, at most half of those that are not the test's; none for a
            tenth.
        test_examples: test images, at most half of all; none for a fifth, or, where the data has a test part
            of its own, as many of that, none for all.
        data_seed: draws training and validation images, and leaves the test part as it is.
        test_only: all images are the test part, and nothing is learnt.

    Raises:
        ValueError: an option is out of its range.
    """

    train_examples: int | None = None
    validation_examples: int | None = None
    test_examples: int | None = None
    data_seed: int = 0
    test_only: bool = False

    def __post_init__(self) -> None:
        for option in ("train_examples", "validation_examples", "test_examples"):
            if (value := getattr(self, option)) is not None and value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        if self.data_seed < 0:
            raise ValueError(f"data_seed must be at least 0, got {self.data_seed}")


@dataclass(frozen=True, slots=True)
class Parts:
    """The images of one experiment.

    Args:
        train: to learn from.
        validation: to choose by.
        test: for the last word.
        copies: how many images were left out, since their pixels stand in a held-out part too.
    """

    train: Images
    validation: Images
    test: Images
    copies: int = 0

    def facts(self) -> dict[str, str | int]:
        """Sizes and digests, as plain data."""
        facts: dict[str, str | int] = {}
        for name in ("train", "validation", "test"):
            part: Images = getattr(self, name)
            facts |= {f"{name}_examples": len(part), f"{name}_sha256": part.sha256}
        return {**facts, **({HELD_OUT_COPIES: self.copies} if self.copies else {})}


def draw_parts(source: Source, selection: Selection) -> Parts:
    """Draw the images of one experiment.

    An image is known by its pixels: of those that stand in a held-out part none is learnt from, whatever its
    label.

    Args:
        source: that they are drawn from.
        selection: how many of each.
    """
    known, test = source.known, source.test
    if selection.test_only:
        nothing = known.subset(np.arange(0))
        return Parts(nothing, nothing, source.all())
    order = np.random.default_rng(_TEST_STREAM).permutation(len(known if test is None else test))
    if test is None:
        count = _count(selection.test_examples, len(known), 5)
        tested, rest = known.subset(order[:count]), order[count:]
    else:
        tested = test.subset(np.sort(order[: selection.test_examples]))
        rest = np.arange(len(known))
    keys = pixel_keys(known)
    learnable = _apart(rest, keys, pixel_keys(tested))
    shuffled = np.random.default_rng(selection.data_seed).permutation(learnable)
    count = _count(selection.validation_examples, len(shuffled), 10)
    validation, left = shuffled[:count], shuffled[count:]
    train = _apart(left, keys, [keys[row] for row in validation])
    copies = len(rest) - len(validation) - len(train)
    return Parts(known.subset(train[: selection.train_examples]), known.subset(validation), tested, copies)


def pixel_keys(images: Images) -> list[str]:
    """A digest of the pixels of each image."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in np.ascontiguousarray(images.features)]


def _apart(rows: NDArray[np.int64], keys: Sequence[str], held_out: Sequence[str]) -> NDArray[np.int64]:
    """Those rows whose pixels are in none of the held-out images."""
    items = [(row, keys[row]) for row in rows.tolist()]
    kept = apart_from(items, [(0, key) for key in held_out], lambda item: item[1])
    return np.array([row for row, _ in kept], dtype=np.int64)


def _count(wanted: int | None, there: int, share: int) -> int:
    """How many to hold out: so many, at most half; or a share."""
    return max(1, there // share) if wanted is None else min(wanted, there // 2)
