"""The part of MNIST that a package has, and what happens where it is not what it should be."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_attention.data import mnist


def test_a_row_is_an_image_and_its_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "table.csv.gz"
    monkeypatch.setattr(mnist, "fetch", lambda *pin: file)
    rows = [[*range(256), *[0] * 528, 7], [*[255] * 784, 3]]
    file.write_bytes(gzip.compress("\n".join(",".join(map(str, row)) for row in rows).encode()))
    images = mnist.mnist_5k()
    assert images.features.shape == (2, 1, 28, 28)
    assert images.labels.tolist() == [7, 3]
    np.testing.assert_allclose(images.features[0, 0].reshape(-1)[:256], np.arange(256) / 255, rtol=1e-6)
    file.write_bytes(b"<html>")
    with pytest.raises(GraftworkError, match=r"table\.csv\.gz: cannot be read as a table of pixels"):
        mnist.mnist_5k()


@pytest.mark.realdata
def test_there_are_500_images_of_each_digit() -> None:
    images = mnist.mnist_5k()
    assert np.bincount(images.labels).tolist() == [500] * 10
    assert (images.features.min(), images.features.max()) == (0, 1)
