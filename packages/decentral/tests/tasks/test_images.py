"""The images of this package's tasks: digits and files in one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_decentral.tasks.images import load_images


def test_digits_are_split_by_the_seed() -> None:
    (first, held_out), (second, _) = (load_images("digits", None, seed) for seed in (0, 1))
    assert (len(first), len(held_out)) == (1300, 497)
    assert not np.array_equal(first.labels, second.labels)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(GraftworkError, match="folder: data = 'cifar10'"):
        load_images("cifar10", None, 0)
    with pytest.raises(GraftworkError, match="no such folder"):
        load_images("idx", Path("/nonexistent"), 0)
