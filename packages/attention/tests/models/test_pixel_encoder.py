"""Images as sequences of pixels."""

from __future__ import annotations

import pytest
import torch

from graftwork_attention.models.pixel_encoder import PixelEncoder


def test_a_token_is_a_grey_value_plus_one_row_by_row_and_black_is_no_padding() -> None:
    model = PixelEncoder((1, 2, 3), 4, dim=8)
    image = torch.tensor([[[[0, 1, 2], [253, 254, 255]]]]) / 255
    expected = model.classifier(torch.tensor([[1, 2, 3, 254, 255, 256]]))
    assert torch.equal(model(image), expected)
    black, masked = torch.zeros(1, 1, 2, 3), torch.zeros(1, 6, dtype=torch.bool)
    assert not torch.equal(model(black), model.classifier(torch.ones(1, 6, dtype=torch.int64), masked))


def test_colours_are_mapped_and_not_looked_up() -> None:
    with pytest.raises(ValueError, match="tokens must be 'linear' for images of 3 channels"):
        PixelEncoder((3, 4, 4), 2, dim=8)
    image = torch.rand(2, 3, 4, 4)
    model = PixelEncoder((3, 4, 4), 2, dim=8, tokens="linear", pooling="cls")
    assert torch.equal(model(image), model.classifier(image.permute(0, 2, 3, 1).reshape(2, 16, 3)))


def test_images_of_another_range_are_not_looked_up() -> None:
    scaled = torch.randn(2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"images must lie in 0\.\.1, got -.* take tokens = 'linear'"):
        PixelEncoder((1, 4, 4), 2, dim=8)(scaled)
    assert PixelEncoder((1, 4, 4), 2, dim=8, tokens="linear")(scaled).isfinite().all()
