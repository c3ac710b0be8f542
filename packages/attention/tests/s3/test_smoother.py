"""The smoother alone: what its parts are, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from graftwork_attention import Smoother


def smoother(**options: object) -> Smoother:
    return Smoother(8, 10, **{"segments": 2, "norm_eps": 1e-3, **options}).double()


@pytest.mark.parametrize("activation", ["relu", "elu", "gelu"])
@pytest.mark.parametrize("taps", [1, 3])
def test_the_stem_convolves_smoothed_and_given_channels_then_normalises(activation: str, taps: int) -> None:
    made, x = smoother(activation=activation, stem_kernel=taps), torch.randn(2, 7, 8, dtype=torch.float64)
    assert made.fourier is not None
    assert made.stem is not None
    both = torch.cat((made.fourier(x).transpose(1, 2), x), dim=-1)
    padded = F.pad(both, (0, 0, taps // 2, taps // 2)).unfold(1, taps, 1)
    mixed = torch.einsum("btcw,ocw->bto", padded, made.stem.convolution.weight) + made.stem.convolution.bias
    wanted = getattr(F, activation)(F.layer_norm(mixed, (8,), eps=1e-3))
    torch.testing.assert_close(made(x), wanted)


def test_each_part_can_be_left_out() -> None:
    x = torch.randn(2, 10, 8, dtype=torch.float64)
    only_fourier = smoother(use_stem=False)
    assert only_fourier.fourier is not None
    torch.testing.assert_close(only_fourier(x), only_fourier.fourier(x).transpose(1, 2))
    only_stem = smoother(use_smoother=False)
    assert only_stem.stem is not None
    assert only_stem.stem.convolution.in_channels == 8
    mixed = only_stem.stem.convolution(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(only_stem(x), F.layer_norm(mixed, (8,), eps=1e-3).relu())
    torch.testing.assert_close(smoother(use_smoother=False, use_stem=False)(x), x)


@pytest.mark.parametrize("use_stem", [True, False])
def test_dropout_is_the_last_step_and_for_training(use_stem: bool) -> None:
    made, x = smoother(smoother_dropout=0.5, use_stem=use_stem), torch.randn(2, 10, 8, dtype=torch.float64)
    dropped = made(x)
    made.eval()
    kept = made(x)
    left = dropped != 0
    torch.testing.assert_close(dropped[left], 2 * kept[left])
    assert 0 < (dropped[kept != 0] == 0).sum() < (kept != 0).sum()


@pytest.mark.parametrize("use_stem", [True, False])
@pytest.mark.parametrize("use_smoother", [True, False])
def test_padding_may_lie_anywhere_and_hold_anything(use_stem: bool, use_smoother: bool) -> None:
    made = smoother(use_stem=use_stem, use_smoother=use_smoother)
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    for before in (0, 1, 4):
        mask = torch.zeros(2, 10, dtype=torch.bool)
        mask[:, before : before + 6] = True
        padded = torch.full((2, 10, 8), float("nan"), dtype=torch.float64)
        padded[mask] = x.flatten(0, 1)
        found = made(padded, mask)
        # The convolution goes round, so leading padding only moves the sequence.
        torch.testing.assert_close(found[mask], made(x).flatten(0, 1))
        assert (found[~mask] == 0).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"segments": 3}, "segments must divide dim=8, got 3; 2 and 4 would do"),
        ({"segments": 16}, "segments must divide dim=8, got 16; 8 would do"),
        ({"stem_kernel": 2}, "stem_kernel must be odd and at least 1, got 2"),
        ({"norm": "batch"}, "norm must be one of layer, position_batch, channel_batch, got 'batch'"),
        ({"activation": "tanh"}, "activation must be one of relu, elu, gelu, got 'tanh'"),
        ({"kernel_init": "zeros"}, "kernel_init must be one of kaiming-normal, kaiming-uniform, scaled"),
        ({"fold_stem": True}, "fold_stem must be one of auto, always, never, got True"),
        ({"smoother_dropout": -0.1}, "smoother_dropout must be at least 0 and below 1, got -0.1"),
        ({"norm_eps": 0.0}, r"norm_eps must be above 0, got 0\.0"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        smoother(**options)


def test_an_input_that_does_not_fit_is_refused_by_the_smoother_alone() -> None:
    with pytest.raises(ValueError, match="Smoother was built for at most max_len=10 tokens, got 11"):
        smoother()(torch.randn(1, 11, 8))
