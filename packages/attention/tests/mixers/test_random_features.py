"""Random features are normal vectors, orthogonal, unbiased, and from generators of their own."""

from __future__ import annotations

import pytest
import torch

from graftwork_attention.mixers.random_features import draw_orthogonal


def test_blocks_are_orthogonal_and_features_of_other_blocks_are_not() -> None:
    directions = draw_orthogonal(20, 8, seed=0, layer_index=0)
    assert directions.shape == (20, 8)
    products = directions @ directions.T
    for block in (products[:8, :8], products[8:16, 8:16], products[16:, 16:]):
        torch.testing.assert_close(block, torch.diag(block.diagonal()), rtol=0, atol=1e-12)
    assert products[:8, 8:].abs().max() > 0.1


def test_a_draw_depends_on_seed_and_layer_and_not_on_the_global_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = draw_orthogonal(8, 4, seed=3, layer_index=2)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(one, draw_orthogonal(8, 4, seed=3, layer_index=2))
    for seed, layer_index in ((3, 1), (2, 3), (4, 2)):
        assert not torch.equal(one, draw_orthogonal(8, 4, seed=seed, layer_index=layer_index))


def test_features_have_the_moments_of_normal_vectors() -> None:
    # The first coordinates of a Q straight from LAPACK are all of one sign, which a mean shows.
    draws = torch.stack([draw_orthogonal(4, 4, seed=seed, layer_index=0) for seed in range(1000)])
    assert draws.mean(0).abs().max() < 5 / 1000**0.5
    second = draws.mT @ draws / 4
    torch.testing.assert_close(second.mean(0), torch.eye(4, dtype=torch.float64), rtol=0, atol=0.15)
    assert draws.square().sum(2).mean().item() == pytest.approx(4, abs=0.2)


def test_eq_5_positive_features_estimate_the_exponential_of_a_product_without_bias() -> None:
    one, other = torch.tensor([[0.5, -0.3, 0.4]]).double(), torch.tensor([[0.2, 0.6, 0.5]]).double()
    estimates = []
    for seed in range(1000):
        directions = draw_orthogonal(3, 3, seed=seed, layer_index=0)
        features = [(x @ directions.T - x.square().sum() / 2).exp() for x in (one, other)]
        estimates.append((features[0] * features[1]).mean())
    stacked = torch.stack(estimates)
    standard_error = stacked.std() / 1000**0.5
    assert (stacked.mean() - (one @ other.T).exp()).abs().item() < 4 * standard_error
    assert standard_error < 0.05
