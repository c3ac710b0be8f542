"""The digits that scikit-learn ships."""

from __future__ import annotations

import numpy as np

from graftwork_trainer.images.labelled import Images


def digits() -> Images:
    """Return all 1,797, of 8 x 8 pixels, in scikit-learn's order; a task asks before whether it is installed.

    >>> digits().features.shape
    (1797, 1, 8, 8)
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return Images((pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8), labels.astype(np.int64), 10)
