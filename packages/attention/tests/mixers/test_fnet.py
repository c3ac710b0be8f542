"""FNet's mixer against torch's two-dimensional Fourier transform of the sequence, continued by zeros."""

from __future__ import annotations

import pytest
import torch

from graftwork_attention.mixers.fnet import FourierMixer


@pytest.mark.parametrize("dim", [1, 2, 6, 7])
@pytest.mark.parametrize(("tokens", "max_len"), [(1, 1), (5, 5), (5, 8), (8, 8), (3, 9)])
@pytest.mark.parametrize("norm", ["backward", "ortho"])
def test_eq_3_it_is_the_real_part_of_a_transform_of_the_whole_length(
    dim: int, tokens: int, max_len: int, norm: str
) -> None:
    x = torch.randn(2, tokens, dim, dtype=torch.float64)
    continued = torch.cat((x, torch.zeros(2, max_len - tokens, dim, dtype=torch.float64)), 1)
    expected = torch.fft.fft2(continued, norm=norm).real[:, :tokens]
    found = FourierMixer(dim, 1, max_len, norm=norm)(x)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_tokens_of_bfloat16_are_transformed_in_float32() -> None:
    mixer, x = FourierMixer(8, 2, 16), torch.randn(1, 16, 8).bfloat16()
    assert torch.equal(mixer(x), mixer(x.float()).bfloat16())


def test_nothing_is_learned_and_an_unknown_norm_is_refused() -> None:
    assert not list(FourierMixer(8, 2, 16).parameters())
    with pytest.raises(ValueError, match="norm must be 'backward' or 'ortho', got 'forward'"):
        FourierMixer(8, 2, 16, norm="forward")  # type: ignore[arg-type]
