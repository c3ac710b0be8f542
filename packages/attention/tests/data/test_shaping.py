"""Images brought to a size, and to grey or colour."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graftwork import GraftworkError
from graftwork_attention.data.shaping import Shaped, shaped
from graftwork_trainer.images.labelled import Images


def test_an_image_becomes_larger_bilinearly_and_smaller_by_means() -> None:
    image = torch.tensor([[[[0.0, 1.0]]]]).expand(1, 1, 2, 2)
    assert shaped(image, (1, 2, 4))[0, 0, 0].tolist() == [0, 0.25, 0.75, 1]
    stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 32, 32)
    assert shaped(stripes, (1, 4, 4))[0, 0, 1:3, 1:3] == pytest.approx(0.5, abs=0.02)


def test_a_batch_of_any_rows_is_what_each_image_is_alone() -> None:
    images = Images(np.random.default_rng(0).random((4, 1, 8, 8), np.float32), np.arange(4), 4)
    examples = Shaped(images, (1, 20, 20))
    together = examples.batch(np.array([2, 0]))
    assert together["labels"].tolist() == [2, 0]
    assert torch.equal(together["features"][1:], examples.batch(np.array([0]))["features"])
    assert torch.equal(
        Shaped(images, (1, 8, 8)).batch(np.arange(4))["features"], torch.tensor(images.features)
    )


def test_grey_and_colour() -> None:
    grey = torch.rand(1, 1, 3, 3)
    assert torch.equal(shaped(grey, (3, 3, 3))[:, 2:], grey)
    torch.testing.assert_close(shaped(grey.expand(1, 3, 3, 3), (1, 3, 3)), grey)
    green = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    assert shaped(green, (1, 1, 1)).item() == pytest.approx(0.587)
    with pytest.raises(GraftworkError, match="images of 2 channels cannot be made images of 3 channels"):
        shaped(torch.zeros(1, 2, 3, 3), (3, 3, 3))
